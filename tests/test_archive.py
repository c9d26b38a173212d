"""Reading what an engine saves: both forms, in one pass, with every layer's digest computed on the way."""

import gzip
import json
import tarfile
import zlib

import pytest

from dockyard.engine.archive import Image, from_archive, path_of
from dockyard.errors import DockyardError

from .saved_images import Entry, archive, layer

ENTRIES = [Entry("/app", kind=tarfile.DIRTYPE, mode=0o755), Entry("/app/web.py", b"app = 1\n")]


def name(member: tarfile.TarInfo, _content: object) -> str:
    """Keep the path of every entry."""
    return path_of(member)


@pytest.mark.parametrize("oci", [True, False], ids=["containerd's store", "the older store"])
@pytest.mark.parametrize("piece", [7, 100_000])
def test_both_forms_are_read(oci: bool, piece: int) -> None:
    """Layers come in their order, with their computed digests, whatever pieces the archive arrives in."""
    layers = [layer(ENTRIES), layer([Entry("/data")]), layer([]) + bytes(300_000)]
    whole = archive(layers, oci=oci)
    found = from_archive((whole[at : at + piece] for at in range(0, len(whole), piece)), name)
    assert [one.items for one in found.layers] == [("/app", "/app/web.py"), ("/data",), ()]
    assert list(found.diff_ids) == found.config["rootfs"]["diff_ids"]
    assert [one.instruction for one in found.layers] == ["COPY layer1 /", "COPY layer2 /", "COPY layer3 /"]
    assert bool(found.manifest) is oci


def test_what_is_not_kept_costs_nothing() -> None:
    """A visitor that returns None keeps no entry; content that it leaves unread is passed over."""
    found: Image[str] = from_archive([archive([layer(ENTRIES)])], lambda _member, _content: None)
    assert found.layers[0].items == ()


def test_content_is_handed_over() -> None:
    """Files come with their content, folders without."""
    found = from_archive([archive([layer(ENTRIES)])], lambda _member, content: content.read() if content else b"-")
    assert found.layers[0].items == (b"-", b"app = 1\n")


def test_a_link_stands_for_a_layer() -> None:
    """Older engines save a layer that occurs twice as a link to the first."""
    one = layer(ENTRIES)
    text = json.dumps({"rootfs": {"diff_ids": []}}).encode()
    listing = json.dumps([{"Config": "c.json", "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode()
    link = Entry("b/layer.tar", kind=tarfile.SYMTYPE, link="../a/layer.tar")
    whole = layer([Entry("a/layer.tar", one), link, Entry("c.json", text), Entry("manifest.json", listing)])
    found = from_archive([whole], name)
    assert [layer.items for layer in found.layers] == [("/app", "/app/web.py")] * 2


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (archive([layer(ENTRIES)])[:700], "cannot be read"),
        (b"", "cannot be read"),
        (layer([Entry("manifest.json", b"[]")]), "is incomplete"),
        (layer([Entry("x", b"\x28\xb5\x2f\xfd" + bytes(600))]), "compressed with zstd"),
        (layer([Entry("x", gzip.compress(layer(ENTRIES))[:-30])]), "cannot be read"),
    ],
    ids=["cut short", "empty", "without an image", "zstd", "a layer cut short"],
)
def test_what_cannot_be_read_is_said(broken: bytes, said: str) -> None:
    """The message names what is wrong, and a tip goes with it."""
    with pytest.raises(DockyardError, match=said) as caught:
        from_archive([broken], name)
    assert caught.value.hint


@pytest.mark.parametrize("oci", [True, False], ids=["containerd's store", "the older store"])
def test_a_layers_size_is_what_a_pull_takes(oci: bool) -> None:
    """That of the packed layer, also where the older store hands it over plain."""
    plain = layer([Entry("/zeros", bytes(300_000))])
    found = from_archive([archive([plain], oci=oci)], name)
    assert found.layers[0].size == len(gzip.compress(plain, 9) if oci else zlib.compress(plain, 6))
