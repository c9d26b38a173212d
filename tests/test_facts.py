"""What is read from an image's archive: the file system that a container sees, and what a later layer hides."""

import hashlib
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from dockyard.engine import archive as archiving
from dockyard.errors import DockyardError
from dockyard.verify import contents as reading
from dockyard.verify.model import Entry, Facts
from tests import small_images
from tests.small_images import File, archive, folder, good, layer, link, read_archive

HARD = tarfile.LNKTYPE
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMAAB\n-----END CERTIFICATE-----\n"


def read(*layers: Mapping[str, File], **options: Any) -> Facts:
    """Return the facts of an image of these layers."""
    return read_archive([archive(*map(layer, layers), **options)])


def test_paths_rights_owners_sizes_and_layers() -> None:
    """Every entry says what it is and which layer brought it."""
    found = read({"/a": folder(0o750), "/a/b": File(b"text", 0o4755)}, {"/c": link("a/b")})
    assert (found.files["/a"].kind, found.files["/a"].mode, found.files["/a"].layer) == ("folder", 0o750, 0)
    entry = found.files["/a/b"]
    assert (entry.kind, entry.mode, entry.size, entry.layer) == ("file", 0o4755, 4, 0)
    assert entry.sha256 == hashlib.sha256(b"text").hexdigest()
    assert (found.files["/c"].kind, found.files["/c"].link, found.files["/c"].layer) == ("link", "a/b", 1)


def test_layers_have_their_digest_instruction_and_compressed_size() -> None:
    """The digest is that of the content, which no engine's compression changes; the size is what a pull transfers."""
    plain = layer({"/a": File(bytes(100_000))})
    found = read_archive([archive(plain)])
    (one,) = found.layers
    assert one.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert one.instruction == "COPY /layer-0/ / # buildkit"
    assert found.size == one.size < 1000


def test_the_older_form_of_archive_says_the_same_but_for_the_size() -> None:
    """Engines without containerd's store save layers plainly: their compressed size is worked out."""
    files = {"/a": File(bytes(100_000)), "/b": File(b"x")}
    new, old = read(files), read(files, compress=False)
    assert new.files == old.files
    assert abs(new.size - old.size) < 200


def test_a_replaced_file_is_hidden() -> None:
    """A container sees the later one; who has the image can read both."""
    found = read({"/a": File(b"old")}, {"/a": File(b"new!")})
    assert found.files["/a"].size == 4
    assert [(entry.path, entry.size, entry.layer) for entry in found.hidden] == [("/a", 3, 0)]


def test_a_whiteout_deletes_a_file_and_a_folder_with_all_in_it() -> None:
    """`.wh.name` takes away what lower layers had, and is no file itself."""
    first = {"/a": File(b"1"), "/d": folder(), "/d/x": File(b"2"), "/dd": File(b"3")}
    found = read(first, {"/.wh.a": File(), "/.wh.d": File()})
    assert set(found.files) == {"/dd"}
    assert {entry.path for entry in found.hidden} == {"/a", "/d", "/d/x"}


def test_a_whiteout_leaves_what_its_own_layer_brings() -> None:
    """A folder that is deleted and made anew has its new files, whatever the order in the archive."""
    found = read(
        {"/d": folder(), "/d/old": File(b"1")}, {"/d": folder(), "/d/new": File(b"2"), "/d/.wh..wh..opq": File()}
    )
    assert set(found.files) == {"/d", "/d/new"}


def test_a_file_in_the_place_of_a_folder_takes_all_with_it() -> None:
    """What was inside the folder cannot be reached any more."""
    found = read({"/d": folder(), "/d/x": File(b"1")}, {"/d": File(b"file")})
    assert {path: entry.kind for path, entry in found.files.items()} == {"/d": "file"}


def test_paths_through_links_lie_where_the_link_leads() -> None:
    """/bin/sh is /usr/bin/sh where /bin is a link, and is deleted under either name."""
    base = {"/bin": link("usr/bin"), "/usr": folder(), "/usr/bin": folder()}
    found = read(base, {"/bin/sh": File(b"x", 0o755), "/bin/ls": File(b"y", 0o755)}, {"/bin/.wh.ls": File()})
    assert "/usr/bin/sh" in found.files
    assert not {"/bin/sh", "/usr/bin/ls"} & set(found.files)


def test_links_that_go_round_end() -> None:
    """A loop of links is followed for a while, and leads nowhere."""
    found = read({"/a": link("b"), "/b": link("a")}, {"/a/x": File(b"1")})
    assert found.resolve("/a") is None
    assert found.resolve("/b/x/y") is None


