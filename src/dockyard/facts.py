"""Read what an image holds: one pass over the archive that its engine saves, with nothing written to disk.

Both layouts are read: OCI (layers compressed, named by digest) and Docker's older one (plain archives). The
manifest comes last in either, so every blob is read as it comes by, and put in order at the end.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any

from dockyard.errors import DockyardError, EngineError
from dockyard.policy import content
from dockyard.policy.model import Entry, Facts, Layer

if TYPE_CHECKING:
    from dockyard.engine import Engine

CHUNK = 1 << 20
BLOCK = 64 << 10
"""tarfile copies what is left of a block at every read: with large blocks that is most of the time."""

WINDOW = 4 << 20
OVERLAP = 16 << 10
"""Files are looked at in windows that overlap by more than a key or certificate is long."""

LARGEST_DOCUMENT = 16 << 20
KEPT = re.compile(r".*\.py|.*\.(?:dist|egg)-info(?:/(?:METADATA|RECORD|PKG-INFO))?|.*/pyvenv\.cfg")
"""Files whose content rules read."""

HEADER = 16
"""The bytes of a .pyc before its code."""

ELF = b"\x7fELF"
"""Libraries of cryptography carry keys for their own tests: those in programs do not count."""

CAPABILITY = "SCHILY.xattr.security.capability"
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
KINDS = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


@dataclass(frozen=True)
class Blob:
    """One layer as it came by: its entries, paths as they stand in the archive, and its compressed bytes."""

    entries: tuple[Entry, ...]
    size: int


def read(engine: "Engine", reference: str) -> Facts:
    """Return the facts of an image that the engine holds; raise DockyardError where it does not."""
    import docker.errors
    import requests

    with closing(engine.client()) as client:
        try:
            chunks = client.api.get_image(reference, chunk_size=CHUNK)
            return from_archive(chunks)
        except docker.errors.ImageNotFound:
            raise DockyardError(f"there is no image {reference}", "`invoke build` makes the project's own") from None
        except (docker.errors.APIError, requests.RequestException) as error:
            raise EngineError(
                f"the engine could not hand over {reference}: {error}", "`invoke doctor` looks at the engine"
            ) from None


def from_archive(chunks: Iterable[bytes]) -> Facts:
    """Return the facts of the image in an archive as `docker save` writes it, given piece by piece."""
    blobs: dict[str, Blob] = {}
    documents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=_reader(chunks), mode="r|", bufsize=BLOCK) as archive:
            for member in archive:
                if member.issym() or member.islnk():
                    links[member.name] = _joined(member.name, member.linkname) if member.issym() else member.linkname
                elif member.isfile() and (blob := archive.extractfile(member)):
                    _sort(member, blob, blobs, documents)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DockyardError(
            f"the image's archive cannot be read: {error}", "an archive cut short? run it again"
        ) from None
    return assemble(blobs, documents, links)


def assemble(blobs: Mapping[str, Blob], documents: Mapping[str, bytes], links: Mapping[str, str]) -> Facts:
    """Put the layers of an image in order, and work out what a container sees of them."""
    try:
        manifest = json.loads(documents["manifest.json"])[0]
        config_text = documents[manifest["Config"]]
        config: dict[str, Any] = json.loads(config_text)
        ordered = [blobs[links.get(path, path)] for path in manifest["Layers"] or ()]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DockyardError(
            f"the image's archive is incomplete: {error!r}", "was it saved for another platform?"
        ) from None
    digests = (config.get("rootfs") or {}).get("diff_ids") or [""] * len(ordered)
    history = config.get("history") or []
    made = [str(row.get("created_by", "")) for row in history if not row.get("empty_layer")]
    made += [""] * (len(ordered) - len(made))
    view = View()
    for index, blob in enumerate(ordered):
        view.apply(index, blob.entries)
    return Facts(
        digest=f"sha256:{sha256(config_text).hexdigest()}",
        config=config,
        layers=tuple(Layer(*row) for row in zip(digests, made, (blob.size for blob in ordered), strict=False)),
        files=view.files,
        hidden=tuple(view.hidden),
        history=tuple(str(row.get("created_by", "")) for row in history),
    )


class View:
    """The file system that a container sees, built up layer by layer as the OCI specification says."""

    def __init__(self) -> None:
        self.files: dict[str, Entry] = {}
        self.hidden: list[Entry] = []

    def apply(self, index: int, entries: Iterable[Entry]) -> None:
        """Lay one more layer over the others; what it deletes is only that of the layers below."""
        for raw in entries:
            folder, _, name = raw.path.rpartition("/")
            folder = self._real(folder)
            if name == OPAQUE:
                self._remove(folder, below=index, itself=False)
            elif name.startswith(WHITEOUT):
                self._remove(f"{folder}/{name.removeprefix(WHITEOUT)}", below=index)
            else:
                self._put(replace(raw, path=f"{folder}/{name}", layer=index))

    def _put(self, entry: Entry) -> None:
        if entry.kind == "hard":
            target = self.files.get(self._whole(entry.link))
            if target is None:
                return
            entry = replace(target, path=entry.path, layer=entry.layer)
        old = self.files.get(entry.path)
        if old and old.kind == "folder" and entry.kind != "folder":
            self._remove(entry.path, below=entry.layer + 1)
        elif old and old.kind != "folder":
            self.hidden.append(old)
        self.files[entry.path] = entry

    def _remove(self, path: str, *, below: int, itself: bool = True) -> None:
        inside = f"{path}/"
        for known in [known for known in self.files if known.startswith(inside) or (itself and known == path)]:
            if self.files[known].layer < below:
                self.hidden.append(self.files.pop(known))

    def _whole(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{self._real(folder)}/{name}"

    def _real(self, folder: str, hops: int = 20) -> str:
        """Return a folder with the links on its way followed: /bin/x lies in /usr/bin where /bin is a link."""
        known = self.files.get(folder)
        if not folder or (known and known.kind == "folder"):
            return folder
        parent, _, name = folder.rpartition("/")
        here = f"{self._real(parent, hops)}/{name}"
        found = self.files.get(here)
        if found is None or found.kind != "link" or not hops:
            return here
        return self._real(_joined(here, found.link), hops - 1)


def _sort(member: tarfile.TarInfo, blob: IO[bytes], blobs: dict[str, Blob], documents: dict[str, bytes]) -> None:
    """Read one file of the archive: a layer, or a document in JSON."""
    start = blob.peek(HEADER)[:HEADER] if isinstance(blob, io.BufferedReader) else b""
    if start[:1] in (b"{", b"[") and member.size <= LARGEST_DOCUMENT:
        documents[member.name] = blob.read()
    elif start.startswith(COMPRESSED):
        blobs[member.name] = Blob(tuple(entries(blob, member.name)), member.size)
    elif member.name.endswith(".tar") or member.name.startswith("blobs/"):
        counted = _Counted(blob)
        found = tuple(entries(counted, member.name))
        blobs[member.name] = Blob(found, counted.rest())


def entries(layer: Any, name: str = "") -> Iterator[Entry]:
    """Yield the entries of one layer, compressed or not, from a file object that need not seek."""
    held: dict[str, Entry] = {}
    try:
        with tarfile.open(fileobj=layer, mode="r|*", bufsize=BLOCK) as archive:
            for member in archive:
                entry = _entry(archive, member)
                held[entry.path] = entry
                yield entry
    except tarfile.ReadError as error:
        raise DockyardError(
            f"the layer {name} cannot be read: {error}",
            "layers compressed with zstd need Python 3.14 here; build with gzip, which is the default",
        ) from None


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    path = _absolute(member.name)
    kind = "hard" if member.islnk() else KINDS.get(member.type, "file")
    link = _absolute(member.linkname) if kind == "hard" else member.linkname
    entry = Entry(
        path, kind, member.mode & 0o7777, member.uid, member.gid, member.size, int(member.mtime),
        link=link, privileged=CAPABILITY in member.pax_headers,
    )  # fmt: skip
    file = archive.extractfile(member) if kind == "file" else None
    return examine(entry, iter(lambda: file.read(WINDOW), b"")) if file else entry


def examine(entry: Entry, windows: Iterable[bytes]) -> Entry:
    """Return an entry with what its content, given piece by piece, tells."""
    digest = sha256()
    leaks: set[str] = set()
    certificates: set[str] = set()
    kept = bytearray()
    tail = head = b""
    whole = KEPT.fullmatch(entry.path) is not None
    for window in windows:
        head = head or window[:HEADER]
        digest.update(window)
        seen = tail + window
        leaks |= content.leaks(seen)
        certificates |= content.certificates(seen).keys()
        if whole or (not kept and entry.path.endswith(".pyc")):
            kept += window if whole else window[:HEADER]
        tail = seen[-OVERLAP:]
    if head.startswith(ELF):
        leaks.discard(content.PRIVATE_KEY)
    return replace(
        entry, sha256=digest.hexdigest(), data=bytes(kept), leaks=frozenset(leaks), certificates=frozenset(certificates)
    )


class _Counted:
    """A file object that counts what passes as if it were compressed: what a registry would store."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.press = zlib.compressobj(6)
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self.source.read(size)
        self.count += len(self.press.compress(data))
        return data

    def rest(self) -> int:
        """Read what is left, and return the count of compressed bytes."""
        while self.read(CHUNK):
            pass
        return self.count + len(self.press.flush())


class _Chunks(io.RawIOBase):
    """A stream of byte strings as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.left = memoryview(b"")

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes."""
        while not self.left:
            following = next(self.chunks, None)
            if following is None:
                return 0
            self.left = memoryview(following)
        size = min(len(buffer), len(self.left))
        buffer[:size] = self.left[:size]
        self.left = self.left[size:]
        return size


def _reader(chunks: Iterable[bytes]) -> IO[bytes]:
    return io.BufferedReader(_Chunks(chunks), CHUNK)


def _absolute(name: str) -> str:
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def _joined(at: str, link: str) -> str:
    """Return where a link that stands at `at` leads to."""
    parts: list[str] = [] if link.startswith("/") else at.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    root = "/" if at.startswith("/") else ""
    return root + "/".join(filter(None, parts))
