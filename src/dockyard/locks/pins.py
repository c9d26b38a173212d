"""The pins of a lock: read them, write them in one form, merge those of several environments, and keep what fits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError
from dockyard.locks.markers import holds_on, machine_name, share_environments, write_marker

PIN = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]\n]*\])?[ \t]*(?:==[ \t]*([^\s;\\]+)|@[ \t]*([^\s\\]+))"
    r"[ \t]*(?:;[ \t]*((?:(?! --)[^\\#\n])*))?.*(?:\n[ \t].*)*",
    re.MULTILINE,
)
"""A pin with the lines below it that stand further in."""

HASH = re.compile(r"--hash=(\w+:[0-9a-f]+)")
VIA = re.compile(r"^[ \t]+#(?: via\b[ \t]*|[ \t]*)(.*)", re.MULTILINE)
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


def read_name(requirement: str) -> str:
    """Return the canonical name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    return canonicalize_name(match[0] if match else requirement)


def parse_pins(text: str) -> tuple[Pin, ...]:
    """Return the pins of a lock by name, and by marker where it has several; other lines are passed over."""
    found: dict[tuple[str, str], Pin] = {}
    for match in PIN.finditer(text):
        entry, name, version, address, marker = (part or "" for part in match.group(0, 1, 2, 3, 4))
        pin = Pin(
            canonicalize_name(name),
            version,
            tuple(sorted(HASH.findall(entry))),
            _read_askers(entry),
            address,
            text.count("\n", 0, match.start()) + 1,
            " ".join(marker.split()),
        )
        found.setdefault((pin.name, pin.marker), pin)
    return tuple(found[key] for key in sorted(found))


def _read_askers(entry: str) -> tuple[str, ...]:
    askers = set[str]()
    for said in VIA.findall(entry):
        if said.startswith("-r "):
            askers.add(re.sub(r"[ \t]*\(line \d+\)\s*$", "", said))
        elif said and not said.startswith(("-c ", "(")):
            askers.update(canonicalize_name(re.sub(r"\[.*\]", "", name.strip())) for name in said.split(","))
    return tuple(sorted(askers))


def render_pins(options: Iterable[str], pins: Iterable[Pin]) -> str:
    """Return the part of a lock below its header; every pin stands with its hashes and who asks for it."""
    lines = list(options)
    for pin in pins:
        lines.append(" \\\n".join([pin.line_text, *(f"    --hash={digest}" for digest in pin.hashes)]))
        if len(pin.via) > 1:
            lines += ["    # via", *(f"    #   {name}" for name in pin.via)]
        elif pin.via:
            lines.append(f"    # via {pin.via[0]}")
    return "".join(f"{line}\n" for line in lines)


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
    waiting: list[tuple[str, ...]] = [(canonicalize_name(name),)]
    seen = {*waiting[0]}
    for chain in waiting:  # which grows: the nearest come first
        for asker in pins[chain[0]].via if chain[0] in pins else ():
            if asker.startswith("-"):
                found.setdefault(asker[3:], (asker[3:], *chain))
            elif asker not in seen:
                seen.add(asker)
                waiting.append((asker, *chain))
    return tuple(found[start] for start in sorted(found))


SDIST = (".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
OLDEST = {"x86_64": 5, "i686": 5}
"""The oldest glibc, as 2.N, that wheels are made for; elsewhere it is that of manylinux2014."""

NAMED = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""What wheels for some glibc were called before they were called by its number."""


def merge_pins(
    found: Mapping[str, Sequence[Pin]], platforms: Sequence[str], same: Mapping[str, str]
) -> tuple[Pin, ...]:
    """Return one lock's pins from those of each environment; what some of them lack gets a marker.

    `same` names the environments that need no resolving, each with one whose pins it shares.
    """
    shared = share_environments([*found], platforms, same)
    several: dict[tuple[str, str, str], dict[str, Pin]] = {}
    for name, twin in shared.items():
        for pin in found[twin]:
            several.setdefault((pin.name, pin.version, pin.address), {})[name] = pin
    return tuple(
        next(iter(pins.values()))._replace(
            hashes=tuple(sorted({digest for pin in pins.values() for digest in pin.hashes})),
            via=tuple(sorted({asker for pin in pins.values() for asker in pin.via})),
            marker="" if len(pins) == len(shared) else write_marker(pins, shared, platforms),
        )
        for _, pins in sorted(several.items())
    )


def narrow_hashes(
    pins: Iterable[Pin], files: Mapping[str, str], glibc: str, python: str, platforms: Sequence[str]
) -> tuple[tuple[Pin, ...], list[str]]:
    """Return the pins with the hashes that count, and which of them is built from source on which of the platforms.

    `files` names the files by their hashes, as far as they are known; `glibc` is the version of the base image's.
    Raise DockyardError for a package that a platform can neither install nor build.
    """
    if not glibc:
        raise DockyardError("the base image has no glibc, so which wheels fit it is not known", 'use hashes = "all"')
    known = {platform: list_tags(python, platform, glibc) for platform in platforms}
    kept, sources = [], []
    for pin in pins:
        counting = [platform for platform in platforms if holds_on(pin.marker, platform, python)]
        tags = {digest: _read_tags(files.get(digest, "")) for digest in pin.hashes}
        wheels = {one: {digest for digest in pin.hashes if known[one] & tags[digest]} for one in counting}
        hashes = {digest for found in wheels.values() for digest in found}
        if lacking := [platform for platform in counting if not wheels[platform]]:
            archives = {digest for digest in pin.hashes if files.get(digest, "").endswith(SDIST)}
            if not archives:
                where = f"Python {python} on {', '.join(lacking)}"
                wrong = f"{pin.requirement} has neither a wheel for {where} nor a source archive"
                hint = f"ask for a version of {pin.name} that has one, or take {lacking[0]} out of platforms"
                raise DockyardError(wrong, hint)
            hashes |= archives
            sources.append(f"{pin.name} on {', '.join(lacking)}")
        # What is for other systems alone is in no image, and keeps all of its hashes.
        kept.append(pin._replace(hashes=tuple(sorted(hashes))) if counting else pin)
    return tuple(kept), sources


@cache
def list_tags(python: str, platform: str, glibc: str) -> frozenset[Tag]:
    """Return the tags of every wheel that CPython installs on a platform whose C library is that glibc."""
    version, interpreter = tuple(map(int, python.split("."))), f"cp{python.replace('.', '')}"
    machine, names = machine_name(platform), list[str]()  # the most specific name first
    for number in range(int(glibc.partition(".")[2]), OLDEST.get(machine, 17) - 1, -1):
        names += [f"manylinux_2_{number}_{machine}", *([f"{NAMED[number]}_{machine}"] if number in NAMED else [])]
    names.append(f"linux_{machine}")
    return frozenset((*cpython_tags(version, [interpreter], names), *compatible_tags(version, interpreter, names)))


def _read_tags(name: str) -> frozenset[Tag]:
    """Return the tags of a wheel by its file's name; none where it is no wheel."""
    try:
        return parse_wheel_filename(name)[3]
    except InvalidWheelFilename:
        return frozenset()
