"""Images of a few entries as `docker save` writes them, with every attribute of an entry free to choose."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dockyard.engine.archive import Image, from_archive
from dockyard.verify.compare import read_entry
from dockyard.verify.model import Entry as Seen

TIME = 315_532_800


@dataclass(frozen=True)
class Entry:
    """One entry of a layer."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    time: float = TIME
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    extended: Mapping[str, str] = field(default_factory=dict)


def layer(entries: Sequence[Entry], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a layer as a plain tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.path.removeprefix("/"))
            member.mode, member.uid, member.mtime = entry.mode, entry.uid, entry.time
            member.type, member.linkname, member.size = entry.kind, entry.link, len(entry.data)
            member.pax_headers = dict(entry.extended)
            archive.addfile(member, io.BytesIO(entry.data))
    return made.getvalue()


def config(layers: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """Return an image configuration of these layers."""
    created = "2026-11-21T00:00:00Z"
    history = [{"created": created, "created_by": f"COPY layer{number} /"} for number, _ in enumerate(layers, 1)]
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Env": ["PATH=/bin", "PORT=8000"], "Labels": {"title": "shop"}},
        "rootfs": {"type": "layers", "diff_ids": [_digest(one) for one in layers]},
        "history": history,
        **changes,
    }


def archive(layers: Sequence[bytes], level: int = 9, oci: bool = True, **changes: Any) -> bytes:
    """Return an image as an engine saves it: with containerd's store as an OCI layout, packed, else plain."""
    text = json.dumps(config(layers, **changes)).encode()
    stored = [gzip.compress(one, level, mtime=0) if oci else one for one in layers]
    files = {_name(one, oci): one for one in stored}
    files[f"blobs/sha256/{_digest(text)[7:]}" if oci else f"{_digest(text)[7:]}.json"] = text
    if oci:
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": _digest(text), "size": len(text)},
            "layers": [{"digest": _digest(one), "size": len(one)} for one in stored],
        }
        raw = json.dumps(manifest).encode()
        files[f"blobs/sha256/{_digest(raw)[7:]}"] = raw
    names = [_name(one, oci) for one in stored]
    where = next(name for name, content in files.items() if content == text)
    files["manifest.json"] = json.dumps([{"Config": where, "RepoTags": None, "Layers": names}]).encode()
    return layer([Entry(name, content) for name, content in files.items()])


def saved(*layers: Sequence[Entry], level: int = 9, **changes: Any) -> Image[Seen]:
    """Return what is read of an image of these layers."""
    return from_archive([archive([layer(one) for one in layers], level, **changes)], read_entry)


def _name(stored: bytes, oci: bool) -> str:
    return f"blobs/sha256/{_digest(stored)[7:]}" if oci else f"{_digest(stored)[7:]}/layer.tar"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
