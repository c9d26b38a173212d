"""OCI layouts: the same tree gives the same bytes, and an engine gets the same layer."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from dockyard.bases import cache
from dockyard.bases.cache import Image

CONFIG = {"Env": ["PATH=/bin", "LANG=C.UTF-8"], "Cmd": ["python3"]}
STATUS = """Package: libc6
Status: install ok installed
Version: 2.41-12
Description: words
 Package: not this

Package: gone
Status: deinstall ok config-files
Version: 1
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tar file with a dpkg status file in it."""
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo("./var/lib/dpkg/status")
        member.size = len(STATUS.encode())
        file.addfile(member, io.BytesIO(STATUS.encode()))
    return path


@pytest.fixture
def written(tree: Path, tmp_path: Path) -> tuple[Path, Image]:
    """Return a layout of the tree and its digests."""
    return tmp_path / "layout", cache.write_layout(tree, tmp_path / "layout", "amd64", "made by a test", CONFIG)


def test_same_tree_same_image(tree: Path, tmp_path: Path, written: tuple[Path, Image]) -> None:
    """Nothing of when and where a layout is written gets into its digests."""
    assert cache.write_layout(tree, tmp_path / "again", "amd64", "made by a test", CONFIG) == written[1]


def test_layout_is_consistent(written: tuple[Path, Image]) -> None:
    """The index names the manifest, it names configuration and layer, and every blob is named by its digest."""
    place, image = written
    blobs = place / "blobs" / "sha256"
    index = json.loads((place / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [image.manifest]
    manifest = json.loads((blobs / image.manifest.removeprefix("sha256:")).read_text())
    assert manifest["config"]["digest"] == image.config
    assert manifest["layers"] == [{"mediaType": cache.TYPES["layer"], "digest": image.layer, "size": image.size}]
    config = json.loads((blobs / image.config.removeprefix("sha256:")).read_text())
    assert config["rootfs"]["diff_ids"] == [image.diff_id]
    assert config["config"] == CONFIG
    assert config["created"] == "2026-01-01T00:00:00Z"
    assert sorted(path.name for path in blobs.iterdir()) == sorted(
        digest.removeprefix("sha256:") for digest in (image.manifest, image.config, image.layer)
    )


def test_a_damaged_layout_is_noticed(written: tuple[Path, Image]) -> None:
    """A layout without its index, or with a cut layer, does not count as a base."""
    place, image = written
    assert cache.is_complete(place, image)
    layer = place / "blobs" / "sha256" / image.layer.removeprefix("sha256:")
    layer.write_bytes(layer.read_bytes()[:-1])
    assert not cache.is_complete(place, image)
    assert not cache.is_complete(place / "nowhere", image)


def test_archive_for_an_engine(written: tuple[Path, Image]) -> None:
    """What `docker load` gets has the name and the same layer."""
    place, image = written
    with tarfile.open(fileobj=io.BytesIO(cache.pack_archive(place, image, "base/python:x"))) as file:
        listing = json.load(file.extractfile("manifest.json") or io.BytesIO())
        names = set(file.getnames())
    assert listing[0]["RepoTags"] == ["base/python:x"]
    assert {listing[0]["Config"], *listing[0]["Layers"]} <= names


def test_installed_packages(tree: Path, tmp_path: Path) -> None:
    """The packages come from the tree's own dpkg status; one that was removed does not count."""
    assert cache.read_packages(tree) == {"libc6": "2.41-12"}
    empty = tmp_path / "empty.tar"
    tarfile.open(empty, "w").close()
    assert cache.read_packages(empty) == {}
