"""What runs inside containers is fenced off: from the pipeline, and from whatever name and folder it is started."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from dockyard.engine.inside import PAYLOAD, probe, program

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


@pytest.mark.parametrize("name", ["lock", "probes"])
def test_what_is_sent_as_text_imports_nothing_but_the_standard_library(name: str) -> None:
    """It runs alone."""
    assert [found for found in imported(PAYLOAD / f"{name}.py") if found.startswith("dockyard")] == []


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
    assert "socket" in program("probes")
