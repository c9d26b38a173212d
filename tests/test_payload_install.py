"""Installing a lock: what is kept of it for the next build, and in which layer each package lies."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dockyard.payload import bytecode, install
from dockyard.payload.install import Package

LOCK = """\
# Made by Dockyard
--only-binary :all:
Flask[async]==3.1.3 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via app
colorama==0.4 ; sys_platform == "win32" \\
    --hash=sha256:cc  # odd
zope.event==5 --hash=sha256:dd
six @ https://files.example/six-1.tar.gz#sha256=ee \\
    --hash=sha256:ee
"""


def test_requirements() -> None:
    """One line each, with its marker and its hashes; comments stay behind, a hash in an address does not."""
    assert install.requirements(LOCK) == [
        "--only-binary :all:",
        "Flask[async]==3.1.3 --hash=sha256:aa --hash=sha256:bb",
        'colorama==0.4 ; sys_platform == "win32" --hash=sha256:cc',
        "zope.event==5 --hash=sha256:dd",
        "six @ https://files.example/six-1.tar.gz#sha256=ee --hash=sha256:ee",
    ]
    assert install.requirements("") == []


def read(lock: str, base: str = "x") -> dict[str, Package]:
    """Return the packages of a lock by their names."""
    return {package.name: package for package in install.read_lock(lock, base)[1]}


def test_each_requirement_is_of_one_package() -> None:
    """Options of the whole lock belong to none; all lines of a package are together, however its name is written."""
    options, packages = install.read_lock(LOCK + "Zope_Event==4 ; python_version < '3'\n", "x")
    assert options == ["--only-binary :all:"]
    assert [package.name for package in packages] == ["flask", "colorama", "zope-event", "six"]
    assert [len(package.lines) for package in packages] == [1, 1, 2, 1]


@pytest.mark.parametrize("line", ["-e .", "--editable=.", "./flask-3-py3-none-any.whl", "https://files.example/x.whl"])
def test_what_has_no_name_is_a_package_of_its_own(line: str) -> None:
    """Pip decides what to make of it; it lies in the first layer."""
    (package,) = install.read_lock(line, "x")[1]
    assert (package.name, package.lines, package.part(4)) == ("", (line,), 0)


def test_a_package_never_moves() -> None:
    """Its layer follows from its name alone: these are the layers of images that people have pulled already."""
    names = ("flask", "sqlalchemy", "alembic", "gunicorn")
    assert [Package(name, (), "").part(4) for name in names] == [0, 3, 2, 0]


def test_what_is_large_lies_in_the_first_layer(tmp_path: Path) -> None:
    """With the environment, in the lock's order; all others go where their names say."""
    wanted = packages("gunicorn", "sqlalchemy", "alembic", "flask")
    for name, most in {"gunicorn": 5, "sqlalchemy": install.LARGE - 1, "alembic": install.LARGE - 2}.items():
        (tmp_path / f"key-{name}" / "b").mkdir(parents=True)
        (tmp_path / f"key-{name}" / "a").write_bytes(b"x")
        (tmp_path / f"key-{name}" / "b" / "c").touch()
        os.truncate(tmp_path / f"key-{name}" / "b" / "c", most)
    venv = tmp_path / "venv"
    gunicorn, sqlalchemy, alembic, flask = (tmp_path / package.key for package in wanted)
    assert install.arrange(wanted, tmp_path, 4, venv) == [[venv, gunicorn, sqlalchemy, flask], [], [alembic], []]
    assert install.arrange(wanted[1:], tmp_path, 4, venv)[0] == [venv, sqlalchemy, flask]
    assert install.arrange([], tmp_path, 1, venv) == [[venv]]


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("# via app", "# via app, other", set()),
        ("Flask[async]==3.1.3", "Flask==3.1.4", {"flask"}),
        ("sha256:dd", "sha256:d0", {"zope-event"}),
        ("--only-binary :all:", "--no-binary :all:", {"flask", "colorama", "zope-event", "six"}),
    ],
)
def test_a_key_changes_with_what_is_installed(before: str, after: str, changed: set[str]) -> None:
    """A comment changes none, a version or a hash that of its package, an option all."""
    old, new = read(LOCK), read(LOCK.replace(before, after))
    assert {name for name in old if old[name].key != new[name].key} == changed
    assert not {package.key for package in old.values()} & {package.key for package in read(LOCK, "other").values()}


