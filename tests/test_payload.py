"""What runs inside containers is fenced off: from the pipeline, and from whatever name and folder it is started."""

import ast
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import resources
from importlib.util import source_hash
from pathlib import Path

import pytest

from dockyard.engine.inside import PAYLOAD, archive, probe
from dockyard.payload import bytecode

PACKAGE = PAYLOAD.parent


def imported(path: Path) -> Iterator[str]:
    """Yield the absolute names of all that a module of the package imports, wherever in it."""
    here = ("dockyard", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*here[: -node.level], *([node.module] if node.module else [])] if node.level else [node.module or ""]
            )
            yield from (f"{base}.{name.name}" for name in node.names)


def test_it_imports_the_standard_library_and_itself() -> None:
    """Nothing else is there where it runs."""
    for path in PAYLOAD.glob("*.py"):
        strangers = {name for name in imported(path) if name.partition(".")[0] not in sys.stdlib_module_names}
        assert {name for name in strangers if not name.startswith("dockyard.payload.")} == set(), path.name


def test_what_is_sent_as_text_imports_nothing_but_the_standard_library() -> None:
    """It runs alone."""
    assert [found for found in imported(PAYLOAD / "probes.py") if found.startswith("dockyard")] == []


@pytest.mark.parametrize("name", ["probes", "lock"])
def test_what_any_python_runs_is_nothing_newer_than_3_9(name: str) -> None:
    """Neither in its own text nor in what it imports of the package: a lock is made for such a Python too."""
    open_ones, read = [name], set[str]()
    while open_ones:
        one = open_ones.pop()
        read.add(one)
        ast.parse((PAYLOAD / f"{one}.py").read_text("utf-8"), feature_version=(3, 9))
        ours = {found.split(".")[2] for found in imported(PAYLOAD / f"{one}.py") if found.startswith("dockyard.")}
        open_ones += ours - read
    assert read == {"probes": {"probes"}, "lock": {"lock", "resolvers"}}[name]


@pytest.mark.processes
def test_a_program_runs_from_the_archive(tmp_path: Path) -> None:
    """As it is sent to where nothing is mounted: one that imports others of the package, on an isolated Python."""
    (tmp_path / "sent.zip").write_bytes(archive())
    words = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'sent.zip')!r}); from payload import lock; "
        "print(lock.patiently({'pauses': []}, lambda: lock.PipTools.__module__), lock.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == f"payload.resolvers {tmp_path / 'sent.zip' / 'payload' / 'lock.py'}\n"


def test_equal_files_make_equal_archives() -> None:
    """Of all modules of the package, and nothing else."""
    assert archive() == archive()
    with zipfile.ZipFile(io.BytesIO(archive())) as opened:
        assert opened.namelist() == [f"payload/{path.name}" for path in sorted(PAYLOAD.glob("*.py"))]


def test_nothing_on_the_host_imports_it() -> None:
    """The host hands over its files: what works there must not come to depend on what is written for elsewhere."""
    for path in PACKAGE.rglob("*.py"):
        if not path.is_relative_to(PAYLOAD):
            assert [name for name in imported(path) if name.startswith("dockyard.payload")] == [], path


def test_it_is_installed_with_the_package() -> None:
    """With the file that keeps bytecode, which every installation has of its own, from BuildKit."""
    assert (resources.files("dockyard") / "payload" / ".dockerignore").read_text() == "**/__pycache__\n"


@pytest.mark.processes
@pytest.mark.parametrize("name", ["dockyard", "another-name.d"])
def test_it_runs_from_anywhere_under_any_name(tmp_path: Path, name: str) -> None:
    """As it is mounted into a build, with an isolated Python and without site-packages."""
    shutil.copytree(PAYLOAD, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "shop.py").write_text("")
    words = ("application", str(tmp_path / "layers" / "app"), str(tmp_path / "app"))
    subprocess.run([sys.executable, "-I", "-S", str(tmp_path / name), *words], check=True, cwd="/", env={})
    made = tmp_path / "layers" / "app" / (tmp_path / "app").relative_to("/")
    assert {path.name.split(".")[0] for path in made.rglob("*")} == {"shop", "__pycache__"}


@pytest.mark.processes
def test_it_reads_bytecode_of_its_very_source(tmp_path: Path) -> None:
    """As an early step of the build leaves it beside each module; of another source's it takes no notice."""
    shutil.copytree(PAYLOAD, tmp_path / "dockyard", ignore=shutil.ignore_patterns("__pycache__"))
    module, meant = tmp_path / "dockyard" / "layers.py", tmp_path / "meant.py"
    meant.write_text("def make_application(layer, folder): print(layer, folder)\n")
    bytecode.write_checked(meant)
    made = bytecode.cache(meant).read_bytes()
    bytecode.cache(module).parent.mkdir(exist_ok=True)
    bytecode.cache(module).write_bytes(made)
    (tmp_path / "app").mkdir()
    run = [sys.executable, "-B", *(str(tmp_path / name) for name in ("dockyard", "layer", "app"))]
    run.insert(3, "application")
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == ""
    assert (tmp_path / "layer").is_dir()
    bytecode.cache(module).write_bytes(made[:8] + source_hash(module.read_bytes()) + made[16:])
    assert (
        subprocess.run(run, capture_output=True, text=True, check=True).stdout
        == f"{tmp_path / 'layer'} {tmp_path / 'app'}\n"
    )


@pytest.mark.processes
@pytest.mark.parametrize("words", [[], ["nonsense"], ["application", "x"], ["install", "x", "--parts", "none"]])
def test_wrong_arguments(words: list[str]) -> None:
    """Usage is told, with the code for it."""
    done = subprocess.run([sys.executable, "-I", str(PAYLOAD), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "usage")


@pytest.mark.processes
def test_probes_answer_in_json() -> None:
    """As their text is sent to any Python."""
    done = subprocess.run([sys.executable, *probe("find", sys.executable)], capture_output=True, text=True, check=True)
    assert done.stdout == f'["{sys.executable}"]'
    assert "socket" in probe("any")[2]


@pytest.mark.processes
def test_accounts_are_told_as_they_stand() -> None:
    """The text of /etc/passwd, to which a line may be added."""
    done = subprocess.run([sys.executable, *probe("accounts")], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == Path("/etc/passwd").read_text("utf-8", "replace")
