"""Check every lock against what it was made from: offline, with no engine, no process, no network.

A comment at the top of a lock says what that was, so that a check needs nothing but the files; "The header" in
docs/reference/locks.md has every field of it.

`dockyard-lock-check`, the pre-commit hook, does that for the project around the current folder.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dockyard.errors import DockyardError
from dockyard.locks.inputs import FOLDER, SUFFIX, Input, InputError, Problem, canonicalize_lock, read_closure

if TYPE_CHECKING:
    from dockyard.locks.pins import Pin
    from dockyard.settings import Settings

PIP_TOOLS = "pip-tools 7.6.2"
UV = "uv 0.13.8"
"""The compilers that Dockyard drives, as src/dockyard/locks/tools/ pins them."""

COMPILERS = {"pip-tools": (PIP_TOOLS, UV), "uv": (UV,)}
"""The compilers whose locks a resolver setting accepts, the preferred one first: uv stands in for pip-tools
where a Python has no base image, and writes the same pins and hashes."""

DECIDES = "production"
BUILDS = "build"
"""The purpose whose lock holds what builds the packages that production takes from source."""

FIELDS = {"for:", "by:", "from:", "with:", "built", "body:"}
BUILT = "built from source:"
MADE_OF = (BUILT, "body:")
"""How the fields begin that tell of the lock itself, and not of what it was made from."""


class Lock(NamedTuple):
    """One lock that should exist: what it should be made from, what it holds, and what is wrong with it."""

    python: str
    purpose: str
    inputs: tuple[Input, ...]
    agrees_with: Mapping[str, str]
    """The purposes whose versions it takes over, and the fingerprints of their locks."""

    platforms: tuple[str, ...] = ()
    """The platforms that it is resolved for; empty where that is any Linux."""

    hashes: str = "all"
    """Whose hashes it holds: 'all', or 'platform' for those of its platforms."""

    content: bytes = b""
    body: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def path(self) -> str:
        """Its place below the project's root."""
        return lock_path(self.python, self.purpose)

    @property
    def pins(self) -> "tuple[Pin, ...]":
        """Its pins; bytes that are no text are replaced."""
        from dockyard.locks.pins import parse_pins  # most of its time a check would only import it

        return parse_pins(self.content.decode("utf-8-sig", "replace"))

    def list_origins(self, compiler: str) -> list[str]:
        """Return the fields of a header that say what it is made from: of each input a fingerprint of its lines."""
        platforms = ", ".join(self.platforms) or "linux"
        rows = [f"for: Python {self.python}, {platforms}, {self.hashes} hashes", f"by: {compiler}"]
        rows += (f"with: {lock_path(self.python, purpose)} {body}" for purpose, body in self.agrees_with.items())
        for file in self.inputs:
            said = "\n".join(line.text for line in file.lines)
            rows.append(f"from: {file.path} {fingerprint(said)}")
        return rows

    def write(self, compiler: str, pins: str, sources: Iterable[str] = ()) -> str:
        """Return its text: a header as comment lines, then the pins; `sources` name what is built, and where."""
        title = f"Made by Dockyard from {self.inputs[0].path}: change that, then run `invoke lock`."
        rows = (title, *self.list_origins(compiler), *(f"{BUILT} {source}" for source in sources))
        header = "".join(f"# {row}\n" for row in rows)
        return f"{header}# body: {fingerprint_lock((header + pins).encode())}\n\n{pins}"


class ProjectLocks(NamedTuple):
    """All that a check finds: every lock that should exist, files that should not, and broken inputs."""

    locks: tuple[Lock, ...]
    strays: tuple[Problem, ...] = ()
    broken: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong; empty means that all is well."""
        found = (problem for lock in self.locks for problem in lock.problems)
        return tuple(dict.fromkeys((*self.broken, *self.strays, *found, *find_unbuildable(self.locks))))

    @property
    def unmade(self) -> bool:
        """Whether there should be locks, and none was ever made."""
        return bool(self.locks) and not any(lock.content for lock in self.locks)


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a text, with the name of the algorithm before it."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def fingerprint_lock(content: bytes) -> str:
    """Return the fingerprint of a lock's pins, and of what its header says is built from source."""
    built = (row for _, row in read_fields(content) if row.startswith(BUILT))
    return fingerprint("\n".join([canonicalize_lock(content), *built]))


