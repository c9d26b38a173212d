"""Keep the images made from Debian packages: one OCI layout each in the cache, and their names in engines.

`python-VERSION-ARCH.json` or `service-NAME-ARCH.json` in the cache says what is current; the layout that it names is
complete before the file is written, so that an interrupt leaves the older image or none, never half a one.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import files
from dockyard.apt import parse_installed
from dockyard.bases.lookup import Base, local_name, reference
from dockyard.bases.recipe import EPOCH
from dockyard.errors import CommandError, EngineError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine


CHUNK = 1 << 20
LEVEL = 6
TYPES = {
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
}


@dataclass(frozen=True)
class Image:
    """The digests of an image of one layer: `diff_id` is the uncompressed layer's, `size` the packed one's bytes."""

    manifest: str
    config: str
    layer: str
    diff_id: str
    size: int


def write_layout(tree: Path, into: Path, architecture: str, made_by: str, config: Mapping[str, Any]) -> Image:
    """Write the tar file `tree` as the one layer of an image into the OCI layout `into`, an empty folder.

    `config` is what containers start with, its fields named as in Docker's image specification: Env, Healthcheck …
    """
    blobs = into / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    diff_id = compress(tree, blobs / "layer")
    with (blobs / "layer").open("rb") as file:
        packed = hashlib.file_digest(file, "sha256").hexdigest()
    layer = _describe("layer", (blobs / "layer").rename(blobs / packed))
    created = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": made_by}],
    }
    described = add_document(into, "config", document)
    head = {"schemaVersion": 2, "mediaType": TYPES["manifest"]}
    manifest = add_document(into, "manifest", {**head, "config": described, "layers": [layer]})
    entry = {**manifest, "platform": {"architecture": architecture, "os": "linux"}}
    index = {"schemaVersion": 2, "mediaType": TYPES["index"], "manifests": [entry]}
    (into / "index.json").write_text(_json(index), "utf-8")
    (into / "oci-layout").write_text(_json({"imageLayoutVersion": "1.0.0"}), "utf-8")
    return Image(manifest["digest"], described["digest"], layer["digest"], diff_id, layer["size"])


def compress(source: Path, target: Path) -> str:
    """Write `source` with gzip to `target`, without name or time, and return the digest of the plain bytes."""
    digest = hashlib.sha256()
    with (
        source.open("rb") as plain,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as packed,
    ):
        while chunk := plain.read(CHUNK):
            digest.update(chunk)
            packed.write(chunk)
    return f"sha256:{digest.hexdigest()}"


def is_complete(layout: Path, image: Image) -> bool:
    """Tell whether a layout still holds every part of its image."""
    manifest, config, layer = (locate_blob(layout, digest) for digest in (image.manifest, image.config, image.layer))
    whole = all(path.is_file() for path in (layout / "index.json", layout / "oci-layout", manifest, config, layer))
    return whole and layer.stat().st_size == image.size


def locate_blob(layout: Path, digest: str) -> Path:
    """Return the path of a part of a layout."""
    return layout / "blobs" / digest.replace(":", "/")


def pack_archive(layout: Path, image: Image, name: str) -> bytes:
    """Return the image as `docker load` takes it, under a name; every engine and store understands this form."""
    config, layer = (locate_blob(layout, digest) for digest in (image.config, image.layer))
    listing = [{"Config": f"{config.name}.json", "RepoTags": [name], "Layers": [f"{layer.name}.tar"]}]
    made, text = io.BytesIO(), _json(listing).encode()
    information = tarfile.TarInfo("manifest.json")
    information.size = len(text)
    with tarfile.open(fileobj=made, mode="w") as file:
        file.addfile(information, io.BytesIO(text))
        file.add(config, f"{config.name}.json")
        file.add(layer, f"{layer.name}.tar")
    return made.getvalue()


def read_packages(tree: Path) -> dict[str, str]:
    """Return the Debian packages and their versions that a tree, given as a tar file, says it holds."""
    with tarfile.open(tree) as file:
        for member in file:
            if member.name.lstrip("./") == "var/lib/dpkg/status":
                status = file.extractfile(member)
                found = parse_installed(status.read().decode("utf-8", "replace")) if status else {}
                return {name: fields["Version"] for name, fields in sorted(found.items())}
    return {}


def _describe(kind: str, blob: Path) -> dict[str, Any]:
    return {"mediaType": TYPES[kind], "digest": f"sha256:{blob.name}", "size": blob.stat().st_size}


def add_document(layout: Path, kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Add a configuration or a manifest to a layout, which others may read meanwhile; return its descriptor."""
    text = _json(document)
    blob = locate_blob(layout, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
    if not blob.is_file():
        files.write_atomically(blob, text)
    return _describe(kind, blob)


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True)
class Record:
    """An image made from Debian packages: what is in it and where its layout lies, relative to the cache.

    `kind` is "python", and `python` the base's version; or it is "service", and `python` the service's name.
    """

    python: str
    version: str
    release: str
    architecture: str
    recipe: str
    packages: Mapping[str, str]
    image: Image
    folder: str
    kind: str = "python"


def read_record(python: str, architecture: str, kind: str = "python") -> Record | None:
    """Return the current base of a Python, or None where the cache has none that is whole."""
    try:
        found = json.loads((files.folder() / f"{kind}-{python}-{architecture}.json").read_text("utf-8"))
        record = Record(**{**found, "image": Image(**found["image"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if is_complete(files.folder() / record.folder, record.image) else None


def store_record(made: Path, record: Record) -> Record:
    """Move a finished layout into the cache, make it the current base of its Python and forget the older one."""
    stem = f"{record.kind}-{record.python}-{record.architecture}"
    name = f"{stem}-{record.image.manifest.partition(':')[2][:12]}"
    record = dataclasses.replace(record, folder=name)
    place = files.folder() / name
    if not is_complete(place, record.image):
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    files.write_atomically(files.folder() / f"{stem}.json", json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    for older in files.folder().glob(f"{stem}-*/"):
        if older != place:
            shutil.rmtree(older, ignore_errors=True)
    return record


def make_base(record: Record, *, layouts: bool) -> Base:
    """Return the base that a record describes; `layouts` says whether the engine's BuildKit can read a layout."""
    place = f"{files.folder() / record.folder}@{record.image.manifest}" if layouts else ""
    name = local_name(record.python)
    return Base(record.python, reference(record.python), "debian", name, record.image.config, place)


def load_images(engine: "Engine", records: Mapping[str, Record]) -> None:
    """Give the engine every image, by its name there, that it lacks or has in another state."""
    for name, record in records.items():
        held = engine.inspect_image(name)
        if held and held["RootFS"]["Layers"] == [record.image.diff_id]:
            continue
        content = pack_archive(files.folder() / record.folder, record.image, name)
        try:
            engine.run("load", "--quiet", input=content)
        except CommandError as error:
            raise EngineError(
                f"the engine did not take the image {name}: {error.output}",
                "`invoke doctor` shows how much its disk has left; then run this again",
            ) from None
