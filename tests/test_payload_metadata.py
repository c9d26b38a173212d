"""The project's own metadata and version in an image: what Python and the tools' own readers make of it."""

import importlib.metadata
import runpy
from pathlib import Path

import pytest

from dockyard.payload.layers import read_version, split_version, write_metadata


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one and where imports begin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["corner-shop", "Corner.Shop", "corner_shop"])
def test_python_finds_it(folder: Path, name: str) -> None:
    """Under any spelling of the name, as it finds what was installed."""
    write_metadata(name, "1.2+4.gabc", None, [])
    assert importlib.metadata.version("corner-shop") == "1.2+4.gabc"
    assert importlib.metadata.metadata("corner_shop")["Name"] == name
    assert [path.name for path in folder.iterdir()] == ["corner_shop-1.2+4.gabc.dist-info"]


def test_the_file_serves_each_tool(folder: Path) -> None:
    """The names of setuptools_scm and hatch-vcs, the function of versioneer; a text file holds the version alone."""
    write_metadata("shop", "1.2.dev3+gabc", None, [Path("_version.py"), Path("VERSION.txt")])
    said = runpy.run_path(str(folder / "_version.py"))
    assert (said["version"], said["__version__"]) == ("1.2.dev3+gabc",) * 2
    assert said["version_tuple"] == (1, 2, "dev3", "gabc")
    assert said["get_versions"]()["version"] == "1.2.dev3+gabc"
    assert (folder / "VERSION.txt").read_text() == "1.2.dev3+gabc\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\nversion = '1.2'\n"),
        ("pyproject.toml", "[tool.poetry]\nversion = '1.2'\n"),
        ("setup.cfg", "[metadata]\nversion = 1.2\ndescription = 100%\n"),
        ("about.py", "# version\nOTHER = '3'\n__version__: str = \"1.2\"\n"),
        ("v.py", "version = __version__ = '1.2'\n"),
    ],
)
def test_the_file_that_says_it(folder: Path, name: str, text: str) -> None:
    """In each of the forms that a project may have it."""
    (folder / name).write_text(text)
    assert read_version(folder / name) == "1.2"
    write_metadata("shop", "", folder / name, [])
    assert importlib.metadata.version("shop") == "1.2"


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg", "about.py"])
def test_a_file_that_says_it_no_more(folder: Path, name: str) -> None:
    """The build ends with one sentence."""
    (folder / name).write_text("")
    with pytest.raises(SystemExit, match=f"{name} does not say the project's version"):
        read_version(folder / name)


def test_parts_of_a_version() -> None:
    """Numbers are numbers, and what is local is one part."""
    assert split_version("1.10") == (1, 10)
    assert split_version("0.0.0+g12.dirty") == (0, 0, 0, "g12.dirty")
