# ruff: noqa: PTH123
# Importing pathlib would take a third of the hook's time.
"""Check every lock against what it was made from: offline, with no engine, no process, no network."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dockyard.locks import header
from dockyard.locks.inputs import FOLDER, SUFFIX, Input, InputError, closure, loader
from dockyard.locks.lines import canonical
from dockyard.locks.options import Asked
from dockyard.locks.order import BUILDS, DECIDES, agreements, shipped

PIP_TOOLS = "pip-tools 7.6.2"
UV = "uv 0.13.8"
"""The compilers that Dockyard drives, as src/dockyard/locks/tools/ pins them."""

COMPILERS = {"pip-tools": (PIP_TOOLS, UV), "uv": (UV,)}
"""The compilers whose locks a resolver setting accepts, the preferred one first: uv stands in for pip-tools
where a Python has no base image, and writes the same pins and hashes."""

MEND = "invoke lock"
PYTHON = re.compile(r"[0-9]+\.[0-9]+")


class Problem(NamedTuple):
    """What is wrong with a lock or an input, where (path below the project, line from 1), and what mends it."""

    path: str
    line: int
    message: str
    mend: str = MEND


class Purpose(NamedTuple):
    """One .in file that gets locks: its closure, the header's fields for it, and the purposes it agrees with."""

    name: str
    inputs: tuple[Input, ...]
    sources: tuple[str, ...]
    agrees_with: tuple[str, ...]
    ships: bool
    """Whether its packages are in the production image."""


class Lock(NamedTuple):
    """One lock that should exist: what it should be made from, what it holds, and what is wrong with it."""

    path: str
    python: str
    purpose: str
    made: header.Made
    platforms: tuple[str, ...] = ()
    """The platforms whose hashes it holds; empty where it holds all."""

    content: bytes = b""
    body: str = ""
    problems: tuple[Problem, ...] = ()


class State(NamedTuple):
    """All that a check finds: every lock that should exist, files that should not, and broken inputs."""

    locks: tuple[Lock, ...]
    strays: tuple[Problem, ...] = ()
    broken: tuple[Problem, ...] = ()


def lock_path(python: str, purpose: str) -> str:
    """Return the place of a lock below the project's root."""
    return f"{FOLDER}/{python}/{purpose}.txt"


def purposes(root: str) -> tuple[str, ...]:
    """Return the purposes of a project: the name of every .in file directly in its requirements folder."""
    return tuple(sorted(name.removesuffix(SUFFIX) for name in _names(f"{root}/{FOLDER}") if _is_input(name)))


def check(asked: Asked) -> tuple[Problem, ...]:
    """Return everything that is wrong with the project's locks and their inputs; empty means that all is well."""
    state = inspect(asked)
    problems = (problem for lock in state.locks for problem in lock.problems)
    return tuple(dict.fromkeys((*state.broken, *state.strays, *problems, *unbuildable(state))))


def inspect(asked: Asked) -> State:
    """Read all inputs and locks and compare them."""
    wanted, broken = read_purposes(asked.root)
    if not wanted and not broken:
        broken = (Problem(FOLDER, 1, "there is no .in file here", f"write {FOLDER}/production{SUFFIX}"),)
    locks = tuple(lock for python in asked.pythons for lock in _locks(asked, python, wanted))
    return State(locks, tuple(_strays(asked)), broken)


def unbuildable(state: State) -> Iterator[Problem]:
    """Find what production has built from source while nothing says what builds it."""
    if any(lock.purpose == BUILDS for lock in state.locks):
        return
    for lock in (lock for lock in state.locks if lock.purpose == DECIDES):
        for number, row in header.read(lock.content):
            for name in header.built([row]):
                wrong = f"{name} is built from source, and nothing says what builds it"
                yield Problem(lock.path, number, wrong, f"name it, such as setuptools, in {FOLDER}/{BUILDS}{SUFFIX}")