class Pip:
    """Stands in for pip: unpacks what each package holds, and notes what it was asked for."""

    def __init__(self, **holds: dict[str, str]) -> None:
        self.holds, self.asked = holds, list[list[str]]()

    def install(self, wanted: Mapping[Path, Sequence[Package]]) -> None:
        """Install as pip would: the last one wins."""
        for prefix, packages in wanted.items():
            self.asked.append([package.name for package in packages])
            for name in self.asked[-1]:
                self.unpack(prefix, name, self.holds.get(name, {}))

    def unpack(self, prefix: Path, name: str, files: dict[str, str]) -> None:
        """Write a package's files with their record; one that holds nothing was left out by its marker."""
        site = prefix / "lib" / "python3" / "site-packages"
        record = f"{name}-1.dist-info/RECORD"
        for path, text in {**files, record: "".join(f'"{path}",,\n' for path in (*files, record))}.items():
            target = Path(os.path.normpath(site / path))
            if files:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)


def packages(*names: str) -> list[Package]:
    """Return packages whose keys are their names."""
    return [Package(name, (name,), f"key-{name}") for name in names]


def kept(store: Path, name: str) -> dict[str, str]:
    """Return what a store has of a package: its files but its record."""
    tree = store / f"key-{name}"
    paths = [path for path in tree.rglob("*") if path.is_file() and path.name != "RECORD"]
    return {str(path.relative_to(tree)): path.read_text("utf-8", "replace") for path in paths}


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    """Programs outside of site-packages are their package's; one that a marker leaves out is known as such."""
    pip = Pip(sail={"sail.py": "", "../../../bin/sail": "#!"}, mast={"mast/__init__.py": "x"})
    install.add_missing(tmp_path, packages("sail", "mast", "oar"), pip.install, None)
    assert sorted(pip.asked) == [["mast"], ["oar"], ["sail"]]
    assert kept(tmp_path, "sail") == {"lib/python3/site-packages/sail.py": "", "bin/sail": "#!"}
    assert kept(tmp_path, "mast") == {"lib/python3/site-packages/mast/__init__.py": "x"}
    pip.asked.clear()
    install.add_missing(tmp_path, packages("sail", "oar", "knot"), pip.install, None)
    assert pip.asked == [["knot"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key-knot", "key-mast", "key-oar", "key-sail"]


@pytest.mark.parametrize("names", [("a", "b", "c", "d", "e"), ("e", "d", "c", "b", "a"), ("a",), ("e",)])
def test_what_is_kept_of_a_package_depends_on_no_other(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Where two have a file in common, that of the one that came last does not get into both."""
    pip = Pip(a={"a.py": "a", "tests.py": "a"}, e={"e.py": "e", "tests.py": "e"}, b={"b.py": "b"})
    install.add_missing(tmp_path, packages(*names), pip.install, None)
    for name in {"a", "e"} & {*names}:
        site = "lib/python3/site-packages"
        assert kept(tmp_path, name) == {f"{site}/{name}.py": name, f"{site}/tests.py": name}


def test_what_has_no_name_is_installed_alone(tmp_path: Path) -> None:
    """All that it brings is its own."""
    pip = Pip()
    pip.holds = {"": {"sail.py": "x"}}
    install.add_missing(tmp_path, [Package("", ("./sail.whl",), "key-")], pip.install, None)
    assert kept(tmp_path, "") == {"lib/python3/site-packages/sail.py": "x"}


@pytest.mark.processes
def test_bytecode_is_made_for_where_packages_will_lie(tmp_path: Path) -> None:
    """And kept with them."""
    pip = Pip(sail={"sail.py": "x = 1\n"})
    install.add_missing(tmp_path, packages("sail"), pip.install, Path("/opt/venv"))
    source = tmp_path / "key-sail" / "lib" / "python3" / "site-packages" / "sail.py"
    assert bytecode.fits(bytecode.cache(source), source)
    assert b"/opt/venv/lib/python3/site-packages/sail.py" in bytecode.cache(source).read_bytes()


def test_what_no_build_uses_is_forgotten(tmp_path: Path) -> None:
    """After a month; each use counts."""
    pip = Pip(sail={"sail.py": ""})
    install.add_missing(tmp_path, packages("sail", "mast"), pip.install, None)
    for tree in tmp_path.iterdir():
        os.utime(tree, (0, time.time() - install.FORGOTTEN - 60))
    install.add_missing(tmp_path, packages("sail"), pip.install, None)
    assert [path.name for path in tmp_path.iterdir()] == ["key-sail"]


@pytest.mark.processes
def test_trees_are_copied_one_over_the_other(tmp_path: Path) -> None:
    """Links stay links, modes stay, and the last one wins; a copy that fails ends the build."""
    for name in ("one", "two"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "run").write_text(name)
        (tmp_path / name / name).symlink_to("bin/run")
    (tmp_path / "two" / "bin" / "run").chmod(0o755)
    trees = [tmp_path / "one", tmp_path / "two"]
    install.start_copy(trees, tmp_path / "made")()
    made = tmp_path / "made"
    assert ((made / "bin" / "run").read_text(), (made / "bin" / "run").stat().st_mode & 0o777) == ("two", 0o755)
    assert [(made / name).readlink() for name in ("one", "two")] == [Path("bin/run")] * 2
    install.start_copy([], tmp_path / "empty")()
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(subprocess.CalledProcessError):
        install.start_copy([tmp_path / "absent"], tmp_path / "made")()


@pytest.mark.processes
@pytest.mark.parametrize(
    "copied", [(), ("one",), ("two",), ("one", "three"), ("two", "three"), ("one", "two", "three")]
)
@pytest.mark.parametrize("shared", ["bin/run", "more"])
def test_the_last_one_wins_whichever_was_there_first(tmp_path: Path, copied: tuple[str, ...], shared: str) -> None:
    """What a build finds in its cache changes no byte of a layer."""
    for name in ("one", "two", "three"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / name).write_text(name)
        if name != "three":
            (tmp_path / name / shared).write_text(name)
    trees = [tmp_path / name for name in ("one", "two", "three")]
    there = [tmp_path / name for name in copied]
    made = tmp_path / "made"
    install.start_copy(there, made)()
    install.copy_rest(trees, there, made)
    files = {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}
    assert files == {shared: "two", **{f"bin/{name}": name for name in ("one", "two", "three")}}


def test_objects_of_all_trees_come_together(tmp_path: Path) -> None:
    """By their second name, the last one where several have it; what is no object stays where it is."""
    for name in ("one", "two"):
        (tmp_path / name / "lib" / name).mkdir(parents=True)
        for file in ("lib/libx.so.1", f"lib/{name}/_{name}.so", f"lib/{name}/code.py"):
            (tmp_path / name / file).write_text(name)
    install.link_objects([tmp_path / "one", tmp_path / "two"], tmp_path / "whole")
    whole = tmp_path / "whole"
    found = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    assert found == ["lib/libx.so.1", "lib/one/_one.so", "lib/two/_two.so"]
    assert (whole / "lib" / "libx.so.1").samefile(tmp_path / "two" / "lib" / "libx.so.1")


def test_pip_gets_the_secrets_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the places where BuildKit mounts them; one that is not given changes nothing."""
    monkeypatch.setenv("PIP_CERT", "/own.pem")
    monkeypatch.setenv("PIP_RETRIES", "3")
    (tmp_path / "netrc").write_text("")
    found = install.pip_environment(tmp_path)
    assert (found["NETRC"], found["PIP_CERT"], found["PIP_RETRIES"]) == (str(tmp_path / "netrc"), "/own.pem", "3")
    assert "PIP_CONFIG_FILE" not in found
    (tmp_path / "ca").write_text("")
    (tmp_path / "INDEX_TOKEN").write_text("t0ken\n")
    assert install.pip_environment(tmp_path)["INDEX_TOKEN"] == "t0ken"
    assert install.pip_environment(tmp_path)["PIP_CERT"] == str(tmp_path / "ca")


PIP = """\
import os, pathlib, sys

def main(words):
    print(os.environ["PIP_FIND_LINKS"])
    assert "--require-hashes" in words and words[-2].startswith("--prefix=")
    bad = "bad" in pathlib.Path(words[-1].partition("=")[2]).read_text()
    print("wrong" if bad else "fine", file=sys.stderr)
    return 7 if bad else 0
"""


@pytest.mark.processes
def test_a_failure_of_pip_is_told_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is kept; where the lock is for another platform, that is said, since pip only speaks of hashes."""
    monkeypatch.setenv("PIP_FIND_LINKS", "/more")
    wheels, program = tmp_path / "wheels", tmp_path / "site" / "pip"
    for folder in (wheels, program / "_internal" / "cli", program / "_internal" / "commands"):
        folder.mkdir(parents=True)
    (wheels / install.FOREIGN).write_text("the lock is for s390x\n")
    made = {"_internal/cli/main.py": PIP, "_internal/commands/install.py": ""}
    made |= {f"{folder}__init__.py": "" for folder in ("", "_internal/", "_internal/cli/", "_internal/commands/")}
    for name, text in made.items():
        (program / name).write_text(text)
    pip = install.Pip(program, Path(sys.prefix), wheels, ["--no-index"])
    pip.install({tmp_path / "good": packages("good")})
    assert sorted(capfd.readouterr().err.splitlines()) == [f"/more {wheels}", "fine"]
    assert (tmp_path / "good.txt").read_text() == "--no-index\ngood\n"
    with pytest.raises(SystemExit) as caught:
        pip.install({tmp_path / name: packages(name) for name in ("bad", "good")})
    assert caught.value.code == 7
    said = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("/more")]
    assert said == ["fine", "wrong", "the lock is for s390x"]
