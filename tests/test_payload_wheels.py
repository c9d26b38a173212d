"""What is built from source inside a build stage: what is chosen, how it is built, and how it is installed."""

import hashlib
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockyard.locks.check import Lock
from dockyard.locks.inputs import parse_input
from dockyard.locks.pins import Pin, parse_pins, render_pins
from dockyard.payload import install, wheels

OPTIONS = ("--extra-index-url https://host/simple", "--trusted-host host")
SAIL = Pin("sail", "1.0", ("sha256:11", "sha256:22"), ("-r requirements/base.in",))
MAST = Pin("mast", "2.0", ("sha256:33",), ())
AT_AN_ADDRESS = Pin("knot-x", "", ("sha256:44",), (), address="https://host/knot_x-7.tar.gz")


def lock(*pins: Pin, sources: Sequence[str] = (), platforms: Sequence[str] = (), hashes: str = "all") -> str:
    """Return a lock as Dockyard writes it."""
    source = parse_input("requirements/production.in", b"sail")
    made = Lock("3.13", "production", (source,), {}, tuple(platforms), hashes)
    return made.write("uv 1", render_pins(OPTIONS, pins), sources)


def written(folder: Path, **texts: str) -> Path:
    """Write locks to a folder."""
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        ("linux/amd64", {"sail"}),
        ("linux/arm64", {"sail", "mast"}),
        ("linux/arm64/v8", {"sail", "mast"}),
        ("linux/s390x", set()),
    ],
)
def test_each_platform_builds_what_it_has_no_wheel_of(platform: str, names: set[str]) -> None:
    """A lock names the platforms; the variant that BuildKit leaves out is no difference."""
    text = lock(SAIL, MAST, sources=("sail on linux/amd64, linux/arm64/v8", "mast on linux/arm64"))
    assert wheels.chosen(text, platform) == names


def test_what_is_selected_can_be_installed_as_a_lock(tmp_path: Path) -> None:
    """Its pins with their hashes, the indexes that the lock names, and the lock of what builds it."""
    text = lock(SAIL, MAST, AT_AN_ADDRESS, sources=("sail on linux/amd64", "knot-x on linux/amd64"))
    wheels.select(written(tmp_path, production=text, build="setuptools==80\n"), "linux/amd64", tmp_path / "sources")
    made = (tmp_path / "sources" / "sources.txt").read_text()
    assert made.splitlines()[:2] == list(OPTIONS)
    assert [pin._replace(line=0) for pin in parse_pins(made)] == [AT_AN_ADDRESS, SAIL._replace(via=())]
    assert (tmp_path / "sources" / "build.txt").read_text() == "setuptools==80\n"


