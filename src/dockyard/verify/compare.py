"""Say how two builds of one image differ: which layer, which file or setting, and how (pure)."""

import difflib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import IO, Any, Literal

from dockyard.engine.archive import Image, Layer
from dockyard.verify.contents import visit
from dockyard.verify.model import Entry

LARGEST_TEXT = 128 << 10
"""Files of up to so many bytes are kept, for a difference line by line."""
DIFF_LINES = 20
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


Likeness = Literal["identical", "recompressed", "different"]
"""How alike two images are: recompressed ones differ in nothing but how their layers are packed."""


@dataclass(frozen=True)
class Difference:
    """One difference: `layer` counts from 1, 0 is the configuration; `path` is a file there, or a key."""

    layer: int
    instruction: str
    path: str
    how: str
    before: str = ""
    after: str = ""
    diff: tuple[str, ...] = ()


def read_entry(member: tarfile.TarInfo, content: IO[bytes] | None) -> Entry:
    """Return one entry of a layer with its content where that is text, for showing how two differ."""
    found = visit(member, content, LARGEST_TEXT)
    return replace(found, data=b"") if b"\0" in found.data else found


def compare_images(before: Image[Entry], after: Image[Entry]) -> tuple[Likeness, tuple[Difference, ...]]:
    """Compare two builds: same manifest, same content under another compression, or the differences."""
    if before.config_digest == after.config_digest and before.diff_ids == after.diff_ids:
        same = before.manifest == after.manifest
        return ("identical" if same else "recompressed"), ()
    return "different", (*compare_layers(before, after), *compare_configs(before.config, after.config))


def compare_layers(before: Image[Entry], after: Image[Entry]) -> Iterator[Difference]:
    """Yield how the layers differ, in their order."""
    for number, (old, new) in enumerate(zip_longest(before.layers, after.layers), 1):
        if old is None:
            yield Difference(number, new.instruction, "", "extra layer", "", new.diff_id)
        elif new is None:
            yield Difference(number, old.instruction, "", "missing layer", old.diff_id)
        elif old.diff_id != new.diff_id:
            yield from compare_layer(number, old, new)


def compare_layer(number: int, old: Layer[Entry], new: Layer[Entry]) -> Iterator[Difference]:
    """Yield how two layers differ that should be the same; there is always something to say."""
    known, found = ({one.path: one for one in layer.items} for layer in (old, new))
    differences = [
        Difference(number, new.instruction, path, *difference)
        for path in sorted(known.keys() | found.keys())
        for difference in compare_entries(known.get(path), found.get(path))
    ]
    yield from differences
    if not differences and list(known) != list(found):
        first, other = next((a, b) for a, b in zip_longest(known, found, fillvalue="") if a != b)
        yield Difference(number, new.instruction, first, "order", "comes here", f"{other} comes here")
    elif not differences:
        detail = "all entries are alike: only the form of the archive differs"
        yield Difference(number, new.instruction, "", "archive", old.diff_id, new.diff_id, (detail,))


def compare_entries(old: Entry | None, new: Entry | None) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yield how two entries of one path differ: how, before, after, and lines of a difference."""
    if old is None or new is None:
        yield ("missing", old.kind, "", ()) if old else ("extra", "", new.kind if new else "", ())
        return
    before, after = describe_entry(old), describe_entry(new)
    for how in before:
        if before[how] != after[how]:
            yield how, before[how], after[how], compare_texts(old, new) if how == "content" else ()
            if how == "kind":
                return


def describe_entry(entry: Entry) -> dict[str, str]:
    """Return what can differ in an entry, by the word for that; of two kinds nothing else is compared."""
    return {
        "kind": entry.kind,
        "bytecode" if entry.path.endswith(".pyc") else "content": f"sha256:{entry.sha256[:12]}",
        "link": entry.link,
        "mode": f"{entry.mode:04o}",
        "owner": entry.owner,
        "time": format_time(entry.mtime),
        "attributes": ", ".join(f"{name}={value}" for name, value in entry.extended),
    }


def compare_configs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield how two image configurations differ, key by key; layers are compared elsewhere."""
    old, new = (dict(list_values(_own(config))) for config in (before, after))
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            how = "missing" if key not in new else "value" if key in old else "extra"
            yield Difference(0, "", key, how, old.get(key, ""), new.get(key, ""))
    if old == new and list(old) != list(new):
        yield Difference(0, "", "", "order", "the keys stand in another order")


def _own(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a configuration says of itself: the digests of layers and the times that only repeat `created` go."""
    rows = [dict(row) for row in config.get("history") or ()]
    if {row.get("created") for row in rows} == {config.get("created")}:
        rows = [{key: value for key, value in row.items() if key != "created"} for row in rows]
    return {**config, "rootfs": None, "history": rows}


def list_values(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value of a document with its path: config.Env.PATH, history.3.created_by."""
    if isinstance(value, list):
        env = key == "config.Env"
        value = dict(str(line).partition("=")[::2] for line in value) if env else dict(enumerate(value))
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from list_values(inner, f"{key}.{name}" if key else str(name))
    elif value is not None:
        yield key, str(value)


def suggest_hint(differences: Iterable[Difference]) -> str:
    """Return what would most likely mend the differences."""
    kinds = {one.how for one in differences if one.layer}
    return next((advice for how, advice in HINTS.items() if how in kinds), "")


def format_time(time: float) -> str:
    """Return a time in UTC as a person reads it."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{time} s"


def compare_texts(old: Entry, new: Entry) -> tuple[str, ...]:
    """Return the beginning of a line-by-line difference of two texts, empty where either is none."""
    if max(old.size, new.size) > LARGEST_TEXT or any(entry.size and not entry.data for entry in (old, new)):
        return ()
    try:
        before, after = (entry.data.decode("utf-8").splitlines() for entry in (old, new))
    except UnicodeDecodeError:
        return ()
    lines = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
    more = len(lines) - DIFF_LINES
    return (*lines[:DIFF_LINES], *((f"… {more} more lines",) if more > 0 else ()))