def test_links_are_resolved() -> None:
    """Relative and absolute links, parents and dots, in the middle of a path and at its end."""
    found = read({"/u": folder(), "/u/f": File(b"1"), "/l": link("u"), "/u/up": link("../l/./f"), "/dead": link("/no")})
    for path in ("/u/f", "/l/f", "/u/up", "/l/../u/f"):
        resolved = found.resolve(path)
        assert resolved is not None, path
        assert resolved.path == "/u/f"
    assert found.resolve("/dead") is None
    assert found.resolve("/no/where") is None


def test_hard_links_have_the_content_of_their_target() -> None:
    """What is stored once is there twice, with the same rights and secrets."""
    found = read({"/a": File(b"data", 0o4755), "/b": File(kind=HARD, link="a")}, {"/c": File(kind=HARD, link="gone")})
    assert (found.files["/b"].sha256, found.files["/b"].mode) == (found.files["/a"].sha256, 0o4755)
    assert found.files["/b"].kind == "file"
    assert "/c" not in found.files


def test_file_capabilities_are_seen() -> None:
    """They are an extended attribute, and as good as set-uid."""
    name = "SCHILY.xattr.security.capability"
    found = read({"/ping": File(b"x", 0o755, extended={name: "x"}), "/ls": File(b"y", 0o755)})
    assert (found.files["/ping"].extended, found.files["/ls"].extended) == (((name, "x"),), ())


def test_only_what_rules_read_is_kept() -> None:
    """Sources and metadata whole, bytecode's header, nothing else: an image may be larger than memory."""
    found = read({**good(), "/big.bin": File(bytes(5 << 20))})
    assert found.files["/app/shop/web.py"].data == b"app = object()\n"
    assert len(found.files["/app/shop/__pycache__/web.cpython-313.pyc"].data) == 16
    assert found.files["/usr/bin/python3.13"].data == b""
    assert found.files["/big.bin"].data == b""


def test_secrets_are_found_across_the_windows_of_a_large_file() -> None:
    """A key or certificate that lies on the border of two pieces is seen, and the hash is that of the whole."""
    key = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64
    for border in (990, 980, 1000, 1010):
        data = b"." * border + key + b"\n" + CERTIFICATE + b"." * 2000
        windows = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        entry = reading.examine(Entry("/big", "file", size=len(data)), windows)
        assert entry.leaks == {"private key"}
        assert entry.certificates == {hashlib.sha256(b"0\x00\x01").hexdigest()}
        assert entry.sha256 == hashlib.sha256(data).hexdigest()


def test_the_keys_that_cryptographic_libraries_test_themselves_with_do_not_count() -> None:
    """GnuTLS holds such keys; a program or library is not where secrets are put."""
    key = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64
    found = read({"/lib.so": File(b"\x7fELF" + key), "/key": File(key)})
    assert not found.files["/lib.so"].leaks
    assert found.files["/key"].leaks == {"private key"}


@pytest.mark.parametrize("piece", [1, 7, 512, 10_240, 1 << 20])
def test_the_pieces_may_have_any_size(piece: int) -> None:
    """An engine sends the archive as it likes."""
    whole = archive(layer({"/a": File(b"data")}))
    found = read_archive(whole[at : at + piece] for at in range(0, len(whole), piece))
    assert set(found.files) == {"/a"}


@pytest.mark.parametrize("cut", [0, 100, 3000])
def test_an_archive_that_is_cut_short_is_an_error(cut: int) -> None:
    """No half-read image is ever judged."""
    whole = archive(layer(good()))
    with pytest.raises(DockyardError, match="archive"):
        read_archive([whole[:cut]])


def test_a_layer_that_cannot_be_read_is_named() -> None:
    """An unknown compression is not taken for an empty layer."""
    text = layer({"blobs/sha256/abc": File(b"\x28\xb5\x2f\xfd" + bytes(1000)), "manifest.json": File(b"[]")})
    with pytest.raises(DockyardError, match="layer blobs/sha256/abc is compressed with zstd"):
        read_archive([text])


def test_an_image_without_history_has_layers_without_instructions() -> None:
    """`docker import` leaves none."""
    image: archiving.Image[Entry] = archiving.Image("m", "c", {}, (archiving.Layer("sha256:1", 1, ()),))
    found = reading.flatten(image)
    assert [(one.diff_id, one.instruction) for one in found.layers] == [("sha256:1", "")]
    assert (found.digest, found.manifest) == ("c", "m")


def test_configuration_and_labels() -> None:
    """What a container starts from is at hand."""
    found = small_images.facts(good())
    assert found.settings["User"] == "65532:65532"
    assert found.labels["io.dockyard.target"] == "production"
    assert found.environment == {"PATH": "/opt/venv/bin:/usr/bin", "PORT": "8000"}
    assert found.digest.startswith("sha256:")