pins = st.builds(
    lambda name, version, digests: Pin(name, version, tuple(sorted(f"sha256:{each:064x}" for each in digests)), ()),
    st.from_regex(r"[a-r][a-z0-9]{0,5}(-[a-z]{1,3})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True),
    st.sets(st.integers(0, 2**256 - 1), min_size=1, max_size=3),
)


@given(others=st.lists(pins, unique_by=lambda pin: pin.name))
def test_no_other_pin_changes_what_is_selected(tmp_path_factory: pytest.TempPathFactory, others: list[Pin]) -> None:
    """BuildKit goes by content: so nothing is compiled anew when another package moves."""
    folder = tmp_path_factory.mktemp("locks")
    text = lock(*others, SAIL, sources=("sail on linux/amd64",))
    wheels.select(written(folder, production=text, build="x==1\n"), "linux/amd64", folder / "sources")
    entry = "sail==1.0 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
    assert (folder / "sources" / "sources.txt").read_text() == "".join(f"{line}\n" for line in OPTIONS) + entry


def test_nothing_is_selected_where_nothing_is_built(tmp_path: Path) -> None:
    """The folder is there and empty, and no lock of a builder is asked for."""
    written(tmp_path, production=lock(SAIL, sources=("sail on linux/arm64",)))
    wheels.select(tmp_path, "linux/amd64", tmp_path / "sources")
    assert list((tmp_path / "sources").iterdir()) == []


@pytest.mark.parametrize(
    ("platforms", "hashes", "names", "noted"),
    [
        ((), "all", set(), False),
        (("linux/amd64",), "all", set(), False),
        (("linux/amd64", "linux/arm64/v8"), "platform", set(), False),
        (("linux/amd64",), "platform", {"sail"}, True),
    ],
)
def test_a_platform_that_the_lock_is_not_for_builds_all_that_is_listed(
    tmp_path: Path, platforms: Sequence[str], hashes: str, names: set[str], noted: bool
) -> None:
    """Tests and stacks run on machines of every kind, and such a machine may have no wheel either."""
    text = lock(SAIL, MAST, sources=("sail on linux/amd64",), platforms=platforms, hashes=hashes)
    wheels.select(written(tmp_path, production=text, build="x==1\n"), "linux/arm64", tmp_path / "sources")
    assert wheels.chosen(text, "linux/arm64") == names
    assert (tmp_path / "sources" / "foreign.txt").is_file() == noted


def test_nothing_unhashed_builds(tmp_path: Path) -> None:
    """Without a lock of what builds, the stage ends with what to do."""
    written(tmp_path, production=lock(SAIL, sources=("sail on linux/amd64",)))
    with pytest.raises(SystemExit, match=r"sail: built from source.*\n.*requirements/build\.in"):
        wheels.select(tmp_path, "linux/amd64", tmp_path / "sources")


class Stage:
    """A build stage: pip downloads archives that hold certain files, and every command is noted."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.environments: list[dict[str, str]] = []
        self.folder, self.files = folder, files
        self.refuses = 0

    def run(self, command: Sequence[str], environment: dict[str, str] | None = None, *, check: bool = True) -> int:
        """Stand in for wheels.run."""
        self.commands.append(tuple(command))
        self.environments.append(environment or {})
        if "download" not in command:
            return 0
        if self.refuses:
            self.refuses -= 1
            return 1
        archives = self.folder / "archives"
        archives.mkdir(exist_ok=True)
        with zipfile.ZipFile(archives / "sail-1.0.zip", "w") as archive:
            for name, text in self.files.items():
                archive.writestr(f"sail-1.0/{name}", text)
        return 0

    def said(self) -> list[str]:
        """Return what was run, in a word each."""
        known = ("venv", "download", "wheel", "update", "install")
        return [
            ("apt " if "apt-get" in line else "") + next(word for word in known if word in line)
            for line in self.commands
        ]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage with sources that are pure Python."""
    made = Stage(tmp_path / "place", {"sail.py": "", "setup.py": ""})
    made.folder.mkdir()
    monkeypatch.setattr(wheels, "run", made.run)
    monkeypatch.setattr(wheels, "PLACE", made.folder)
    return made


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a folder with something to build."""
    folder = tmp_path / "sources"
    folder.mkdir()
    return written(folder, sources=lock(SAIL), build="setuptools==80\n")


def test_a_source_without_anything_to_compile_needs_no_compiler(stage: Stage, sources: Path, tmp_path: Path) -> None:
    """Debian's packages are asked for nothing, and the build itself reaches no index."""
    wheels.build(sources, tmp_path / "wheels", ())
    assert stage.said() == ["venv", "install", "download", "wheel"]
    built = stage.commands[-1]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(built)
    assert built[-1] == str(stage.folder / "tree" / "sail-1.0.zip" / "sail-1.0")
    assert {"--require-hashes", "--only-binary=:all:"} <= set(stage.commands[1])
    assert {"--require-hashes", "--no-binary=:all:"} <= set(stage.commands[2])
    assert stage.environments[-1]["SOURCE_DATE_EPOCH"] == "315532800"
    assert stage.environments[-1]["PATH"].startswith(f"{stage.folder}/tools/bin:")


@pytest.mark.parametrize("name", ["sail.c", "src/sail.pyx", "meson.build", "lib.rs"])
def test_a_source_with_something_to_compile_gets_compilers(
    stage: Stage, sources: Path, tmp_path: Path, name: str
) -> None:
    """They are installed before anything is built."""
    stage.files = {**stage.files, name: ""}
    wheels.build(sources, tmp_path / "wheels", ())
    assert stage.said() == ["venv", "install", "download", "apt update", "apt install", "wheel"]
    assert {"gcc", "g++", "--no-install-recommends"} <= set(stage.commands[4])


def test_a_source_that_cannot_be_read_without_compilers_is_fetched_again(
    stage: Stage, sources: Path, tmp_path: Path
) -> None:
    """Some build systems look for a compiler before they say what they would build; a second failure is one."""
    stage.refuses = 1
    wheels.build(sources, tmp_path / "wheels", ())
    assert stage.said() == ["venv", "install", "download", "apt update", "apt install", "download", "wheel"]
    stage.refuses = 2
    with pytest.raises(SystemExit, match="cannot be used"):
        wheels.build(sources, tmp_path / "wheels", ())


def test_libraries_that_a_build_needs_are_installed(stage: Stage, sources: Path, tmp_path: Path) -> None:
    """Whoever names Debian packages means compilers too."""
    wheels.build(sources, tmp_path / "wheels", ("libpq-dev",))
    assert stage.commands[4][-1] == "libpq-dev"


def test_nothing_is_run_where_nothing_is_built(stage: Stage, tmp_path: Path) -> None:
    """An empty folder of wheels is what the other stages mount."""
    wheels.build(tmp_path, tmp_path / "wheels", ("libpq-dev",))
    assert stage.commands == []
    assert list((tmp_path / "wheels").iterdir()) == []


def test_an_archive_may_hold_its_files_without_a_folder(tmp_path: Path) -> None:
    """Or in one, as it should: both are built where their files are."""
    (tmp_path / "a.py").write_text("")
    for name, inner in (("flat.tar.gz", "a.py"), ("deep.tar.gz", "deep-1/a.py")):
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(tmp_path / "a.py", inner)
        assert (wheels.unpack(tmp_path / name, tmp_path / "tree") / "a.py").is_file()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Return a folder with two built wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("sail-1.0-cp313-cp313-linux_x86_64.whl", "knot_x-7-py3-none-any.whl"):
        (folder / name).write_text(name)
    return folder


def digest(name: str) -> str:
    """Return the hash of a built wheel."""
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def test_a_lock_with_what_was_built_takes_nothing_else(built: Path) -> None:
    """The wheel's hash stands in the place of all others; what was not built stays as it is."""
    text = lock(MAST, SAIL, AT_AN_ADDRESS)
    changed = install.replaced(text, install.hashes(built))
    found = {pin.name: pin for pin in parse_pins(changed)}
    assert found["mast"] == parse_pins(text)[1]
    assert found["sail"].hashes == (digest("sail-1.0-cp313-cp313-linux_x86_64.whl"),)
    assert found["knot-x"].requirement == "knot-x==7"
    assert found["sail"].via == SAIL.via


def test_a_part_of_a_lock_takes_what_was_built_too(built: Path) -> None:
    """A pin may stand in one line with its hashes."""
    part = "".join(f"{line}\n" for line in install.requirements(lock(SAIL, MAST)))
    found = {pin.name: pin.hashes for pin in parse_pins(install.replaced(part, install.hashes(built)))}
    assert found == {"mast": MAST.hashes, "sail": (digest("sail-1.0-cp313-cp313-linux_x86_64.whl"),)}


@given(st.lists(pins, unique_by=lambda pin: pin.name))
def test_a_lock_of_which_nothing_was_built_stays_as_it_is(several: list[Pin]) -> None:
    """Byte for byte, whatever wheels of others there are."""
    text = lock(*several)
    short = "".join(f"{line}\n" for line in install.requirements(text))
    assert install.replaced(short, {"sail": ("1.0", "0" * 64)}) == short
    assert install.replaced(text, {"sail": ("1.0", "0" * 64)}) == text
