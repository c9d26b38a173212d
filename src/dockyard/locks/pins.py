"""The pins of a lock: read them, write them in one form, and decide where each, and which of its files, counts.

A lock is resolved for every environment in which a marker of its inputs says something else, and for those of the
settings' platforms in which a marker of any package does. What differs between them gets a marker in the lock.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from dockyard.console import ONCE
from dockyard.errors import DockyardError
from dockyard.locks.inputs import PER_LINE, Input, InputError, Line

log = logging.getLogger(__name__)

PIN = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?[ \t]*(?:==[ \t]*([^\s;\\]+)|@[ \t]*([^\s\\]+))"
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
            marker = " ".join((match[4] or "").split())
            pin = Pin(canonicalize_name(match[1]), match[2] or "", address=match[3] or "", line=number, marker=marker)
            current = pin.name, pin.marker
            found.setdefault(current, pin)
        elif not line.startswith((" ", "\t")):
            current = None
        if current:
            found[current] = _extended(found[current], line)
    return tuple(found[name]._replace(hashes=tuple(sorted(found[name].hashes))) for name in sorted(found))


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


HERE = "here"
"""The environment of whatever machine compiles, where the settings name no platforms."""

MACHINES = {
    "386": "i686",
    "amd64": "x86_64",
    "arm": "armv7l",
    "arm/v5": "armv5l",
    "arm/v6": "armv6l",
    "arm64": "aarch64",
}
"""Machines that Docker and Python do not call by one name; an amd64/v3 is still an x86_64."""

DEFAULTS = ("linux/amd64", "linux/arm64")
UNSTABLE = ("platform_release", "platform_version", "implementation_version")
SDIST = (".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
OLDEST = {"x86_64": 5, "i686": 5}
"""The oldest glibc, as 2.N, that wheels are made for; elsewhere it is that of manylinux2014."""

NAMED = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""What wheels for some glibc were called before they were called by its number."""

PYTHONS = ("2.7", *(f"3.{minor}" for minor in range(30)))


SYSTEMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
"""How markers call a system besides its `sys_platform`: `platform_system` and `os_name`."""


@dataclass(frozen=True)
class Environment:
    """A kind of machine: what markers read of it, but for what belongs to the Python, and what uv calls it, if at all.

    `asked` says that the settings name it: then only files that fit it count.
    """

    markers: Mapping[str, str]
    uv: str = ""
    asked: bool = False


def describe_environment(system: str, machine: str, uv: str = "", *, asked: bool = False) -> Environment:
    """Return the environment of a system and a machine, by the names that Python has for them."""
    platform_system, os_name = SYSTEMS[system]
    names = {"sys_platform": system, "platform_system": platform_system, "os_name": os_name}
    return Environment({**names, "platform_machine": machine}, uv, asked)


@dataclass(frozen=True)
class Selection:
    """Where a lock is resolved: always, and only if a package's own marker says something else there.

    `same` names environments that share the pins of another, as their markers all say the same.
    """

    needed: tuple[str, ...]
    perhaps: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)


ELSEWHERE = {
    "macos/arm64": describe_environment("darwin", "arm64", "macos"),
    "macos/amd64": describe_environment("darwin", "x86_64", "x86_64-apple-darwin"),
    "windows/amd64": describe_environment("win32", "AMD64", "windows"),
}
"""Where ./bootstrap may install a lock although no image is made there."""


def list_environments(platforms: Sequence[str]) -> dict[str, Environment]:
    """Return the environments that a lock can be resolved for, those of Linux first."""
    known = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
    linux = {}
    for name in platforms or DEFAULTS:
        machine = machine_name(name)
        linux[name] = describe_environment("linux", machine, known.get(machine, ""), asked=name in platforms)
    return {**linux, **ELSEWHERE}


