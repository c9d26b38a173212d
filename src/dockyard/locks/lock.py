"""Make the locks of a project: read the world, plan, compile, compare, write."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.version import InvalidVersion, Version

from dockyard.engine.client import find_engine
from dockyard.errors import DockyardError
from dockyard.files import replace_files
from dockyard.host import ca_bundle
from dockyard.locks.check import Lock, ProjectLocks, inspect_locks, read_built
from dockyard.locks.compile import Compiled, compile_all
from dockyard.locks.failures import describe_yanked
from dockyard.locks.indexes import read_access, read_certificates
from dockyard.locks.inputs import InputError
from dockyard.locks.pins import Pin
from dockyard.locks.plan import Batch, Wish, plan_batches

if TYPE_CHECKING:
    from dockyard.engine.client import Engine
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


class Built(NamedTuple):
    """A package that is built from source, the platforms that have no wheel of it, and the locks that say so."""

    package: str
    platforms: tuple[str, ...]
    locks: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A package that another version of is in some locks: `before` or `after` is empty where it came or went."""

    package: str
    before: str
    after: str
    locks: tuple[str, ...]
    via: tuple[str, ...]
    """Who asks for the package, in the lock where it is or was."""

    @property
    def step(self) -> str:
        """How far the step goes: added, removed, major, minor, patch or other, with a mark for a step back."""
        if self.before and self.after:
            return classify_step(self.before, self.after)
        return "added" if self.after else "removed"


@dataclass(frozen=True)
class Outcome:
    """What a run made: the text of each file that differs by its path, None for one to remove; and the story."""

    files: Mapping[str, str | None]
    changes: tuple[Change, ...]
    locks: int
    yanked: tuple[str, ...] = ()
    """What is to be said of pins that their index has yanked."""

    built: tuple[Built, ...] = ()
    """What is built from source, in all locks of the project."""

    failed: DockyardError | None = None
    """Why some locks could not be made although those in `files` were: the network."""


def make_locks(settings: "Settings", wish: Wish, engine: "Engine | None" = None) -> Outcome:
    """Compile what is stale or asked for, and return what would change; nothing is written yet.

    No engine is looked for where nothing needs compiling. Raise InputError for the first broken input.
    """
    known = inspect_locks(settings)
    for problem in known.broken:
        raise InputError(*problem)
    batches = plan_batches(known, wish)
    jobs = [job for batch in batches for job in batch.jobs]
    made = Compiled({})
    if batches:
        inputs = dict.fromkeys(file for job in jobs for file in job.lock.inputs)
        access = read_access(inputs, settings.index_url, os.environ)
        access = replace(access, ca=read_certificates(ca_bundle()))
        engine = engine or find_engine(settings)
        made = compile_all(engine, choose_images(settings, engine, batches), access)
    kept = [pin.partition(" ;")[0] for job in jobs for pin in job.pins]
    return compare_with_disk(settings.root, known, made, describe_yanked(made.yanked, kept))


def write_outcome(settings: "Settings", outcome: Outcome) -> None:
    """Write what a run made: every file of it or none."""
    replace_files({settings.root / path: new for path, new in outcome.files.items()})


def compare_with_disk(root: Path, known: ProjectLocks, made: Compiled, yanked: Iterable[str]) -> Outcome:
    """Compare locks as they were made with those on disk; locks of ours that nothing asks for are to go."""
    old = {lock.path: lock for lock in known.locks}
    new = {path: lock._replace(content=made.texts[path].encode()) for path, lock in old.items() if path in made.texts}
    stale = [path for path in new if new[path].content != old[path].content]
    strays = [problem.path for problem in known.strays]
    gone = {path: None for path in strays if b"# Made by Dockyard" in (root / path).read_bytes()[:200]}
    return Outcome(
        files={**{path: made.texts[path] for path in stale}, **gone},
        changes=compare_locks({path: old[path].pins for path in stale}, {path: new[path].pins for path in stale}),
        locks=len(made.texts),
        yanked=tuple(yanked),
        built=collect_built({**old, **new}.values()),
        failed=made.failed,
    )


def collect_built(locks: Iterable[Lock]) -> tuple[Built, ...]:
    """Return what locks say is built from source; what is so in several of them is told once."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for lock in locks:
        for _, name, platforms in read_built(lock.content):
            found.setdefault((name, platforms), []).append(lock.path)
    return tuple(Built(*key, tuple(paths)) for key, paths in sorted(found.items()))


def choose_images(settings: "Settings", engine: "Engine", batches: Sequence[Batch]) -> list[Batch]:
    """Say of each batch where it is compiled: in its own base, or by uv in another one where it has none here."""
    from dockyard.bases import resolve

    wanted = [batch.python for batch in batches]
    found, missing = resolve.ensure_bases(settings, engine, wanted)
    if not found and (others := [python for python in settings.pythons if python not in wanted]):
        found, _ = resolve.ensure_bases(settings, engine, others)
    if not found:
        raise DockyardError(
            f"there is no base image for Python {missing[0].python}: {missing[0].reason}", "`invoke doctor` shows why"
        )
    here, placed = {base.python: base.image for base in found}, []
    newest = max(here, key=Version)
    for batch in batches:
        if batch.python in here:
            placed.append(replace(batch, image=here[batch.python], resolver=settings.resolver))
        else:
            said = f"no base image here; uv makes its locks from Python {newest}, with the same pins and hashes"
            log.info(f"Python {batch.python}: {said}")
            placed.append(replace(batch, image=here[newest], resolver="uv"))
    return placed


def compare_locks(before: Mapping[str, Iterable[Pin]], after: Mapping[str, Iterable[Pin]]) -> tuple[Change, ...]:
    """Return what differs between locks by path; a package that takes the same step in several is one change."""
    found: dict[tuple[str, str, str], list[tuple[str, tuple[str, ...]]]] = {}
    for path in after:
        old, new = (
            {name: [*several] for name, several in groupby(pins, key=attrgetter("name"))}
            for pins in (before.get(path, ()), after[path])
        )
        for name in sorted({*old, *new}):
            was, now = (", ".join(pin.version or pin.address for pin in pins.get(name, ())) for pins in (old, new))
            if was != now:
                found.setdefault((name, was, now), []).append((path, (new.get(name) or old[name])[0].via))
    return tuple(
        Change(*key, tuple(path for path, _ in places), tuple(sorted({name for _, via in places for name in via})))
        for key, places in sorted(found.items())
    )


def classify_step(before: str, after: str) -> str:
    """Return major, minor or patch for a step between two versions, 'other' where only a suffix differs."""
    try:
        old, new = (Version(one.partition(",")[0]) for one in (before, after))
    except InvalidVersion:  # an address has none
        return "other"
    numbers = zip_longest((old.epoch, *old.release), (new.epoch, *new.release), fillvalue=0)
    place = next((place for place, (one, other) in enumerate(numbers) if one != other), None)
    if place is None:
        return "other"
    return ("major", "major", "minor", "patch")[min(place, 3)] + (" back" if new < old else "")