def read_purposes(root: str) -> tuple[tuple[Purpose, ...], tuple[Problem, ...]]:
    """Return each purpose whose inputs can be read, in the order of making, and what is wrong with the others."""
    load = loader(root)
    closures, broken = {}, dict[Problem, None]()
    for name in purposes(root):
        try:
            closures[name] = closure(name, load)
        except InputError as error:
            broken[Problem(error.path, error.line, error.wrong, error.hint)] = None
    ships = shipped(closures)
    found = (
        Purpose(name, closures[name], header.sources(closures[name]), agrees_with, name in ships)
        for name, agrees_with in agreements(closures).items()
    )
    return tuple(found), tuple(broken)


def read_inputs(root: str) -> tuple[Input, ...]:
    """Return every requirements file that can be read, each once."""
    found, _ = read_purposes(root)
    return tuple({file.path: file for purpose in found for file in purpose.inputs}.values())


def target(asked: Asked, python: str, *, ships: bool = False) -> str:
    """Return for what a lock is made, as its header says it."""
    kind = asked.hashes if ships else "all"
    return f"Python {python}, {', '.join(asked.platforms) or 'linux'}, {kind} hashes"


def _locks(asked: Asked, python: str, wanted: Iterable[Purpose]) -> Iterator[Lock]:
    bodies: dict[str, str] = {}
    for purpose in wanted:
        agreed = tuple((lock_path(python, name), bodies[name]) for name in purpose.agrees_with)
        compilers = COMPILERS[asked.resolver]
        wanted_for = target(asked, python, ships=purpose.ships)
        made = header.Made(wanted_for, compilers[0], purpose.inputs, purpose.sources, agreed)
        platforms = asked.platforms if purpose.ships and asked.hashes == "platform" else ()
        lock = Lock(lock_path(python, purpose.name), python, purpose.name, made, platforms)
        lock = _read(asked.root, lock, compilers)
        bodies[purpose.name] = lock.body
        yield lock


def _read(root: str, lock: Lock, compilers: Sequence[str]) -> Lock:
    try:
        with open(f"{root}/{lock.path}", "rb") as file:
            content = file.read()
        fields = header.read(content)
        body = header.body(canonical(content), [row for _, row in fields])
    except FileNotFoundError:
        return lock._replace(
            problems=(Problem(lock.path, 1, f"is missing: nothing is locked for {lock.made.inputs[0].path}"),)
        )
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}"
        return lock._replace(problems=(Problem(lock.path, 1, wrong, "check what it is and who may read it"),))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return lock._replace(
            content=content, problems=(Problem(lock.path, line, "is not UTF-8: it was edited by hand"),)
        )
    possible = [lock.made._replace(compiler=name) for name in compilers]
    lock = lock._replace(content=content, body=body)
    return lock._replace(problems=tuple(_compared(lock, fields, possible)))


def _compared(lock: Lock, fields: Sequence[tuple[int, str]], possible: Sequence[header.Made]) -> list[Problem]:
    """Compare a lock with the headers it may have; only a lock that fits none of them is looked at closely."""
    path, content, body = lock.path, lock.content, lock.body
    said = [row for _, row in fields if not row.startswith(header.MADE_OF)]
    stamped = [row for _, row in fields if row.startswith("body:")] == [f"body: {body}"]
    if stamped and any(said == header.origin(made) for made in possible):
        return []
    from dockyard.locks.locate import body_problems, origin_problems

    if not fields:
        return [Problem(path, 1, "was not made by Dockyard, or has lost its header")]
    problems = [] if stamped else body_problems(path, content, fields)
    made = next((made for made in possible if f"by: {made.compiler}" in said), possible[0])
    return problems + ([] if said == header.origin(made) else origin_problems(path, fields, made))


def _strays(asked: Asked) -> Iterable[Problem]:
    """Find locks that nothing asks for: of a Python no longer supported, or of a purpose that is gone."""
    known = set(purposes(asked.root))
    for python in filter(PYTHON.fullmatch, _names(f"{asked.root}/{FOLDER}")):
        for name in _names(f"{asked.root}/{FOLDER}/{python}"):
            purpose, dot, kind = name.rpartition(".")
            if not dot or kind != "txt":
                continue
            path = lock_path(python, purpose)
            if python not in asked.pythons:
                yield Problem(path, 1, f"Python {python} is not among the pythons of the settings")
            elif purpose not in known:
                yield Problem(path, 1, f"there is no {FOLDER}/{purpose}{SUFFIX} any more")


def _names(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_input(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")
