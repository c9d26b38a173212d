"""What differs between two runs: what grew, which packages moved, which layers changed (pure)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ledger import present
from ledger.variants import Record, numbers


@dataclass(frozen=True)
class Change:
    """One thing that two runs have in common or not; `step` says which way it went, in a word."""

    what: str
    before: str
    after: str
    step: str = ""


def compare_measures(before: Record, after: Record) -> list[Change]:
    """Return what was measured in both runs, and how it changed."""
    measures: tuple[tuple[str, Callable[[Record], float | None], Callable[[float], str]], ...] = (
        ("duration", lambda one: one["duration_seconds"], present.duration),
        ("size, unpacked", _unpacked, present.size),
        ("size to pull", lambda one: _inner(one, "image", "pull_bytes"), present.size),
        ("layers", lambda one: len(_layers(one)) or None, _count),
        ("packages", lambda one: len(_packages(one)) or None, _count),
        ("steps from the cache", lambda one: _inner(one, "cache", "cached"), _count),
        ("tests passed", lambda one: _inner(one, "tests", "passed"), _count),
        ("tests failed", lambda one: _inner(one, "tests", "failed"), _count),
        ("first answer", lambda one: _inner(one, "verify", "start_seconds"), present.seconds),
        ("memory", lambda one: _inner(one, "verify", "memory_bytes"), present.size),
        ("violations", lambda one: _inner(one, "verify", "violations"), _count),
        ("vulnerabilities", _vulnerable, _count),
    )
    found = []
    for name, read, written in measures:
        old, new = read(before), read(after)
        if old is not None or new is not None:
            found.append(Change(name, _write(old, written), _write(new, written), _step(old, new, written)))
    return found


def compare_packages(before: Record, after: Record) -> list[Change]:
    """Return the packages that came, went, or have another version."""
    old, new = _packages(before), _packages(after)
    found = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        step = "added" if key not in old else "removed" if key not in new else _direction(old[key], new[key])
        found.append(Change(f"{key[1]} ({key[0]})", old.get(key, "-"), new.get(key, "-"), step))
    return found


def compare_layers(before: Record, after: Record) -> list[Change]:
    """Return every layer of both by the instruction that made it, and whether its content is the same."""
    old, new = _layers(before), _layers(after)
    found = []
    for key in dict.fromkeys((*new, *old)):
        first, second = old.get(key), new.get(key)
        sizes = ["-" if one is None else present.size(one["size_bytes"]) for one in (first, second)]
        found.append(Change(key[0] or "base image", sizes[0], sizes[1], _layer_step(first, second)))
    return found


def _layer_step(before: Record | None, after: Record | None) -> str:
    if before is None or after is None:
        return "added" if before is None else "removed"
    old, new = before.get("digest"), after.get("digest")
    if old and new:
        same = "same" if old == new else "changed"
    else:
        same = "same size" if before["size_bytes"] == after["size_bytes"] else "changed"
    difference = after["size_bytes"] - before["size_bytes"]
    if same != "changed" or not difference:
        return same
    return f"changed, {present.size(abs(difference))} {'more' if difference > 0 else 'less'}"


def _layers(record: Record) -> dict[tuple[str, int], Record]:
    """Return the layers by their instruction; where several have one, they are counted."""
    found: dict[tuple[str, int], Record] = {}
    for layer in (record.get("image") or {}).get("layers") or ():
        number = sum(name == layer["created_by"] for name, _ in found)
        found[layer["created_by"], number] = layer
    return found


def _packages(record: Record) -> dict[tuple[str, str], str]:
    packages: Iterable[Record] = (record.get("image") or {}).get("packages") or ()
    return {(one["type"], one["name"]): one["version"] for one in packages}


def _unpacked(record: Record) -> float | None:
    layers = _layers(record)
    return sum(layer["size_bytes"] for layer in layers.values()) if layers else None


def _vulnerable(record: Record) -> float | None:
    found = _inner(record, "audit", "vulnerabilities")
    return None if found is None else sum(not one["accepted"] for one in found)


def _inner(record: Record, name: str, key: str) -> Any:
    return (record.get(name) or {}).get(key)


def _count(value: float) -> str:
    return f"{value:.0f}"


def _write(value: float | None, written: Callable[[float], str]) -> str:
    return "-" if value is None else written(value)


def _step(before: float | None, after: float | None, written: Callable[[float], str]) -> str:
    if before is None or after is None:
        return ""
    if before == after:
        return "same"
    difference = written(abs(after - before))
    share = f", {100 * (after - before) / before:+.0f} %" if before else ""
    return f"{difference} {'more' if after > before else 'less'}{share}"


def _direction(before: str, after: str) -> str:
    """Say whether a version is higher, as far as its numbers tell."""
    return "up" if numbers(after) > numbers(before) else "down" if numbers(after) < numbers(before) else "changed"
