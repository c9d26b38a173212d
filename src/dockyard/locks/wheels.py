"""Keep of a lock's hashes only those of files that the configured platforms can install (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from dockyard.errors import DockyardError
from dockyard.locks.environments import holds_on, machine_name
from dockyard.locks.pins import Pin

SDIST = (".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
OLDEST = {"x86_64": 5, "i686": 5}
"""The oldest glibc, as 2.N, that wheels are made for; elsewhere it is that of manylinux2014."""

NAMED = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""What wheels for some glibc were called before they were called by its number."""


class Offer(NamedTuple):
    """What a compiler saw: the name of each file by its digest, `sha256:…`, and the base image's glibc, `2.41`."""

    files: Mapping[str, str]
    glibc: str


class Target(NamedTuple):
    """Where a lock is to be installed: a Python, on platforms as Docker names them."""

    python: str
    platforms: tuple[str, ...]


class Source(NamedTuple):
    """A package that some platforms have no wheel of, so that it is built there."""

    name: str
    platforms: tuple[str, ...]


def narrow_hashes(pins: Iterable[Pin], offer: Offer, target: Target) -> tuple[tuple[Pin, ...], tuple[Source, ...]]:
    """Return the pins with the hashes that count, and those of them that a platform must build from source.

    Raise DockyardError for a package that a platform can neither install nor build.
    """
    if not offer.glibc:
        raise DockyardError("the base image has no glibc, so which wheels fit it is not known", 'use hashes = "all"')
    known = {platform: list_tags(target.python, platform, offer.glibc) for platform in target.platforms}
    kept, sources = [], []
    for pin in pins:
        counting = [platform for platform in target.platforms if holds_on(pin.marker, platform, target.python)]
        if not counting:  # for another system, and so in no image
            kept.append(pin)
            continue
        wheels = {platform: _wheels(pin, offer, known[platform]) for platform in counting}
        lacking = tuple(platform for platform in counting if not wheels[platform])
        hashes = {digest for found in wheels.values() for digest in found}
        if lacking:
            hashes |= _sdists(pin, offer, lacking, target.python)
            sources.append(Source(pin.name, lacking))
        kept.append(pin._replace(hashes=tuple(sorted(hashes))))
    return tuple(kept), tuple(sources)


def list_tags(python: str, platform: str, glibc: str) -> frozenset[Tag]:
    """Return the tags of every wheel that CPython installs on a platform whose C library is that glibc."""
    major, minor = (int(part) for part in python.split("."))
    names = _names(machine_name(platform), int(glibc.partition(".")[2]))
    interpreter = f"cp{major}{minor}"
    return frozenset(cpython_tags((major, minor), [interpreter], names)) | frozenset(
        compatible_tags((major, minor), interpreter, names)
    )


def _names(machine: str, newest: int) -> list[str]:
    """Return a platform's names in wheels, the most specific first."""
    names = []
    for minor in range(newest, OLDEST.get(machine, 17) - 1, -1):
        names += [f"manylinux_2_{minor}_{machine}", *([f"{NAMED[minor]}_{machine}"] if minor in NAMED else [])]
    return [*names, f"linux_{machine}"]


def _wheels(pin: Pin, offer: Offer, wanted: frozenset[Tag]) -> set[str]:
    return {digest for digest in pin.hashes if _fits(offer.files.get(digest, ""), wanted)}


def _fits(name: str, wanted: frozenset[Tag]) -> bool:
    if not name.endswith(".whl"):
        return False
    try:
        return not wanted.isdisjoint(parse_wheel_filename(name)[3])
    except InvalidWheelFilename:
        return False


def _sdists(pin: Pin, offer: Offer, lacking: Sequence[str], python: str) -> set[str]:
    found = {digest for digest in pin.hashes if offer.files.get(digest, "").endswith(SDIST)}
    if found:
        return found
    raise DockyardError(
        f"{pin.requirement} has neither a wheel for Python {python} on {', '.join(lacking)} nor a source archive",
        f"ask for a version of {pin.name} that has one, or take {lacking[0]} out of platforms",
    )
