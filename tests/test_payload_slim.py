"""The layer that makes a base image serve as the minimal one does: what is added, mended, and left as it is."""

import importlib.util
import stat
from pathlib import Path

import pytest

from dockyard.payload import bytecode, files, slim

PASSWD = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n"


def fill(folder: Path, files: dict[str, str]) -> Path:
    """Make files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a base image: a shell, a program with the rights of root, accounts, a module without bytecode."""
    made = fill(
        tmp_path / "base",
        {
            "usr/bin/sh": "shell",
            "usr/bin/su": "program",
            "usr/bin/python3": "interpreter",
            "usr/lib/python3/json.py": "x = 1\n",
            "usr/share/template.py": "{{ no python }}\n",
            "etc/passwd": PASSWD,
            "tmp/.keep": "",
        },
    )
    (made / "usr/bin/su").chmod(0o4755)
    (made / "tmp").chmod(0o1777)
    (made / "bin").symlink_to("usr/bin")
    return made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a minimal image on that base: the same interpreter, an application, an account of its own."""
    made = fill(
        tmp_path / "image",
        {
            "usr/bin/python3": "interpreter",
            "app/shop.py": "y = 2\n",
            "etc/passwd": "root:x:0:0::/:/sbin/nologin\nnonroot:x:65532:65532::/tmp:/sbin/nologin\n",
            "var/lib/dpkg/status.d/libc6": "Package: libc6\n",
        },
    )
    (made / "tmp").mkdir()
    (made / "data").mkdir(mode=0o750)
    (made / "bin").symlink_to("usr/bin")
    (made / "usr/bin/python").symlink_to("python3")
    return made


@pytest.fixture
def layer(tmp_path: Path, base: Path, image: Path) -> Path:
    """Return the layer."""
    slim.make_slim(tmp_path / "layer", image, base)
    return tmp_path / "layer"


def test_only_what_the_base_lacks_is_in_the_layer(layer: Path) -> None:
    """What is the same in both stays in the base alone, and so do dpkg's own records."""
    found = {str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_symlink() or not path.is_dir()}
    compiled = importlib.util.cache_from_source("usr/lib/python3/json.py")
    assert found == {"app/shop.py", "etc/passwd", "usr/bin/python", "usr/bin/su", compiled}
    assert (layer / "usr/bin/python").readlink() == Path("python3")


def test_folders_are_as_they_are_elsewhere(layer: Path) -> None:
    """A new one has the image's mode; one that the base has is not touched for nothing."""
    assert stat.S_IMODE((layer / "data").stat().st_mode) == 0o750
    assert not (layer / "tmp").exists()
    assert {path.lstat().st_mtime for path in layer.rglob("*")} == {files.TIME}


def test_accounts_are_added_to_those_of_the_base(layer: Path) -> None:
    """The base's own root keeps its shell."""
    assert (layer / "etc/passwd").read_text() == PASSWD + "nonroot:x:65532:65532::/tmp:/sbin/nologin\n"


def test_programs_give_nobody_the_rights_of_root(layer: Path) -> None:
    """The copy without the bit hides the one of the base."""
    assert (layer / "usr/bin/su").read_text() == "program"
    assert stat.S_IMODE((layer / "usr/bin/su").stat().st_mode) == 0o755


def test_bytecode_is_made_for_what_the_base_brings_without(layer: Path, base: Path) -> None:
    """It fits the base's file at the path that it has in the image."""
    compiled = layer / importlib.util.cache_from_source("usr/lib/python3/json.py")
    assert bytecode.fits(compiled, base / "usr/lib/python3/json.py")
    assert b"/usr/lib/python3/json.py" in compiled.read_bytes()
    assert str(base).encode() not in compiled.read_bytes()


def test_bytecode_that_the_base_has_is_left_alone(tmp_path: Path, base: Path, image: Path) -> None:
    """Bytecode that is valid at all times needs no other; what depends on a time does."""
    source = base / "usr/lib/python3/json.py"
    bytecode.compile_file(source, "/" / source.relative_to(base))
    slim.make_slim(tmp_path / "one", image, base)
    assert not (tmp_path / "one/usr/lib").exists()
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.write_bytes(compiled.read_bytes()[:4] + bytes(4) + compiled.read_bytes()[8:])
    slim.make_slim(tmp_path / "two", image, base)
    assert (tmp_path / "two/usr/lib/python3").is_dir()
