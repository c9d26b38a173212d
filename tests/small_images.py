"""Images of a few files, made in memory, that keep to the whole policy: tests take one and break it in one way."""

import _imp
import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dockyard.engine.archive import from_archive
from dockyard.locks.pins import Pin
from dockyard.verify.contents import flatten, visit
from dockyard.verify.model import Case, Expected, Facts, Trial
from dockyard.verify.rules.bytecode import FINAL_MAGIC

LIBRARY = "/usr/lib/python3.13"
SITE = "/opt/venv/lib/python3.13/site-packages"
COMMIT = "0123456789" * 4
PREFIX = "org.opencontainers.image."
TIME = 1_700_000_000


@dataclass(frozen=True)
class File:
    """One entry of a layer."""

    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    extended: Mapping[str, str] = field(default_factory=dict)


def folder(mode: int = 0o755) -> File:
    """Return a folder."""
    return File(mode=mode, kind=tarfile.DIRTYPE)


def link(target: str) -> File:
    """Return a symbolic link."""
    return File(mode=0o777, kind=tarfile.SYMTYPE, link=target)


def compiled(source: bytes, python: str = "3.13", *, stamp: int | None = None) -> File:
    """Return bytecode of a source: checked by its hash, or with `stamp` by that time."""
    key = FINAL_MAGIC[python].to_bytes(2, "little") + b"\r\n"
    if stamp is None:
        return File(key + (1).to_bytes(4, "little") + _imp.source_hash(int.from_bytes(key, "little"), source) + b"code")
    return File(key + bytes(4) + stamp.to_bytes(4, "little") + len(source).to_bytes(4, "little") + b"code")


def module(path: str, source: bytes, python: str = "3.13") -> dict[str, File]:
    """Return a Python file and its bytecode."""
    where, _, name = path.rpartition("/")
    tag = python.replace(".", "")
    pyc = f"{where}/__pycache__/{name.removesuffix('.py')}.cpython-{tag}.pyc"
    return {path: File(source), pyc: compiled(source, python)}


def distribution(name: str, version: str, files: Mapping[str, File], site: str = SITE) -> dict[str, File]:
    """Return an installed distribution: its files, paths relative to site-packages, its metadata and its RECORD."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nWords.\n".encode()
    inside = {**files, f"{info}/METADATA": File(metadata)}
    rows = [f"{path},{_digest(file.data)},{len(file.data)}" for path, file in inside.items() if path[-4:] != ".pyc"]
    record = "\n".join([*rows, f"{info}/RECORD,,", "shop/__pycache__/gone.cpython-313.pyc,,", ""]).encode()
    return {**{f"{site}/{path}": file for path, file in inside.items()}, f"{site}/{info}/RECORD": File(record)}


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def good() -> dict[str, File]:
    """Return the files of an image that breaks no rule."""
    library = {path.removeprefix(f"{SITE}/"): file for path, file in module(f"{SITE}/flask/app.py", b"x = 1\n").items()}
    return {
        "/bin": link("usr/bin"),
        "/usr/bin": folder(),
        "/usr/bin/python3.13": File(b"\x7fELF", 0o755),
        "/opt/venv/bin/python": link("/usr/bin/python3.13"),
        "/opt/venv/pyvenv.cfg": File(b"home = /usr/bin\n"),
        "/tmp": folder(0o1777),
        "/etc/passwd": File(b"root:x:0:0::/:/sbin/nologin\n"),
        **module(f"{LIBRARY}/os.py", b"import sys\n"),
        **module("/app/shop/web.py", b"app = object()\n"),
        **distribution("Flask", "3.1.3", library),
    }


def settings() -> dict[str, Any]:
    """Return the configuration of an image that breaks no rule: what stands below `config`."""
    return {
        "User": "65532:65532",
        "Env": ["PATH=/opt/venv/bin:/usr/bin", "PORT=8000"],
        "Cmd": ["python", "-m", "shop"],
        "Healthcheck": {"Test": ["CMD", "python", "-m", "shop.probe"]},
        "Labels": {
            f"{PREFIX}title": "shop",
            f"{PREFIX}created": "2026-11-21T01:21:47Z",
            f"{PREFIX}revision": COMMIT,
            f"{PREFIX}base.name": "python:3.13-slim",
            "io.dockyard.target": "production",
            "io.dockyard.python": "3.13",
        },
    }


def layer(files: Mapping[str, File]) -> bytes:
    """Return a layer as a tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in files.items():
            member = tarfile.TarInfo(path.removeprefix("/"))
            member.mode, member.type, member.linkname, member.mtime = file.mode, file.kind, file.link, TIME
            member.size = len(file.data)
            member.pax_headers = dict(file.extended)
            archive.addfile(member, io.BytesIO(file.data))
    return made.getvalue()


def archive(
    *layers: bytes, config: Mapping[str, Any] | None = None, name: str = "shop:production", compress: bool = True
) -> bytes:
    """Return an image as `docker save` writes it, and `docker load` takes it: the manifest comes last."""
    digests = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": settings() if config is None else config,
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": [
            {"created_by": "ENV A=1", "empty_layer": True},
            *({"created_by": f"COPY /layer-{number}/ / # buildkit"} for number, _ in enumerate(layers)),
        ],
    }
    stored = [gzip.compress(one, mtime=0) if compress else one for one in layers]
    names = [f"blobs/sha256/{hashlib.sha256(one).hexdigest()}" for one in stored]
    text = json.dumps(document).encode()
    config_name = f"blobs/sha256/{hashlib.sha256(text).hexdigest()}"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": names}]).encode()
    blobs = {where: File(one) for where, one in zip(names, stored, strict=True)}
    return layer({**blobs, config_name: File(text), "manifest.json": File(manifest)})


def read_archive(chunks: Iterable[bytes]) -> Facts:
    """Return the facts of the image in an archive as `docker save` writes it, given piece by piece."""
    return flatten(from_archive(chunks, visit))


def facts(*layers: Mapping[str, File], **changes: Any) -> Facts:
    """Return the facts of an image of these layers; `changes` replace parts of its configuration, None removes one."""
    config = {key: value for key, value in {**settings(), **changes}.items() if value is not None}
    return read_archive([archive(*map(layer, layers), config=config)])


def expected(**changes: Any) -> Expected:
    """Return what the project of these images expects."""
    usual = Expected(python="3.13", pins={"flask": Pin("flask", "3.1.3")}, lock="requirements/3.13/production.txt")
    return replace(usual, **changes)


def worked(**changes: Any) -> Trial:
    """Return a trial in which all went well."""
    trial = Trial(
        port=8000, answer=0.4, listening=("0.0.0.0:8000",), healthy=True, memory=40_000_000, stop=0.5, stop_code=0
    )
    return replace(trial, **changes)


def case(more: Mapping[str, File] | None = None, *, trial: Trial | None = None, **wishes: Any) -> Case:
    """Return a good image with a second layer, and what is expected of it."""
    layers: Iterable[Mapping[str, File]] = (good(), more) if more else (good(),)
    return Case(facts(*layers), expected(**wishes), trial or Trial())
