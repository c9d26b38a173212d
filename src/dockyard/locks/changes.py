"""Say what changed between two sets of locks, and how far each step goes (pure)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from dockyard.locks.pins import Pin


@dataclass(frozen=True)
class Change:
    """A package that another version of is in some locks: `before` or `after` is empty where it came or went."""

    package: str
    before: str
    after: str
    locks: tuple[str, ...]
    via: tuple[str, ...]

    @property
    def step(self) -> str:
        """How far the step goes: added, removed, major, minor, patch or other, with a mark for a step back."""
        if not self.before or not self.after:
            return "removed" if self.after == "" else "added"
        return classify_step(self.before, self.after)

    @property
    def why(self) -> str:
        """Who asks for the package, in the lock where it is or was."""
        return ", ".join(name.removeprefix("-r ") for name in self.via)


def compare_locks(before: Mapping[str, Iterable[Pin]], after: Mapping[str, Iterable[Pin]]) -> tuple[Change, ...]:
    """Return what differs between locks by path; a package that takes the same step in several is one change."""
    found: dict[tuple[str, str, str], list[tuple[str, tuple[str, ...]]]] = {}
    for path in after:
        old, new = (_by_name(pins) for pins in (before.get(path, ()), after[path]))
        for name in sorted({*old, *new}):
            was, now = (", ".join(pin.version or pin.address for pin in pins.get(name, ())) for pins in (old, new))
            if was != now:
                found.setdefault((name, was, now), []).append((path, (new.get(name) or old[name])[0].via))
    return tuple(
        Change(*key, tuple(path for path, _ in places), _together(via for _, via in places))
        for key, places in sorted(found.items())
    )


def find_rehashed(before: Mapping[str, Iterable[Pin]], after: Mapping[str, Iterable[Pin]]) -> tuple[str, ...]:
    """Return the packages whose version stays and whose hashes do not."""
    names = set()
    for path in after:
        old = {(pin.name, pin.version): pin.hashes for pin in before.get(path, ())}
        names |= {pin.name for pin in after[path] if old.get((pin.name, pin.version), pin.hashes) != pin.hashes}
    return tuple(sorted(names))


def classify_step(before: str, after: str) -> str:
    """Return major, minor or patch for a step between two versions, 'other' where only a suffix differs."""
    old, new = _release(before), _release(after)
    back = " back" if new < old else ""
    for place, (one, other) in enumerate(zip_longest(old, new, fillvalue=0)):
        if one != other:
            return ("major", "major", "minor", "patch")[min(place, 3)] + back
    return "other"


def _release(version: str) -> list[int]:
    """Return epoch and release numbers: '1!2.0rc1' is [1, 2, 0]."""
    epoch, _, rest = version.rpartition("!")
    match = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", rest)
    return [int(epoch or 0), *(int(part) for part in (match[1] if match else "0").split("."))]


def _by_name(pins: Iterable[Pin]) -> dict[str, list[Pin]]:
    """Return the pins by name: a package has several where its version differs between platforms."""
    found: dict[str, list[Pin]] = {}
    for pin in pins:
        found.setdefault(pin.name, []).append(pin)
    return found


def _together(several: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in several for name in names}))
