"""Read the archive that an engine saves of an image: every layer's entries, in one pass, nothing written to disk.

Layers are kept apart and nothing is interpreted: whoever reads says what to keep of each entry.
"""

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar, cast

from dockyard.errors import DockyardError, EngineError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

T = TypeVar("T")
Visit = Callable[[tarfile.TarInfo, IO[bytes] | None], T | None]
"""Called for every entry with its content, None where it has none; returns what to keep of it."""

CHUNK = 1 << 20
BLOCK = 64 << 10
"""tarfile copies what is left of a block at every read: with large blocks that is most of the time."""
LARGEST_DOCUMENT = 16 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MAGIC_AT, MAGIC = 257, b"ustar"


@dataclass(frozen=True)
class Layer(Generic[T]):
    """One layer, and what was kept of its entries; `size` is in bytes, packed with gzip as a registry has it."""

    diff_id: str
    size: int
    items: tuple[T, ...]
    instruction: str = ""


@dataclass(frozen=True)
class Image(Generic[T]):
    """One image; `manifest` is the digest of its manifest, empty where the engine's store keeps none."""

    manifest: str
    config_digest: str
    config: Mapping[str, Any]
    layers: tuple[Layer[T], ...]

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the uncompressed layers."""
        return tuple(layer.diff_id for layer in self.layers)


def read_image(engine: "Engine", reference: str, visit: Visit[T]) -> Image[T]:
    """Return an image that the engine holds; raise DockyardError where it does not."""
    import docker.errors
    import requests

    with closing(engine.client()) as client:
        try:
            return from_archive(client.api.get_image(reference, chunk_size=CHUNK), visit)
        except docker.errors.ImageNotFound:
            raise DockyardError(f"there is no image {reference}", "`invoke build` makes the project's own") from None
        except (docker.errors.APIError, requests.RequestException) as error:
            raise EngineError(
                f"the engine could not hand over {reference}: {error}", "`invoke doctor` looks at the engine"
            ) from None


def from_archive(chunks: Iterable[bytes], visit: Visit[T]) -> Image[T]:
    """Return the image in an archive as `docker save` writes it, given piece by piece.

    Its manifest comes last, so every layer is read as it comes by, and put in order at the end.
    """
    layers: dict[str, Layer[T]] = {}
    documents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with _open(io.BufferedReader(_Stream(chunks), BLOCK)) as archive:
            for member in archive:
                if member.issym() or member.islnk():
                    folder = "" if member.islnk() else posixpath.dirname(member.name)
                    links[member.name] = posixpath.normpath(posixpath.join(folder, member.linkname))
                elif member.isfile() and (extracted := archive.extractfile(member)):
                    blob = io.BufferedReader(cast("io.RawIOBase", extracted), BLOCK)
                    start = blob.peek()[: MAGIC_AT + len(MAGIC)]
                    if start[:1] in (b"{", b"[") and member.size <= LARGEST_DOCUMENT:
                        documents[member.name] = blob.read()
                    elif start[MAGIC_AT:] == MAGIC or start.startswith((GZIP, ZSTD)) or not start.strip(b"\0"):
                        layers[member.name] = read_layer(blob, visit, member.name, member.size)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DockyardError(
            f"the image's archive cannot be read: {error}", "run it again: the engine may have stopped in the middle"
        ) from None
    return _assembled(layers, documents, links)


def read_layer(blob: "io.BufferedReader[Any]", visit: Visit[T], name: str, size: int) -> Layer[T]:
    """Read one layer, which has `size` bytes here, packed with gzip or not, to its end."""
    start = blob.peek()
    if start.startswith(ZSTD):
        raise DockyardError(
            f"the layer {name} is compressed with zstd",
            "build it without compression=zstd: engines use gzip by default",
        )
    packed = start.startswith(GZIP)
    plain = _Hashed(gzip.GzipFile(fileobj=blob, mode="rb") if packed else blob, press=not packed)
    with _open(plain) as archive:
        seen = (visit(member, archive.extractfile(member) if member.isreg() else None) for member in archive)
        items = tuple(kept for kept in seen if kept is not None)
    while plain.read(CHUNK):
        pass
    return Layer(f"sha256:{plain.digest.hexdigest()}", size if packed else plain.packed(), items)


def describe_instruction(created_by: str) -> str:
    """Return a layer's instruction without BuildKit's marks."""
    text = created_by.replace(" # buildkit", "").removeprefix("RUN /bin/sh -c ").removeprefix("/bin/sh -c ").strip()
    return " ".join(text.split())


def path_of(member: tarfile.TarInfo) -> str:
    """Return an entry's path as a container sees it: /usr/bin/python3."""
    return absolute(member.name)


def absolute(name: str) -> str:
    """Return the path that a name in a layer means."""
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def _open(source: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=source, mode="r|", bufsize=BLOCK)


def _assembled(layers: Mapping[str, Layer[T]], documents: Mapping[str, bytes], links: Mapping[str, str]) -> Image[T]:
    try:
        listed = json.loads(documents["manifest.json"])[0]
        text = documents[listed["Config"]]
        config: Mapping[str, Any] = json.loads(text)
        ordered = [layers[links.get(path, path)] for path in listed["Layers"] or ()]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DockyardError(
            f"the image's archive is incomplete: {error!r}",
            "build or pull it for this machine's platform",
        ) from None
    made = (str(row.get("created_by", "")) for row in config.get("history") or () if not row.get("empty_layer"))
    told = tuple(replace(layer, instruction=next(made, "")) for layer in ordered)
    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    return Image(_manifest(documents, digest), digest, config, told)


def _manifest(documents: Mapping[str, bytes], config: str) -> str:
    """Return the digest of the manifest that names this configuration."""
    for text in documents.values():
        document = json.loads(text)
        named = document.get("config") if isinstance(document, dict) and "layers" in document else None
        if isinstance(named, dict) and named.get("digest") == config:
            return f"sha256:{hashlib.sha256(text).hexdigest()}"
    return ""


class _Hashed:
    """A stream that is hashed as it is read, and on wish packed too, to know the size that a registry would store."""

    def __init__(self, source: IO[bytes] | io.BufferedReader | gzip.GzipFile, *, press: bool) -> None:
        self.source, self.digest, self.count = source, hashlib.sha256(), 0
        self.press = zlib.compressobj(6) if press else None

    def read(self, size: int) -> bytes:
        """Read on."""
        data = self.source.read(size)
        self.digest.update(data)
        if self.press:
            self.count += len(self.press.compress(data))
        return data

    def packed(self) -> int:
        """Return the size that these bytes have when they are packed."""
        return self.count + len(self.press.flush() if self.press else b"")


class _Stream(io.RawIOBase):
    """Byte strings as one stream."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.left = filter(None, chunks), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.left = self.left or memoryview(next(self.chunks, b""))
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count
