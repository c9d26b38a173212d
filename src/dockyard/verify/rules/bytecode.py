"""The rule on bytecode: every Python file has some that its Python will take, so that none is compiled at start."""

import re
from collections import defaultdict
from collections.abc import Iterator

from dockyard.verify.model import Case, Entry, Facts, Rule, Violation

try:
    import _imp as native  # importlib.util.source_hash calls it too, but with the key of this Python alone
except ImportError:  # a Python that is not CPython
    native = None  # type: ignore[assignment]

FINAL_MAGIC = {"3.9": 3425, "3.10": 3439, "3.11": 3495, "3.12": 3531, "3.13": 3571, "3.14": 3627, "3.15": 3666}
"""The number that each Python's bytecode begins with, from its final release on."""

SIPHASH13_SINCE = 3450
"""Python 3.11 changed the hash; a number above this one is of 3.11 or later."""

VERSION = re.compile(r"/python(3\.[0-9]+)(?:/|$)")
MANY = 5
"""From so many on, files of one folder that have the same fault are told in one line."""

MASK = (1 << 64) - 1


def bytecode(case: Case) -> Iterator[Violation]:
    """Find Python files without valid bytecode; alike ones of one layer are told together."""
    facts = case.facts
    default = interpreter(facts) or case.expected.python
    faults: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for entry in facts.files.values():
        if entry.kind == "file" and entry.path.endswith(".py") and entry.path not in case.expected.uncompilable:
            wrong = fault(facts, entry, version(entry.path) or default)
            if wrong:
                faults[entry.layer, top(entry.path), wrong].append(entry.path)
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
        fresh = found.data[8:16] == source_hash(int.from_bytes(found.data[:4], "little"), source.data)
    else:
        written = (int.from_bytes(found.data[8:12], "little"), int.from_bytes(found.data[12:16], "little"))
        fresh = written == (source.mtime & 0xFFFFFFFF, source.size & 0xFFFFFFFF)
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


def source_hash(key: int, data: bytes) -> bytes:
    """Return the hash of a source that a Python of this bytecode number, all four bytes, compares (PEP 552)."""
    if key & 0xFFFF < SIPHASH13_SINCE:
        return siphash(key, data, 2, 4)
    return native.source_hash(key, data) if native else siphash(key, data, 1, 3)


def siphash(key: int, data: bytes, rounds: int, last: int) -> bytes:
    """Return SipHash of `data` with the key (`key`, 0) as eight bytes; `rounds` per word and `last` at the end."""
    state = (key ^ 0x736F6D6570736575, 0x646F72616E646F6D, key ^ 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) // 8 * 8
    tail = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    words = [*(int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)), tail]
    for word in words:
        a, b, c, d = _mixed((*state[:3], state[3] ^ word), rounds)
        state = (a ^ word, b, c, d)
    a, b, c, d = _mixed((state[0], state[1], state[2] ^ 0xFF, state[3]), last)
    return (a ^ b ^ c ^ d).to_bytes(8, "little")


def _mixed(state: tuple[int, int, int, int], rounds: int) -> tuple[int, int, int, int]:
    a, b, c, d = state
    for _ in range(rounds):
        a = (a + b) & MASK
        b = _rotated(b, 13) ^ a
        a = _rotated(a, 32)
        c = (c + d) & MASK
        d = _rotated(d, 16) ^ c
        a = (a + d) & MASK
        d = _rotated(d, 21) ^ a
        c = (c + b) & MASK
        b = _rotated(b, 17) ^ c
        c = _rotated(c, 32)
    return a, b, c, d


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & MASK


RULES = (
    Rule(
        "valid-bytecode",
        "every Python file has bytecode that its Python takes as it is",
        bytecode,
        "compile when nothing touches the files any more: compileall --invalidation-mode unchecked-hash",
    ),
)
