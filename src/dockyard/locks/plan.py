"""Decide which locks to make, from which preferences, and say what came of it (pure)."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError, UsageError
from dockyard.locks.check import COMPILERS, Lock, ProjectLocks, fingerprint_lock, read_built
from dockyard.locks.indexes import select_options
from dockyard.locks.inputs import SHA256, InputError
from dockyard.locks.markers import Selection, select_environments
from dockyard.locks.pins import Pin, merge_pins, narrow_hashes, parse_pins, read_name, render_pins


@dataclass(frozen=True)
class Wish:
    """What a person asks of `invoke lock`: everything newer, or some packages, each as NAME or NAME==VERSION."""

    everything: bool = False
    packages: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The canonical names of the packages to renew."""
        return frozenset(read_name(package) for package in self.packages)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The packages that must get a certain version."""
        return tuple(package for package in self.packages if canonicalize_name(package) not in self.names)


@dataclass(frozen=True)
class Job:
    """One lock to make, for which environments: `pins` are the versions to keep where they fit."""

    lock: Lock
    pins: tuple[str, ...]
    environments: Selection


@dataclass(frozen=True)
class Batch:
    """The locks to make for one Python, in order, and the pins of those they agree with that stay as they are."""

    python: str
    jobs: tuple[Job, ...]
    agreed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    """The packages that must get a certain version."""

    resolver: str = "pip-tools"
    image: str = ""
    """What compiles them, in which image with some Python."""

    @property
    def compiler(self) -> str:
        """The compiler's name and version as a lock's header says it."""
        return COMPILERS[self.resolver][0]


@dataclass(frozen=True)
class JobAnswer:
    """What a compiler wrote for one purpose, by environment, and all that it said.

    `files` names each file that it saw by its hash, `sha256:…`, where the lock is for certain platforms only.
    """

    texts: Mapping[str, str]
    said: str = ""
    files: Mapping[str, str] | None = None


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
        return classify_step(self.before, self.after)


def plan_batches(found: ProjectLocks, wish: Wish) -> tuple[Batch, ...]:
    """Return what to compile; raise UsageError for a package that no lock has."""
    pins = {lock.path: lock.pins for lock in found.locks}
    known = sorted({pin.name for several in pins.values() for pin in several})
    for name in sorted(wish.names - set(known)):
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else "add it to a .in file to lock it"
        raise UsageError(f"no lock has a package {name}", hint)
    batches = []
    for python in dict.fromkeys(lock.python for lock in found.locks):
        locks = [lock for lock in found.locks if lock.python == python]
        jobs = _plan_jobs(locks, pins, wish)
        made = {job.lock.purpose for job in jobs}
        agreed = {name for job in jobs for name in job.lock.agrees_with} - made
        kept = {
            lock.purpose: tuple(pin.line_text for pin in pins[lock.path]) for lock in locks if lock.purpose in agreed
        }
        if jobs:
            batches.append(Batch(python, tuple(jobs), kept, wish.wanted))
    return tuple(batches)


def _plan_jobs(locks: Sequence[Lock], pins: Mapping[str, tuple[Pin, ...]], wish: Wish) -> list[Job]:
    jobs: list[Job] = []
    for lock in locks:
        follows = any(job.lock.purpose in lock.agrees_with for job in jobs)
        asked = wish.everything or any(pin.name in wish.names for pin in pins[lock.path])
        if lock.problems or follows or asked:
            kept = () if wish.everything else (pin for pin in pins[lock.path] if pin.name not in wish.names)
            selected = select_environments(lock.inputs, lock.python, lock.platforms)
            jobs.append(Job(lock, tuple(pin.line_text for pin in kept if pin.version), selected))
    return jobs


def finish_locks(batch: Batch, answers: Mapping[str, JobAnswer], glibc: str = "") -> dict[str, str]:
    """Return the locks of a batch as they are to be written, by path; a purpose without an answer is left out.

    `glibc` is the version of the base image's, `2.41`, nothing where it has another C library.
    """
    done: dict[str, str] = {}
    bodies: dict[str, str] = {}
    for job in (job for job in batch.jobs if job.lock.purpose in answers):
        lock, answer, sources = job.lock, answers[job.lock.purpose], list[str]()
        found = {name: parse_pins(text) for name, text in answer.texts.items()}
        pins = keep_asked_hashes(lock, merge_pins(found, lock.platforms, job.environments.same))
        if lock.hashes == "platform":
            try:
                pins, sources = narrow_hashes(pins, answer.files or {}, glibc, lock.python, lock.platforms)
            except DockyardError as error:
                raise DockyardError(f"{lock.path} cannot be made: {error.message}", error.hint) from None
        agreed = {purpose: bodies.get(purpose, body) for purpose, body in lock.agrees_with.items()}
        written = render_pins(select_options(lock.inputs), pins)
        done[lock.path] = lock._replace(agrees_with=agreed).write(batch.compiler, written, sources)
        bodies[lock.purpose] = fingerprint_lock(done[lock.path].encode())
    return done


def keep_asked_hashes(lock: Lock, pins: Iterable[Pin]) -> tuple[Pin, ...]:
    """Return the pins with those hashes only that an input names, where it names some for a package.

    Raise InputError where an input names a hash that no file of the locked version has.
    """
    asked = [
        (first if "://" in first else read_name(first), file.path, line.number, digests)
        for file in lock.inputs
        for line in file.lines
        if (digests := SHA256.findall(line.text)) and (first := line.text.split()[0])
    ]
    kept = []
    for pin in pins:
        lines = [each for each in asked if each[0] in (pin.name, pin.address)]
        hashes = set(pin.hashes).intersection(*(wanted for *_, wanted in lines))
        if lines and not hashes:
            _, path, number, _ = lines[-1]
            wrong = f"no file of {pin.requirement} has the hash that is asked for"
            raise InputError(path, number, wrong, "correct the hash or the version; no lock was changed")
        kept.append(pin._replace(hashes=tuple(sorted(hashes))))
    return tuple(kept)


def collect_built(locks: Iterable[Lock]) -> tuple[Built, ...]:
    """Return what locks say is built from source; what is so in several of them is told once."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for lock in locks:
        for _, name, platforms in read_built(lock.content):
            found.setdefault((name, platforms), []).append(lock.path)
    return tuple(Built(*key, tuple(paths)) for key, paths in sorted(found.items()))