def select_environments(inputs: Iterable[Input], python: str, platforms: Sequence[str]) -> Selection:
    """Return where a lock must be resolved; raise InputError for a marker that no lock can keep."""
    known = list_environments(platforms)
    lines = [(file.path, line) for file in inputs for line in file.lines if not line.text.startswith("-")]
    markers = [_read_marker(path, line, python, known) for path, line in lines]
    answers = {
        name: tuple(marker is None or _holds(marker, environment, python) for marker in markers)
        for name, environment in known.items()
    }
    linux = [name for name in known if name not in ELSEWHERE]
    seen = {answers[name]: name for name in reversed(linux)}
    needed = [name for name in seen.values() if name != linux[0]]
    for name in ELSEWHERE:
        twin = name == "macos/amd64" and answers[name] == answers["macos/arm64"]
        if answers[name] not in seen and not twin:
            needed.append(name)
    first = linux[0] if platforms or len(seen) > 1 else HERE
    rest = tuple(name for name in linux if name not in (first, *needed))
    return Selection((first, *needed), rest, {name: seen[answers[name]] for name in ELSEWHERE if answers[name] in seen})


def merge_pins(
    found: Mapping[str, Iterable[Pin]], platforms: Sequence[str], same: Mapping[str, str]
) -> tuple[Pin, ...]:
    """Return one lock's pins from those of each environment; what some of them lack gets a marker.

    `same` names the environments that need no resolving, each with one whose pins it shares.
    """
    first = next(iter(found))
    known = {HERE: describe_environment("linux", ""), **list_environments(platforms)}
    every = {name: tuple(pins) for name, pins in found.items()}
    every |= {name: every[first] for name in known if name not in (HERE, *ELSEWHERE, *found)}
    if any(name in ELSEWHERE for name in found):
        every |= {name: every.get(twin, every[first]) for name, twin in same.items()}
    several: dict[tuple[str, str, str], dict[str, Pin]] = {}
    for name, pins in every.items():
        for pin in pins:
            several.setdefault((pin.name, pin.version, pin.address), {})[name] = pin
    return tuple(
        next(iter(pins.values()))._replace(
            hashes=tuple(sorted({digest for pin in pins.values() for digest in pin.hashes})),
            via=tuple(sorted({asker for pin in pins.values() for asker in pin.via})),
            marker="" if len(pins) == len(every) else write_marker(pins, every, known),
        )
        for _, pins in sorted(several.items())
    )


def write_marker(names: Iterable[str], among: Iterable[str], known: Mapping[str, Environment]) -> str:
    """Return the shortest marker that holds in these environments and in no other among those that were resolved."""
    chosen, every = ([known[name].markers for name in several] for several in (names, among))
    systems = list(dict.fromkeys(each["sys_platform"] for each in every))
    parts, whole = list[str](), list[str]()
    for system in systems:
        own = [each["platform_machine"] for each in every if each["sys_platform"] == system]
        machines = [each["platform_machine"] for each in chosen if each["sys_platform"] == system]
        if len(machines) == len(own):
            whole.append(system)
        elif machines:
            said = " or ".join(f'platform_machine == "{machine}"' for machine in machines)
            said = f"({said})" if len(machines) > 1 and len(systems) > 1 else said
            parts.append(said if len(systems) == 1 else f'sys_platform == "{system}" and {said}')
    absent = [system for system in systems if system not in whole]
    if not parts and len(absent) < len(whole):
        return " and ".join(f'sys_platform != "{system}"' for system in absent)
    return " or ".join([*(f'sys_platform == "{system}"' for system in whole), *parts])


def holds_on(marker: str, platform: str, python: str, full: str = "") -> bool:
    """Return whether a pin with this marker counts on a platform of Docker, for a release of a Python or its first."""
    return not marker or _holds(Marker(marker), describe_environment("linux", machine_name(platform)), python, full)


def machine_name(platform: str) -> str:
    """Return the machine of linux/ARCHITECTURE or linux/ARCHITECTURE/VARIANT, as Python calls it."""
    architecture = platform.removeprefix("linux/")
    plain = architecture.partition("/")[0]
    return MACHINES.get(architecture) or MACHINES.get(plain, plain)


