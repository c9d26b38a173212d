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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import files
from dockyard.apt import parse_installed
from dockyard.bases.lookup import Base, local_name, reference
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


@dataclass(frozen=True)
class About:
    """What an image's configuration says; `created` is in seconds since the epoch.

    `more` are further fields of it, named as in Docker's image specification: User, Healthcheck and the like.
    """

    architecture: str
    created: int
    made_by: str
    environment: Mapping[str, str]
    command: tuple[str, ...]
    more: Mapping[str, Any] = field(default_factory=dict)


def write_layout(tree: Path, into: Path, about: About) -> Image:
    """Write the tar file `tree` as the one layer of an image into the OCI layout `into`, an empty folder."""
    blobs = into / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    diff_id = compress(tree, blobs / "layer")
    layer = _named(blobs / "layer")
    config = _add(blobs, configuration(about, diff_id))
    manifest = _add(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": TYPES["manifest"],
            "config": _descriptor("config", config),
            "layers": [_descriptor("layer", layer)],
        },
    )
    platform = {"architecture": about.architecture, "os": "linux"}
    entry = {**_descriptor("manifest", manifest), "platform": platform}
    index = {"schemaVersion": 2, "mediaType": TYPES["index"], "manifests": [entry]}
    (into / "index.json").write_bytes(_json(index))
    (into / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return Image(_digest(manifest), _digest(config), _digest(layer), diff_id, layer.stat().st_size)


def configuration(about: About, diff_id: str) -> dict[str, Any]:
    """Return an image configuration: what runs, in which environment, on which layer (pure)."""
    created = datetime.fromtimestamp(about.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "architecture": about.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Env": [f"{name}={value}" for name, value in about.environment.items()],
            "Cmd": list(about.command),
            **about.more,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": about.made_by}],
    }


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
    blobs = layout / "blobs" / "sha256"
    wanted = (
        layout / "index.json",
        layout / "oci-layout",
        *(blobs / digest.partition(":")[2] for digest in (image.manifest, image.config)),
    )
    layer = blobs / image.layer.partition(":")[2]
    return all(path.is_file() for path in wanted) and layer.is_file() and layer.stat().st_size == image.size


def pack_archive(layout: Path, image: Image, name: str) -> bytes:
    """Return the image as `docker load` takes it, under a name; every engine and store understands this form."""
    config, layer = (digest.partition(":")[2] for digest in (image.config, image.layer))
    listing = [{"Config": f"{config}.json", "RepoTags": [name], "Layers": [f"{layer}.tar"]}]
    blobs = layout / "blobs" / "sha256"
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for member, content in (
            ("manifest.json", _json(listing)),
            (f"{config}.json", (blobs / config).read_bytes()),
            (f"{layer}.tar", (blobs / layer).read_bytes()),
        ):
            information = tarfile.TarInfo(member)
            information.size = len(content)
            file.addfile(information, io.BytesIO(content))
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


def _descriptor(kind: str, blob: Path) -> dict[str, Any]:
    return {"mediaType": TYPES[kind], "digest": _digest(blob), "size": blob.stat().st_size}


def _add(blobs: Path, document: dict[str, Any]) -> Path:
    (blobs / "new").write_bytes(_json(document))
    return _named(blobs / "new")


def _named(blob: Path) -> Path:
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return blob.rename(blob.with_name(digest))


def _digest(blob: Path) -> str:
    return f"sha256:{blob.name}"


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


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
    """Give the engine every image, by its name there, that it lacks or has in another state.

    That is one question, and nothing else if it has all.
    """
    held = list_layers(engine, tuple(records))
    for name, record in records.items():
        if held.get(name) == record.image.diff_id:
            continue
        content = pack_archive(files.folder() / record.folder, record.image, name)
        try:
            engine.run("load", "--quiet", input=content)
        except CommandError as error:
            raise EngineError(
                f"the engine did not take the image {name}: {error.output}",
                "`invoke doctor` shows how much its disk has left; then run this again",
            ) from None


def list_layers(engine: "Engine", names: Sequence[str]) -> dict[str, str]:
    """Return, of the images that the engine has, the digest of the layer of those with a single one."""
    found: dict[str, str] = {}
    said = engine.attempt("image", "inspect", *names).stdout if names else ""
    for image in json.loads(said or "[]"):
        layers = (image.get("RootFS") or {}).get("Layers") or []
        if len(layers) == 1:
            found.update(dict.fromkeys(image.get("RepoTags") or (), layers[0]))
    return found
