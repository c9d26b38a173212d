"""The markers of a lock: where one holds, for which environments a lock is resolved, and what marker tells them apart.

A lock is resolved for every environment in which a marker of its inputs says something else, and for those of the
settings' platforms in which a marker of any package does. What differs between them gets a marker in the lock.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement

from dockyard.console import ONCE
from dockyard.locks.inputs import PER_LINE, Input, InputError, Line

log = logging.getLogger(__name__)

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


def share_environments(resolved: Sequence[str], platforms: Sequence[str], same: Mapping[str, str]) -> dict[str, str]:
    """Return every environment that a lock is for, each with the one that was resolved and has its pins."""
    shared = {name: name for name in resolved}
    shared |= {name: resolved[0] for name in list_environments(platforms) if name not in (*ELSEWHERE, *resolved)}
    if any(name in ELSEWHERE for name in resolved):
        shared |= {name: shared.get(twin, resolved[0]) for name, twin in same.items()}
    return shared


def write_marker(names: Iterable[str], among: Iterable[str], platforms: Sequence[str]) -> str:
    """Return the shortest marker that holds in these environments and in no other among those that were resolved."""
    known = {HERE: describe_environment("linux", ""), **list_environments(platforms)}
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
        bare = text.startswith(("http:", "https:", "${"))
        marker = Requirement(f"named @ {text}" if bare else text).marker
        if marker is None:
            return None
        if unstable := next((name for name in UNSTABLE if name in str(marker)), ""):
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
