"""Which lock agrees with which, and which ones ship: production decides, then what a purpose includes."""

from collections.abc import Mapping, Sequence

from dockyard.locks.inputs import FOLDER, SUFFIX, Input

DECIDES = "production"
BUILDS = "build"
"""The purpose whose lock holds what builds the packages that production takes from source."""


def agreements(closures: Mapping[str, Sequence[Input]]) -> dict[str, tuple[str, ...]]:
    """Return for each purpose the purposes whose pins it takes over, in the order in which locks are made.

    Production takes over none. Every other purpose takes over production's, and those of each purpose that
    it includes through -r, so that one version of a package runs in every image of a Python.
    """
    wanted = {purpose: _wanted(purpose, closures) for purpose in closures}
    made: dict[str, tuple[str, ...]] = {}
    while len(made) < len(wanted):
        ready = [purpose for purpose in sorted(wanted) if purpose not in made and wanted[purpose] <= made.keys()]
        for purpose in ready:
            made[purpose] = tuple(name for name in made if name in wanted[purpose])
    return made


def shipped(closures: Mapping[str, Sequence[Input]]) -> frozenset[str]:
    """Return the purposes whose packages are in the image that ships: production, and all that it includes by -r."""
    included = {f"{FOLDER}/{DECIDES}{SUFFIX}"} | _included(closures.get(DECIDES, ()))
    return frozenset(name for name in closures if f"{FOLDER}/{name}{SUFFIX}" in included)


def _wanted(purpose: str, closures: Mapping[str, Sequence[Input]]) -> set[str]:
    if purpose == DECIDES:
        return set()
    included = _included(closures[purpose])
    return {name for name in closures if name in {DECIDES} or f"{FOLDER}/{name}{SUFFIX}" in included} - {purpose}


def _included(closure: Sequence[Input]) -> set[str]:
    return {include.path for file in closure for include in file.includes if include.option == "-r"}
