"""Decide which locks to make, from which preferences (pure)."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from dockyard.errors import DockyardError, UsageError
from dockyard.locks.check import COMPILERS, Lock, ProjectLocks, fingerprint_lock
from dockyard.locks.indexes import select_options
from dockyard.locks.inputs import SHA256, InputError, Line
from dockyard.locks.markers import Selection, select_environments
from dockyard.locks.pins import Pin, merge_pins, narrow_hashes, parse_pins, render_pins, split_name


@dataclass(frozen=True)
class Wish:
    """What a person asks of `invoke lock`: everything newer, or some packages, each as NAME or NAME==VERSION."""

    everything: bool = False
    packages: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The canonical names of the packages to renew."""
        return frozenset(canonicalize_name(split_name(package)) for package in self.packages)

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

    @property
    def files(self) -> dict[str, str]:
        """Every input that the jobs read, by its path."""
        return {file.path: file.text for job in self.jobs for file in job.lock.inputs}


@dataclass(frozen=True)
class JobAnswer:
    """What a compiler wrote for one purpose, by environment, and all that it said.

    `files` names each file that it saw by its hash, `sha256:…`, where the lock is for certain platforms only.
    """

    texts: Mapping[str, str]
    said: str = ""
    files: Mapping[str, str] | None = None


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
    asked: dict[str, tuple[str, Line, set[str]]] = {}
    for file in lock.inputs:
        for line in file.lines:
            if found := set(SHA256.findall(line.text)):
                first = line.text.split()[0]
                name = first if "://" in first else canonicalize_name(split_name(first))
                before = asked[name][2] if name in asked else found
                asked[name] = (file.path, line, found & before)
    kept = []
    for pin in pins:
        path, line, wanted = asked.get(pin.name) or asked.get(pin.address) or ("", Line(0, ""), set(pin.hashes))
        hashes = tuple(digest for digest in pin.hashes if digest in wanted)
        if not hashes and pin.hashes:
            wrong = f"no file of {pin.requirement} has the hash that is asked for"
            raise InputError(path, line.number, wrong, "correct the hash or the version; no lock was changed")
        kept.append(pin._replace(hashes=hashes))
    return tuple(kept)
