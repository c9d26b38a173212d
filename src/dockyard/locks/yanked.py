"""Find in what a compiler says the versions that their index has yanked, and tell what to do about them (pure)."""

import re
from collections.abc import Iterable, Mapping

from dockyard.locks.pins import canonical_name, split_name

BY_PIP = re.compile(
    r"is a yanked version: '([^']+)' candidate \(version (\S+) .*\n\s*Reason for being yanked: (.*)", re.MULTILINE
)
BY_UV = re.compile(r"^warning: `([^`=]+)==([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?", re.MULTILINE)
NO_REASON = "<none given>"


def found(said: str) -> dict[str, str]:
    """Return the pins that are yanked, each with the reason that the index gives, or nothing."""
    return {
        f"{canonical_name(name)}=={version}": "" if reason.strip() == NO_REASON else " ".join(reason.split())
        for pattern in (BY_PIP, BY_UV)
        for name, version, reason in pattern.findall(said)
    }


def warnings(pins: Mapping[str, str], kept: Iterable[str]) -> list[str]:
    """Return a line for each yanked pin; `kept` are those that were locked before."""
    before = set(kept)
    return [_line(pin, reason, kept=pin in before) for pin, reason in sorted(pins.items())]


def _line(pin: str, reason: str, *, kept: bool) -> str:
    said = f"{pin} was yanked from its index, {f'because: {reason}' if reason else 'for no reason given'}"
    if kept:
        return f"{said}; the lock keeps it until `invoke lock --upgrade-package {split_name(pin)}`"
    return f"{said}; it is locked because this very version is asked for"
