"""The rule on bytecode: every Python file has some that its Python will take, so that none is compiled at start."""

import _imp  # importlib.util.source_hash calls it too, but with the key of this Python alone
import re
import struct
from collections import defaultdict
from collections.abc import Iterator

from dockyard.verify.model import Case, Entry, Facts, Violation, rule

FINAL_MAGIC = {"3.9": 3425, "3.10": 3439, "3.11": 3495, "3.12": 3531, "3.13": 3571, "3.14": 3627, "3.15": 3666}
"""The number that each Python's bytecode begins with, from its final release on."""

HASHED_ALIKE_SINCE = 3450
"""Python 3.11 changed the hash of sources: this Python cannot work out that of a number below."""

VERSION = re.compile(r"/python(3\.[0-9]+)(?:/|$)")
BROUGHT = re.compile(r"/(?:site|dist)-packages/|/python3\.[0-9]+/")
"""In paths of what somebody else wrote: packages bring templates, and code for other Pythons than this one."""

MANY = 5
"""From so many on, files of one folder that have the same fault are told in one line."""


@rule(
    "valid-bytecode", "compile when nothing touches the files any more: compileall --invalidation-mode unchecked-hash"
)
def find_bytecode_faults(case: Case) -> Iterator[Violation]:
    """Every Python file has bytecode that its Python takes as it is.

    Those of the project's own that are no Python are found too; alike faults of one layer are told together.
    """
    faults: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for source, python, compiled in find_sources(case.facts, case.expected.python):
        path, reason = source.path, case.expected.uncompilable.get(source.path)
        if reason is None:
            wrong = describe_fault(source, python, compiled)
            if wrong:
                faults[source.layer, choose_folder(path), wrong].append(path)
        elif not BROUGHT.search(path):
            hint = f'correct it, or say what it is: "valid-bytecode:{path}" = "a template" below [tool.dockyard.allow]'
            yield Violation(f"{path} is no source for Python {python}: {reason}", path, source.layer, hint)
    for (layer, folder, wrong), paths in faults.items():
        if len(paths) < MANY:
            yield from (Violation(f"{path} {wrong}", path, layer) for path in paths)
        else:
            said = f"{len(paths)} Python files in {folder}: each {wrong}, {paths[0]} for instance"
            yield Violation(said, folder, layer)


def find_uncompiled(facts: Facts, python: str = "") -> tuple[str, ...]:
    """Return the Python files that have no bytecode at all: maybe no Python could compile them."""
    return tuple(source.path for source, _, compiled in find_sources(facts, python) if compiled is None)


def find_sources(facts: Facts, python: str) -> Iterator[tuple[Entry, str, Entry | None]]:
    """Yield every Python file, the Python that it is for, and its bytecode.

    That is the Python in whose library it is, else the one that a container finds, else `python`.
    """
    default = find_interpreter(facts) or python
    for entry in facts.files.values():
        if entry.kind == "file" and entry.path.endswith(".py"):
            library = VERSION.search(entry.path)
            wanted = library[1] if library else default
            folder, _, name = entry.path.rpartition("/")
            compiled = f"{name.removesuffix('.py')}.cpython-{wanted.replace('.', '')}.pyc"
            yield entry, wanted, facts.files.get(f"{folder}/__pycache__/{compiled}")


def describe_fault(source: Entry, python: str, compiled: Entry | None) -> str:
    """Say what is wrong with the bytecode of a Python file, or nothing."""
    if compiled is None:
        return f"has no bytecode for Python {python or '(which one is unknown)'}"
    if len(compiled.data) < 16:
        return "has bytecode that is cut short"
    key, flags, time, size = struct.unpack("<4I", compiled.data)
    number = key & 0xFFFF
    if number != FINAL_MAGIC.get(python, number) or compiled.data[2:4] != b"\r\n":
        return f"has bytecode of another Python than {python}"
    if flags & 1:
        fresh = number < HASHED_ALIKE_SINCE or compiled.data[8:] == _imp.source_hash(key, source.data)
    else:
        fresh = (time, size) == (int(source.mtime) & 0xFFFFFFFF, source.size & 0xFFFFFFFF)
    return "" if fresh else "has bytecode that was made from another version of it"


def choose_folder(path: str) -> str:
    """Return the folder under which faults are told together: a package in site-packages, or the file's own."""
    found = re.match(r"(.*/(?:site|dist)-packages/[^/]+|.*/python3\.[0-9]+)/", path)
    return found[1] if found else path.rpartition("/")[0] or "/"


def find_interpreter(facts: Facts) -> str:
    """Return the version of the Python that a container finds first on its PATH, or nothing."""
    for folder in facts.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        for name in ("python", "python3"):
            real = facts.resolve(f"{folder}/{name}")
            found = VERSION.search(real.path) if real else None
            if found:
                return found[1]
    return ""