def read_built(content: bytes) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield what a lock says is built from source: the line, the package, and the platforms that have no wheel."""
    for number, row in read_fields(content):
        if row.startswith(BUILT):
            name, _, platforms = row.removeprefix(BUILT).strip().partition(" on ")
            yield number, name, tuple(platforms.split(", "))


def read_fields(content: bytes) -> list[tuple[int, str]]:
    """Return the fields of a lock's header with their line numbers; gaps between words become one space."""
    found = []
    for number, line in enumerate(BytesIO(content.removeprefix(b"\xef\xbb\xbf")), 1):
        words = line.decode("utf-8", "replace").split()
        if words and not words[0].startswith("#"):
            break
        fields = words[1:] if words[:1] == ["#"] else []
        if fields and fields[0] in FIELDS:
            found.append((number, " ".join(fields)))
    return found


def lock_path(python: str, purpose: str) -> str:
    """Return the place of a lock below the project's root."""
    return f"{FOLDER}/{python}/{purpose}.txt"


def list_purposes(root: Path) -> tuple[str, ...]:
    """Return the purposes of a project: the name of every .in file directly in its requirements folder."""
    return tuple(sorted(path.stem for path in (root / FOLDER).glob(f"[!.]*{SUFFIX}")))


def choose_lock(root: Path, target: str, python: str) -> str:
    """Return the place, below the project's root, of the lock that an image is made from: its target's own, if any."""
    return lock_path(python, target if target in list_purposes(root) else DECIDES)


def check_project(settings: "Settings") -> tuple[Problem, ...]:
    """Return everything that is wrong with the locks and inputs of a project, offline; empty means that all is well."""
    return inspect_locks(settings).problems


def inspect_locks(settings: "Settings") -> ProjectLocks:
    """Read all inputs and locks and compare them."""
    closures, broken = read_closures(settings.root)
    if not closures and not broken:
        broken = (Problem(FOLDER, 1, "there is no .in file here", f"write {FOLDER}/production{SUFFIX}"),)
    locks = tuple(lock for python in settings.pythons for lock in _read_locks(settings, python, closures))
    return ProjectLocks(locks, tuple(_find_strays(settings)), broken)


def find_unbuildable(locks: Sequence[Lock]) -> Iterator[Problem]:
    """Find what production has built from source while nothing says what builds it."""
    known = {lock.purpose for lock in locks}
    for lock in (lock for lock in locks if lock.purpose == DECIDES and BUILDS not in known):
        for number, name, _ in read_built(lock.content):
            wrong = f"{name} is built from source, and nothing says what builds it"
            yield Problem(lock.path, number, wrong, f"name it, such as setuptools, in {FOLDER}/{BUILDS}{SUFFIX}")


def read_closures(root: Path) -> tuple[dict[str, tuple[Input, ...]], tuple[Problem, ...]]:
    """Return the inputs of each purpose that can be read, and what is wrong with those of the others."""
    known: dict[str, Input] = {}
    closures, broken = {}, dict[Problem, None]()
    for name in list_purposes(root):
        try:
            closures[name] = read_closure(root, name, known)
        except InputError as error:
            broken[error.problem] = None
    return closures, tuple(broken)


def read_inputs(root: Path) -> tuple[Input, ...]:
    """Return every requirements file that can be read, each once."""
    closures, _ = read_closures(root)
    return tuple({file.path: file for closure in closures.values() for file in closure}.values())


def _read_locks(settings: "Settings", python: str, closures: Mapping[str, tuple[Input, ...]]) -> Iterator[Lock]:
    bodies: dict[str, str] = {}
    shipped = list_included(DECIDES, closures)
    for purpose, agreed in find_agreements(closures).items():
        hashes = settings.hashes if purpose in shipped else "all"
        agrees_with = {name: bodies[name] for name in agreed}
        wanted = Lock(python, purpose, closures[purpose], agrees_with, settings.platforms, hashes)
        lock = _read_lock(settings.root, wanted, COMPILERS[settings.resolver])
        bodies[purpose] = lock.body
        yield lock


def _read_lock(root: Path, lock: Lock, compilers: Sequence[str]) -> Lock:
    try:
        content = (root / lock.path).read_bytes()
    except OSError as error:
        missing = f"nothing is locked for {lock.inputs[0].path}"
        problem = Problem(lock.path, 1, f"is missing: {missing}")
        if not isinstance(error, FileNotFoundError):
            wrong = f"cannot be read ({error.strerror}): {missing}"
            problem = Problem(lock.path, 1, wrong, "check what it is and who may read it")
        return lock._replace(problems=(problem,))
    lock = lock._replace(content=content, body=fingerprint_lock(content))
    return lock._replace(problems=tuple(_compare(lock, read_fields(content), compilers)))


