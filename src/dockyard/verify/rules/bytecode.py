"""The rule on bytecode: every Python file has some that its Python will take, so that none is compiled at start."""

import _imp  # importlib.util.source_hash calls it too, but with the key of this Python alone
import re
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
    facts = case.facts
    default = interpreter(facts) or case.expected.python
    faults: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for entry in facts.files.values():
        if entry.kind == "file" and entry.path.endswith(".py") and entry.path not in case.expected.uncompilable:
            wrong = fault(facts, entry, version(entry.path) or default)
            if wrong:
                faults[entry.layer, top(entry.path), wrong].append(entry.path)
    for path, reason in case.expected.uncompilable.items():
        if path in facts.files and not BROUGHT.search(path):
            hint = f'correct it, or say what it is: "valid-bytecode:{path}" = "a template" below [tool.dockyard.allow]'
            said = f"{path} is no source for Python {default}: {reason}"
            yield Violation(said, path, facts.files[path].layer, hint)
    for (layer, folder, wrong), paths in faults.items():
        if len(paths) < MANY:
            yield from (Violation(f"{path} {wrong}", path, layer) for path in paths)
        else:
            said = f"{len(paths)} Python files in {folder}: each {wrong}, {paths[0]} for instance"
            yield Violation(said, folder, layer)


def missing(facts: Facts, python: str = "") -> tuple[str, ...]:
    """Return the Python files that have no bytecode at all: maybe no Python could compile them."""
    default = interpreter(facts) or python
    sources = (entry for entry in facts.files.values() if entry.kind == "file" and entry.path.endswith(".py"))
    return tuple(
        entry.path for entry in sources if place(entry.path, version(entry.path) or default) not in facts.files
    )


def fault(facts: Facts, source: Entry, python: str) -> str:
    """Say what is wrong with the bytecode of a Python file, or nothing."""
    found = facts.files.get(place(source.path, python))
    if found is None:
        return f"has no bytecode for Python {python or '(which one is unknown)'}"
    if len(found.data) < 16:
        return "has bytecode that is cut short"
    number, flags = int.from_bytes(found.data[:2], "little"), int.from_bytes(found.data[4:8], "little")
    if number != FINAL_MAGIC.get(python, number) or found.data[2:4] != b"\r\n":
        return f"has bytecode of another Python than {python}"
    if flags & 1:
        key = int.from_bytes(found.data[:4], "little")
        fresh = number < HASHED_ALIKE_SINCE or found.data[8:16] == _imp.source_hash(key, source.data)
    else:
        written = (int.from_bytes(found.data[8:12], "little"), int.from_bytes(found.data[12:16], "little"))
        fresh = written == (int(source.mtime) & 0xFFFFFFFF, source.size & 0xFFFFFFFF)
    return "" if fresh else "has bytecode that was made from another version of it"


def place(path: str, python: str) -> str:
    """Return where a Python looks for the bytecode of a source file."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{python.replace('.', '')}.pyc"


def version(path: str) -> str:
    """Return the Python whose library a path is in, or nothing."""
    found = VERSION.search(path)
    return found[1] if found else ""


def top(path: str) -> str:
    """Return the folder under which faults are told together: a package in site-packages, or the file's own."""
    found = re.match(r"(.*/(?:site|dist)-packages/[^/]+|.*/python3\.[0-9]+)/", path)
    return found[1] if found else path.rpartition("/")[0] or "/"


def interpreter(facts: Facts) -> str:
    """Return the version of the Python that a container finds first on its PATH, or nothing."""
    for folder in facts.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        for name in ("python", "python3"):
            real = facts.resolve(f"{folder}/{name}")
            found = re.fullmatch(r"python(3\.[0-9]+)", real.name) if real else None
            if found:
                return found[1]
    return ""