def _read_marker(path: str, line: Line, python: str, known: Mapping[str, Environment]) -> Marker | None:
    """Return the marker of a requirement; raise InputError for one that is none, or that no lock can keep."""
    option = PER_LINE.search(line.text)
    number, text = line.number, line.text[: option.start()].strip() if option else line.text
    try:
        if text.startswith(("http:", "https:", "${")):
            said = text.partition(" ;")[2].strip()
            marker = Marker(said) if said else None
        else:
            marker = Requirement(text).marker
        if marker is None:
            return None
        unstable = next((name for name in UNSTABLE if name in str(marker)), "")
        if unstable:
            raise InputError(path, number, f"{text}: {unstable} differs between hosts of one lock", "take it out")
        if any(
            _holds(marker, each, python, f"{python}.0") != _holds(marker, each, python, f"{python}.99")
            for each in known.values()
        ):
            wrong = f"{text}: holds for some releases of Python {python} only, and has one lock"
            raise InputError(path, number, wrong, "compare python_version instead")
        if not any(_holds(marker, each, one) for each in known.values() for one in PYTHONS):
            # what other tools export has lines for PyPy and rare machines
            nowhere = f"its marker holds nowhere that locks are made for ({', '.join(known)})"
            log.warning(f"{path}:{number}: {text} is in no lock: {nowhere}", extra=ONCE)
    except (InvalidRequirement, InvalidMarker, UndefinedEnvironmentName, UndefinedComparison) as error:
        said = str(error).splitlines()[0]
        hint = "write it as NAME, NAME>=VERSION or NAME @ ADDRESS; a marker compares what a Python and its platform are"
        raise InputError(path, number, f"not a requirement: {text!r}: {said}", hint) from None
    return marker


def _holds(marker: Marker, environment: Environment, python: str, full: str = "") -> bool:
    values = {
        **environment.markers,
        "python_version": python,
        "python_full_version": full or f"{python}.0",
        "implementation_version": full or f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return marker.evaluate(values)


class Offer(NamedTuple):
    """What a compiler saw: the name of each file by its digest, `sha256:…`, and the base image's glibc, `2.41`."""

    files: Mapping[str, str]
    glibc: str


def narrow_hashes(
    pins: Iterable[Pin], offer: Offer, python: str, platforms: Sequence[str]
) -> tuple[tuple[Pin, ...], list[str]]:
    """Return the pins with the hashes that count, and which of them is built from source on which of the platforms.

    Raise DockyardError for a package that a platform can neither install nor build.
    """
    if not offer.glibc:
        raise DockyardError("the base image has no glibc, so which wheels fit it is not known", 'use hashes = "all"')
    known = {platform: list_tags(python, platform, offer.glibc) for platform in platforms}
    kept, sources = [], []
    for pin in pins:
        counting = [platform for platform in platforms if holds_on(pin.marker, platform, python)]
        if not counting:  # for another system, and so in no image
            kept.append(pin)
            continue
        tags = {digest: _read_tags(offer.files.get(digest, "")) for digest in pin.hashes}
        wheels = {
            platform: {digest for digest in pin.hashes if not known[platform].isdisjoint(tags[digest])}
            for platform in counting
        }
        lacking = [platform for platform in counting if not wheels[platform]]
        hashes = {digest for found in wheels.values() for digest in found}
        if lacking:
            found = {digest for digest in pin.hashes if offer.files.get(digest, "").endswith(SDIST)}
            if not found:
                where = f"Python {python} on {', '.join(lacking)}"
                raise DockyardError(
                    f"{pin.requirement} has neither a wheel for {where} nor a source archive",
                    f"ask for a version of {pin.name} that has one, or take {lacking[0]} out of platforms",
                )
            hashes |= found
            sources.append(f"{pin.name} on {', '.join(lacking)}")
        kept.append(pin._replace(hashes=tuple(sorted(hashes))))
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
