"""Copying files of a base image into a layer, and saying whose they were."""

import os
import stat
from pathlib import Path

import pytest

from dockyard.payload import files


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """Return an empty layer."""
    made = tmp_path / "layer"
    made.mkdir()
    return made


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_settle_reaches_the_layer_itself_and_links(layer: Path) -> None:
    """The root folder, links to nowhere and links to folders carry the fixed time too."""
    (layer / "folder").mkdir()
    (layer / "to-folder").symlink_to("folder")
    (layer / "to-nowhere").symlink_to("nowhere")
    files.settle(layer)
    assert {path.lstat().st_mtime for path in (layer, *layer.iterdir())} == {float(files.TIME)}


def test_copy_keeps_links_and_follows_them(tmp_path: Path, layer: Path) -> None:
    """A chain of links arrives with all that it names, at the same paths."""
    source = tmp_path / "lib"
    source.mkdir()
    (source / "lib.so.1.2").write_bytes(b"x")
    (source / "lib.so.1").symlink_to("lib.so.1.2")
    (source / "lib.so").symlink_to(source / "lib.so.1")
    files.copy(source / "lib.so", layer)
    there = files.inside(layer, source)
    assert (there / "lib.so").readlink() == source / "lib.so.1"
    assert (there / "lib.so.1").readlink() == Path("lib.so.1.2")
    assert (there / "lib.so.1.2").read_bytes() == b"x"


def test_copy_without_following(tmp_path: Path, layer: Path) -> None:
    """A link alone, when that is what is wanted; a folder without what is in it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    files.copy(tmp_path / "link", layer, follow=False)
    files.copy(tmp_path / "folder", layer, follow=False)
    there = files.inside(layer, tmp_path)
    assert (there / "link").is_symlink()
    assert not (there / "file").exists()
    assert list((there / "folder").iterdir()) == []


def test_copy_of_links_that_go_round(tmp_path: Path, layer: Path) -> None:
    """Folders that link to each other or to themselves come to an end."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "self").symlink_to(".")
    (one / "two").symlink_to("../two")
    (two / "one").symlink_to("../one")
    (two / "loop").symlink_to("loop")
    files.copy(one, layer)
    there = files.inside(layer, tmp_path)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*")) == [
        "one", "one/self", "one/two", "two", "two/loop", "two/one",
    ]  # fmt: skip


def test_copy_through_a_linked_folder(tmp_path: Path, layer: Path) -> None:
    """/lib/x is copied to /usr/lib/x where /lib is a link, as in every merged system."""
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "x").write_text("x")
    (tmp_path / "lib").symlink_to("usr")
    files.copy(tmp_path / "lib" / "x", layer)
    there = files.inside(layer, tmp_path)
    assert (there / "usr" / "x").is_file()
    assert not (there / "lib").exists()


def test_copy_drops_set_user_id(tmp_path: Path, layer: Path) -> None:
    """No program of the image may run as someone else."""
    program = tmp_path / "su"
    program.write_text("x")
    program.chmod(0o6755)
    files.copy(program, layer)
    assert mode(files.inside(layer, program)) == 0o755


def test_copy_of_nothing(tmp_path: Path, layer: Path) -> None:
    """A link to nowhere is kept; what is not there is passed over."""
    (tmp_path / "link").symlink_to("nowhere")
    files.copy(tmp_path / "link", layer)
    files.copy(tmp_path / "absent", layer)
    there = files.inside(layer, tmp_path)
    assert (there / "link").is_symlink()
    assert not os.path.lexists(there / "absent")


STATUS = """\
Package: libx1
Status: install ok installed
Architecture: amd64
Source: x (1.0)
Version: 1.0-2
Description: first line
 Version: of the description

Package: tables
Status: install ok installed
Version: 3

Package: unused
Status: install ok installed
Version: 4
"""


@pytest.fixture
def dpkg(tmp_path: Path) -> Path:
    """Return a system of three packages, whose lists still name /lib, which is a link to usr/lib."""
    system = tmp_path / "system"
    for folder in ("usr/lib", "etc", "dpkg/info"):
        (system / folder).mkdir(parents=True)
    (system / "lib").symlink_to("usr/lib")
    for name in ("usr/lib/libx.so.1", "etc/tables", "etc/made"):
        (system / name).write_text(name)
    lists = {"libx1:amd64": f"/.\n{system}/lib\n{system}/lib/libx.so.1\n", "tables": f"{system}/etc/tables\n"}
    for name, text in {**lists, "unused": f"{system}/etc\n{system}/etc/other\n"}.items():
        (system / "dpkg" / "info" / f"{name}.list").write_text(text)
    (system / "dpkg" / "status").write_text(STATUS)
    return system


def recorded(layer: Path) -> dict[str, str]:
    """Return what a layer says of packages."""
    return {path.name: path.read_text() for path in files.inside(layer, files.STATUS).glob("*")}


def test_packages_whose_files_were_copied_are_recorded(dpkg: Path, layer: Path) -> None:
    """Each has a file of its own, with the fields that name it; folders and files that are not there do not count."""
    files.copy(dpkg / "lib" / "libx.so.1", layer)
    (files.inside(layer, dpkg) / "etc").mkdir()
    files.record_packages(layer, dpkg / "dpkg")
    found = "Package: libx1\nStatus: install ok installed\nArchitecture: amd64\nSource: x (1.0)\nVersion: 1.0-2\n"
    assert recorded(layer) == {"libx1": found}


def test_files_that_no_list_names(dpkg: Path, layer: Path) -> None:
    """What a package makes at its installation is known by name; a base without dpkg records nothing."""
    files.copy(dpkg / "etc" / "made", layer)
    files.record_packages(layer, dpkg / "dpkg")
    assert recorded(layer) == {}
    files.record_packages(layer, dpkg / "dpkg", {str(dpkg / "etc" / "made"): "tables"})
    assert list(recorded(layer)) == ["tables"]
    files.record_packages(layer, dpkg / "nowhere")


def test_records_carry_modes_of_their_own(dpkg: Path, layer: Path) -> None:
    """The umask of whoever builds has no say."""
    before = os.umask(0o077)
    try:
        files.copy(dpkg / "etc" / "tables", layer)
        files.record_packages(layer, dpkg / "dpkg")
    finally:
        os.umask(before)
    assert mode(files.inside(layer, files.STATUS) / "tables") == 0o644
