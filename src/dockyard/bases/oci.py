"""Write an image as an OCI layout, always the same bytes for the same tree; read it back for an engine."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


def write(tree: Path, into: Path, about: About) -> Image:
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


def complete(layout: Path, image: Image) -> bool:
    """Tell whether a layout still holds every part of its image."""
    blobs = layout / "blobs" / "sha256"
    wanted = (
        layout / "index.json",
        layout / "oci-layout",
        *(blobs / digest.partition(":")[2] for digest in (image.manifest, image.config)),
    )
    layer = blobs / image.layer.partition(":")[2]
    return all(path.is_file() for path in wanted) and layer.is_file() and layer.stat().st_size == image.size


def archive(layout: Path, image: Image, name: str) -> bytes:
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


def installed(tree: Path) -> dict[str, str]:
    """Return the Debian packages and their versions that a tree, given as a tar file, says it holds."""
    with tarfile.open(tree) as file:
        for member in file:
            if member.name.lstrip("./") == "var/lib/dpkg/status":
                status = file.extractfile(member)
                return parse_status(status.read().decode("utf-8", "replace")) if status else {}
    return {}


def parse_status(text: str) -> dict[str, str]:
    """Return the names and versions of the installed packages of a dpkg status file."""
    found = {}
    for stanza in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


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