def compare_locks(before: Mapping[str, Iterable[Pin]], after: Mapping[str, Iterable[Pin]]) -> tuple[Change, ...]:
    """Return what differs between locks by path; a package that takes the same step in several is one change."""
    moves: dict[tuple[str, str, str], dict[str, tuple[str, ...]]] = {}
    for path in after:
        old, new = (
            {name: [*several] for name, several in groupby(pins, key=attrgetter("name"))}
            for pins in (before.get(path, ()), after[path])
        )
        for name in {**old, **new}:
            was, now = (", ".join(pin.version or pin.address for pin in pins.get(name, ())) for pins in (old, new))
            if was != now:
                moves.setdefault((name, was, now), {})[path] = (new.get(name) or old[name])[0].via
    return tuple(
        Change(*move, tuple(via), tuple(sorted({name for names in via.values() for name in names})))
        for move, via in sorted(moves.items())
    )


def classify_step(before: str, after: str) -> str:
    """Return major, minor or patch for a step between two versions, 'other' where only a suffix differs."""
    if not (before and after):
        return "added" if after else "removed"
    try:
        old, new = (Version(one.partition(",")[0]) for one in (before, after))
    except InvalidVersion:  # an address has none
        return "other"
    numbers = zip_longest((old.epoch, *old.release), (new.epoch, *new.release), fillvalue=0)
    place = next((place for place, (one, other) in enumerate(numbers) if one != other), None)
    if place is None:
        return "other"
    return ("major", "major", "minor", "patch")[min(place, 3)] + (" back" if new < old else "")
