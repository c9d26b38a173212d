"""Adding to the minimal image what no scan finds: patterns, folders, bytecode, and what matches nothing."""

import importlib.util
from pathlib import Path

import pytest

from dockyard import keep, rootfs


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder that stands in for a base image, with some data, a module and stale bytecode."""
    folder = tmp_path / "base"
    for name, text in {
        "share/misc/magic.mgc": "magic",
        "share/misc/.hidden": "x",
        "lib/plugin/__init__.py": "x = 1\n",
        "lib/plugin/template.py": "{{ no python }}\n",
        "lib/plugin/__pycache__/__init__.cpython-30.pyc": "old",
        "lib/alone.py": "y = 2\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "share" / "link").symlink_to("misc/magic.mgc")
    return folder


def inside(layer: Path, path: Path) -> Path:
    """Return where a path of the base lies in the layer."""
    return layer / path.relative_to("/")


def test_files_are_kept_at_their_path(base: Path, tmp_path: Path) -> None:
    """Several patterns, and what a link names; all with the one fixed time."""
    layer = tmp_path / "layer"
    layer.mkdir()
    assert keep.main([str(layer), f"{base}/share/li?k:{base}/lib/al*.py"]) == 0
    assert inside(layer, base / "share/link").readlink() == Path("misc/magic.mgc")
    assert inside(layer, base / "share/misc/magic.mgc").read_text() == "magic"
    assert not inside(layer, base / "share/misc/.hidden").exists()
    assert {path.lstat().st_mtime for path in layer.rglob("*")} == {rootfs.TIME}


def test_python_files_have_bytecode_of_their_own_and_no_other(base: Path, tmp_path: Path) -> None:
    """It is made for the path that the file has in the image; what is no Python stays as it is."""
    layer = tmp_path / "layer"
    layer.mkdir()
    keep.main([str(layer), f"{base}/lib/plugin:{base}/lib/alone.py"])
    for name in ("plugin/__init__.py", "alone.py"):
        source = inside(layer, base / "lib" / name)
        compiled = Path(importlib.util.cache_from_source(str(source)))
        assert rootfs.fits(compiled, source)
        assert str(base / "lib" / name).encode() in compiled.read_bytes()
    left = {path.name for path in inside(layer, base / "lib/plugin").rglob("*.pyc")}
    assert left == {Path(importlib.util.cache_from_source("__init__.py")).name}
    assert inside(layer, base / "lib/plugin/template.py").exists()


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    """The build argument is empty as a rule."""
    layer = tmp_path / "layer"
    layer.mkdir()
    assert keep.main([str(layer), ""]) == 0
    assert list(layer.iterdir()) == []


def test_a_pattern_without_a_match_ends_the_build(base: Path, tmp_path: Path) -> None:
    """A misspelt path is no file that happens not to be needed."""
    with pytest.raises(SystemExit, match=r"keep: nothing in the base image matches .*/share/magick\n.*base stage"):
        keep.main([str(tmp_path / "layer"), f"{base}/share/magick"])
