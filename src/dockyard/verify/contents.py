"""Work out what an image holds, for the rules of the policy: what a container sees, and what its layers hide."""

import re
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING

from dockyard.engine import archive
from dockyard.verify.model import Entry, Facts, follow_links
from dockyard.verify.rules import secrets

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

WINDOW = 4 << 20
OVERLAP = 16 << 10
"""Files are looked at in windows that overlap by more than a key or certificate is long."""

KEPT = re.compile(
    r".*\.py|.*\.(?:dist|egg)-info(?:/(?:METADATA|RECORD|PKG-INFO))?|.*/pyvenv\.cfg|/usr/share/dockyard/.*"
    r"|/var/lib/dpkg/status(?:\.d/[^/]+)?"
)
"""Files whose content rules read, or that say which packages there are."""

HEADER = 16
"""The bytes of a .pyc before its code."""

ELF = b"\x7fELF"
"""Libraries of cryptography carry keys for their own tests: those in programs do not count."""

EXTENDED = "SCHILY.xattr."
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


def read_image(engine: "Engine", reference: str) -> Facts:
    """Return the facts of an image that the engine holds; raise DockyardError where it does not."""
    return flatten(archive.read_image(engine, reference, visit))


def flatten(image: archive.Image[Entry]) -> Facts:
    """Work out what a container sees of an image's layers."""
    view = View()
    for index, layer in enumerate(image.layers):
        view.apply(index, layer.items)
    return Facts(image.config_digest, image.config, image.layers, view.files, tuple(view.hidden), image.manifest)


def visit(member: tarfile.TarInfo, file: IO[bytes] | None, most: int = 0) -> Entry:
    """Return one entry of a layer, with what its content tells; its path is as it stands in the archive.

    The content of files of up to `most` bytes is kept whatever they are.
    """
    found = Entry(
        archive.path_of(member),
        KINDS.get(member.type, "file"),
        member.mode & 0o7777,
        f"{member.uid}:{member.gid}" + (f" ({member.uname}:{member.gname})" if member.uname or member.gname else ""),
        member.size,
        member.mtime,
        link=archive.absolute(member.linkname) if member.islnk() else member.linkname,
        extended=tuple(sorted(pair for pair in member.pax_headers.items() if pair[0].startswith(EXTENDED))),
    )
    return examine(found, iter(lambda: file.read(WINDOW), b""), most) if file else found


class View:
    """The file system that a container sees, built up layer by layer as the OCI specification says."""

    def __init__(self) -> None:
        self.files: dict[str, Entry] = {}
        self.hidden: list[Entry] = []

    def apply(self, index: int, entries: Iterable[Entry]) -> None:
        """Lay one more layer over the others; what it deletes is only that of the layers below."""
        for raw in entries:
            path = self._follow_parent(raw.path)
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                self._remove(folder, below=index, itself=False)
            elif name.startswith(WHITEOUT):
                self._remove(f"{folder}/{name.removeprefix(WHITEOUT)}", below=index)
            else:
                self._put(replace(raw, path=path, layer=index))

    def _put(self, entry: Entry) -> None:
        if entry.kind == "hard link":
            target = self.files.get(self._follow_parent(entry.link))
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

    def _follow_parent(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{follow_links(self.files, folder)}/{name}"


def examine(entry: Entry, windows: Iterable[bytes], most: int = 0) -> Entry:
    """Return an entry with what its content, given piece by piece, tells."""
    digest = sha256()
    leaks: set[str] = set()
    certificates: set[str] = set()
    kept = bytearray()
    tail = head = b""
    whole = KEPT.fullmatch(entry.path) is not None or entry.size <= most
    for window in windows:
        head = head or window[:HEADER]
        digest.update(window)
        seen = tail + window
        leaks |= secrets.find_leaks(seen)
        certificates |= secrets.read_certificates(seen)
        if whole:
            kept += window
        tail = seen[-OVERLAP:]
    if head.startswith(ELF):
        leaks.discard(secrets.PRIVATE_KEY)
    data = bytes(kept) if whole else head if entry.path.endswith(".pyc") else b""
    return replace(
        entry, sha256=digest.hexdigest(), data=data, leaks=frozenset(leaks), certificates=frozenset(certificates)
    )
