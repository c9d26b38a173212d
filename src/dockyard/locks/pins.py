"""The pins of a lock: read them from what a compiler or Dockyard wrote, and write them in one form."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PIN = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?[ \t]*(==[ \t]*[^\s;\\]+|@[ \t]*[^\s\\]+)"
    r"[ \t]*(?:;[ \t]*((?:(?! --)[^\\#])*))?"
)
HASH = re.compile(r"--hash=(\w+:[0-9a-f]+)")
VIA = re.compile(r"[ \t]+#(?: via\b[ \t]*|[ \t]*)(.*)")
"""Who asks for a pin: behind "# via", or a line each below it and further in, where "via" is a package's name."""


class Pin(NamedTuple):
    """One package of a lock: `version` is '' and `address` set where it comes from an address."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    """Who asks for it: packages by name, inputs as '-r requirements/base.in'."""

    address: str = ""
    line: int = 0
    marker: str = ""
    """Where it counts; nothing where it counts everywhere."""

    @property
    def requirement(self) -> str:
        """The package as a requirement that nothing else can meet."""
        return f"{self.name} @ {self.address}" if self.address else f"{self.name}=={self.version}"

    @property
    def line_text(self) -> str:
        """The requirement with its marker, as it stands in a lock."""
        return f"{self.requirement} ; {self.marker}" if self.marker else self.requirement


def split_name(requirement: str) -> str:
    """Return the name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    return match[0] if match else requirement


def parse_pins(text: str) -> tuple[Pin, ...]:
    """Return the pins of a lock by name, and by marker where it has several; other lines are passed over."""
    found: dict[tuple[str, str], Pin] = {}
    current: tuple[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        match = PIN.match(line)
        if match:
            name, source, marker = canonicalize_name(match[1]), match[2], " ".join((match[3] or "").split())
            pin = Pin(name, source[2:].strip(), line=number, marker=marker)
            if source.startswith("@"):
                pin = pin._replace(version="", address=source[1:].strip())
            current = pin.name, pin.marker
            found.setdefault(current, pin)
        elif not line.startswith((" ", "\t")):
            current = None
        if current:
            found[current] = _extended(found[current], line)
    return tuple(found[name]._replace(hashes=tuple(sorted(found[name].hashes))) for name in sorted(found))


def render_pins(options: Iterable[str], pins: Iterable[Pin]) -> str:
    """Return the part of a lock below its header; every pin stands with its hashes and who asks for it."""
    return "".join([*(f"{option}\n" for option in options), *map(_written, pins)])


def _extended(pin: Pin, line: str) -> Pin:
    if hashes := tuple(HASH.findall(line)):
        return pin._replace(hashes=(*pin.hashes, *hashes))
    match = VIA.match(line)
    if not match or not match[1] or match[1].startswith(("-c ", "(")):
        return pin
    askers: list[str] = [canonicalize_name(re.sub(r"\[.*\]", "", name.strip())) for name in match[1].split(",")]
    if match[1].startswith("-"):
        askers = [re.sub(r"[ \t]*\(line \d+\)$", "", match[1])]
    return pin._replace(via=tuple(sorted({*pin.via, *askers})))


def _written(pin: Pin) -> str:
    lines = [pin.line_text, *(f"    --hash={digest}" for digest in pin.hashes)]
    via = [f"    # via {pin.via[0]}"] if len(pin.via) == 1 else ["    # via", *(f"    #   {name}" for name in pin.via)]
    return " \\\n".join(lines) + "\n" + "".join(f"{line}\n" for line in via if pin.via)


def equal_versions(one: str, other: str) -> bool:
    """Say whether two ways of writing mean one version: 1.0.0-rc.1 is 1.0.0rc1; what is none is compared as text."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one.casefold() == other.casefold()


def find_chains(name: str, pins: Mapping[str, Pin]) -> tuple[tuple[str, ...], ...]:
    """Return every shortest way from an input to a package: ('requirements/base.in', 'flask', 'click').

    `pins` is one lock by package name. Of two ways from one input the shorter counts.
    """
    found: dict[str, tuple[str, ...]] = {}
    level: list[tuple[str, ...]] = [(canonicalize_name(name),)]
    seen = {chain[0] for chain in level}
    while level:
        following: list[tuple[str, ...]] = []
        for chain in level:
            for asker in pins[chain[0]].via if chain[0] in pins else ():
                if asker.startswith("-"):
                    found.setdefault(asker[3:], (asker[3:], *chain))
                elif asker not in seen:
                    seen.add(asker)
                    following.append((asker, *chain))
        level = following
    return tuple(found[start] for start in sorted(found))
