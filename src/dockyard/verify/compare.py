"""Say how two builds of one image differ: which layer, which file or setting, and how (pure)."""

import difflib
import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import zip_longest
from typing import IO, Any

from dockyard.engine.archive import Image, Layer, path_of

LARGEST_TEXT = 128 << 10
"""Text of up to so many bytes is kept, for a difference line by line."""
DIFF_LINES = 20
WINDOW = 1 << 20
PYC_HEADER = 16
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "link",
    tarfile.DIRTYPE: "folder",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}
HINTS = {
    "bytecode": "compile with `--invalidation-mode unchecked-hash`, in one place, after every file has its final path",
    "time": "give every file one fixed time (SOURCE_DATE_EPOCH) before the layer is made",
    "mode": "set modes in the Dockerfile (COPY --chmod): they must not come from the umask of whoever builds",
    "owner": "set owners in the Dockerfile (COPY --chown)",
    "content": "write nothing into files that another build would write otherwise: times, random names, host names",
    "missing": "find what makes the file come and go: an unpinned package, or a file that git does not know",
    "extra": "find what makes the file come and go: an unpinned package, or a file that git does not know",
    "order": "the builder listed a folder in another order: copy folders, not lists of files",
}
"""What usually mends a difference of each kind, the most telling first."""


class Verdict(StrEnum):
    """How alike two images are."""

    IDENTICAL = "identical"
    RECOMPRESSED = "identical content, other compression"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a layer: `text` is kept of small texts, `start` of bytecode, for saying how two differ."""

    path: str
    kind: str
    mode: int = 0o644
    owner: str = "0:0"
    time: float = 0.0
    link: str = ""
    sha256: str = ""
    extended: tuple[tuple[str, str], ...] = ()
    text: bytes | None = field(default=None, compare=False)
    start: bytes = field(default=b"", compare=False)


@dataclass(frozen=True)
class Finding:
    """One difference: `layer` counts from 1, 0 is the configuration; `path` is a file there, or a key."""

    layer: int
    instruction: str
    path: str
    how: str
    before: str = ""
    after: str = ""
    diff: tuple[str, ...] = ()


def read_item(member: tarfile.TarInfo, content: IO[bytes] | None) -> Item:
    """Return what a comparison needs of one entry of a layer; reads its content to the end."""
    path = path_of(member)
    digest = hashlib.sha256()
    kept = bytearray()
    keep = member.size <= LARGEST_TEXT and not path.endswith(".pyc")
    while content and (window := content.read(WINDOW)):
        digest.update(window)
        kept += window if keep or not kept else b""
    return Item(
        path,
        KINDS.get(member.type, "other"),
        member.mode & 0o7777,
        f"{member.uid}:{member.gid}" + (f" ({member.uname}:{member.gname})" if member.uname or member.gname else ""),
        member.mtime,
        member.linkname,
        digest.hexdigest() if content else "",
        tuple(sorted((key, value) for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr."))),
        text=bytes(kept) if keep and content and b"\0" not in kept else None,
        start=bytes(kept[:PYC_HEADER]) if path.endswith(".pyc") else b"",
    )


def compare_images(before: Image[Item], after: Image[Item]) -> tuple[Verdict, tuple[Finding, ...]]:
    """Compare two builds: same manifest, same content under another compression, or the differences."""
    if before.config_digest == after.config_digest and before.diff_ids == after.diff_ids:
        same = before.manifest == after.manifest
        return (Verdict.IDENTICAL if same else Verdict.RECOMPRESSED), ()
    return Verdict.DIFFERENT, (*compare_layers(before, after), *compare_configs(before.config, after.config))


def compare_layers(before: Image[Item], after: Image[Item]) -> Iterator[Finding]:
    """Yield how the layers differ, in their order."""
    for number, (old, new) in enumerate(zip_longest(before.layers, after.layers), 1):
        if old is None:
            yield Finding(number, new.instruction, "", "extra layer", "", new.diff_id)
        elif new is None:
            yield Finding(number, old.instruction, "", "missing layer", old.diff_id)
        elif old.diff_id != new.diff_id:
            yield from compare_layer(number, old, new)


def compare_layer(number: int, old: Layer[Item], new: Layer[Item]) -> Iterator[Finding]:
    """Yield how two layers differ that should be the same; there is always something to say."""
    known, found = ({one.path: one for one in layer.items} for layer in (old, new))
    said = False
    for path in sorted(known.keys() | found.keys()):
        for how, before, after, diff in compare_items(known.get(path), found.get(path)):
            said = True
            yield Finding(number, new.instruction, path, how, before, after, diff)
    if said:
        return
    if list(known) != list(found):
        first, other = next((a, b) for a, b in zip_longest(known, found, fillvalue="") if a != b)
        yield Finding(number, new.instruction, first, "order", "comes here", f"{other} comes here")
    else:
        detail = "all entries are alike: only the form of the archive differs"
        yield Finding(number, new.instruction, "", "archive", old.diff_id, new.diff_id, (detail,))


def compare_items(old: Item | None, new: Item | None) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yield how two entries of one path differ: how, before, after, and lines of a difference."""
    if old is None or new is None:
        there = old or new
        if there:
            yield ("missing", there.kind, "", ()) if old else ("extra", "", there.kind, ())
        return
    if old.kind != new.kind:
        yield "kind", old.kind, new.kind, ()
        return
    if old.sha256 != new.sha256:
        how = "bytecode" if old.path.endswith(".pyc") else "content"
        before, after = _contents(old, new)
        yield how, before, after, _lines(old, new)
    if old.link != new.link:
        yield "link", old.link, new.link, ()
    if old.mode != new.mode:
        yield "mode", f"{old.mode:04o}", f"{new.mode:04o}", ()
    if old.owner != new.owner:
        yield "owner", old.owner, new.owner, ()
    if old.time != new.time:
        yield "time", format_time(old.time), format_time(new.time), ()
    if old.extended != new.extended:
        before, after = (", ".join(f"{name}={value}" for name, value in one.extended) for one in (old, new))
        yield "attributes", before, after, ()