def _compare(lock: Lock, fields: Sequence[tuple[int, str]], compilers: Sequence[str]) -> Iterator[Problem]:
    """Compare a lock with the headers it may have; of several compilers' the one that it names counts."""
    if not fields:
        yield Problem(lock.path, 1, "was not made by Dockyard, or has lost its header")
        return
    said = {row: number for number, row in fields}
    stamps = [row for row in said if row.startswith("body:")]
    if stamps != [f"body: {lock.body}"]:
        line = said[stamps[0]] if stamps else 1
        yield Problem(lock.path, line, "a pin, a hash or what it says is built from source was edited by hand")
    wanted = lock.list_origins(next((name for name in compilers if f"by: {name}" in said), compilers[0]))
    rows = [row for row in said if not row.startswith(MADE_OF)]
    changed = [row for row in wanted if row not in said]
    for row in changed:
        field, subject = row.split()[:2]
        if field == "from:":
            yield Problem(subject, 1, "has changed since the locks were made")
        elif field == "with:":
            line = next((said[old] for old in rows if old.startswith(f"with: {subject} ")), 1)
            yield Problem(lock.path, line, f"{subject} has changed since this lock was made to agree with it")
        else:
            old = next((old for old in rows if old.startswith(field)), f"{field} nobody knows what")
            wrong = f"was made {old.replace(':', '', 1)}, and should be made {row.replace(':', '', 1)}"
            yield Problem(lock.path, said.get(old, 1), wrong)
    if rows != wanted and not changed:
        number = next((said[row] for row in rows if row not in wanted), 1)
        yield Problem(lock.path, number, "its header does not fit its inputs: it was edited by hand")


def _find_strays(settings: "Settings") -> Iterator[Problem]:
    """Find locks that nothing asks for: of a Python no longer supported, or of a purpose that is gone."""
    known = list_purposes(settings.root)
    for file in sorted((settings.root / FOLDER).glob("*/*.txt")):
        python, purpose = file.parent.name, file.stem
        if not re.fullmatch(r"[0-9]+\.[0-9]+", python):
            continue
        path = lock_path(python, purpose)
        if python not in settings.pythons:
            yield Problem(path, 1, f"Python {python} is not among the pythons of the settings")
        elif purpose not in known:
            yield Problem(path, 1, f"there is no {FOLDER}/{purpose}{SUFFIX} any more")


def find_agreements(closures: Mapping[str, Sequence[Input]]) -> dict[str, tuple[str, ...]]:
    """Return for each purpose the purposes whose pins it takes over, in the order in which locks are made.

    Production takes over none. Every other purpose takes over production's, and those of each purpose that
    it includes through -r, so that one version of a package runs in every image of a Python.
    """
    decides = closures.keys() & {DECIDES}
    wanted = {name: (decides | list_included(name, closures)) - {name} for name in closures}
    wanted |= {name: set() for name in decides}
    made: dict[str, tuple[str, ...]] = {}
    while len(made) < len(wanted):
        ready = [purpose for purpose in sorted(wanted.keys() - made.keys()) if wanted[purpose] <= made.keys()]
        for purpose in ready:
            made[purpose] = tuple(name for name in made if name in wanted[purpose])
    return made


def list_included(purpose: str, closures: Mapping[str, Sequence[Input]]) -> set[str]:
    """Return the purposes whose packages one has: itself, and all that it includes by -r."""
    included = {each.path for file in closures.get(purpose, ()) for each in file.includes if each.option == "-r"}
    return {name for name in closures if name == purpose or f"{FOLDER}/{name}{SUFFIX}" in included}


def main() -> int:
    """Print each problem with file and line, and return the exit code: the pre-commit hook."""
    from dockyard.settings import load

    try:
        problems = check_project(load(Path.cwd(), os.environ))
    except DockyardError as error:
        sys.stderr.write(f"ERROR {error.message}\n" + (f"TIP   {error.hint}\n" if error.hint else ""))
        return int(error.code)
    for problem in problems:
        sys.stdout.write(f"{problem.path}:{problem.line}: {problem.message}\n")
    if problems:
        sys.stderr.write(f"TIP   to mend: {'; '.join(dict.fromkeys(problem.mend for problem in problems))}\n")
    return int(bool(problems))