def compare_configs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield how two image configurations differ, key by key; layers are compared elsewhere."""
    old, new = (dict(flatten(_own(config))) for config in (before, after))
    for key in (*old, *(key for key in new if key not in old)):
        if key not in new:
            yield Finding(0, "", key, "missing", old[key])
        elif key not in old:
            yield Finding(0, "", key, "extra", "", new[key])
        elif old[key] != new[key]:
            yield Finding(0, "", key, "value", old[key], new[key])
    if not [key for key in old if old[key] != new.get(key)] and list(old) != list(new):
        yield Finding(0, "", "", "order", "the keys stand in another order")


def _own(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a configuration says of itself: the digests of layers and the times that only repeat `created` go."""
    rows = [dict(row) for row in config.get("history") or ()]
    if {row.get("created") for row in rows} == {config.get("created")}:
        rows = [{key: value for key, value in row.items() if key != "created"} for row in rows]
    return {**config, "rootfs": None, "history": rows}


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value of a document with its path: config.Env.PATH, history.3.created_by."""
    if key == "config.Env" and isinstance(value, list):
        value = dict(str(line).partition("=")[::2] for line in value)
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        if value is not None:
            yield key, str(value)
        return
    for name, inner in pairs:
        yield from flatten(inner, f"{key}.{name}" if key else str(name))


def suggest_hint(findings: Iterable[Finding]) -> str:
    """Return what would most likely mend the differences."""
    kinds = {finding.how for finding in findings if finding.layer}
    return next((advice for how, advice in HINTS.items() if how in kinds), "")


def describe_bytecode(start: bytes) -> str:
    """Return how bytecode is checked against its source, from its first bytes (PEP 552)."""
    if len(start) < PYC_HEADER:
        return "cut short"
    flags, third = int.from_bytes(start[4:8], "little"), start[8:12]
    if flags & 1:
        return f"{'checked' if flags & 2 else 'unchecked'} hash {start[8:16].hex()}"
    return f"of a source from {format_time(int.from_bytes(third, 'little'))}"


def format_time(time: float) -> str:
    """Return a time in UTC as a person reads it."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{time} s"


def _contents(old: Item, new: Item) -> tuple[str, str]:
    if old.path.endswith(".pyc"):
        headers = describe_bytecode(old.start), describe_bytecode(new.start)
        return headers if headers[0] != headers[1] else ("other code", "other code")
    return f"sha256:{old.sha256[:12]}", f"sha256:{new.sha256[:12]}"


def _lines(old: Item, new: Item) -> tuple[str, ...]:
    """Return the beginning of a line-by-line difference of two texts, empty where either is none."""
    if old.text is None or new.text is None:
        return ()
    try:
        before, after = (text.decode("utf-8").splitlines() for text in (old.text, new.text))
    except UnicodeDecodeError:
        return ()
    lines = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
    more = len(lines) - DIFF_LINES
    return (*lines[:DIFF_LINES], *((f"… {more} more lines",) if more > 0 else ()))
