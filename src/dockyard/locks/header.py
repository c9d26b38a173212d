"""The comment at the top of a lock: what it was made from, so that a check needs nothing but the files.

    # Made by Dockyard from requirements/test.in: change that, then run `invoke lock`.
    # for: Python 3.13, linux, all hashes
    # by: pip-tools 7.6.2
    # with: requirements/3.13/production.txt sha256:...
    # from: requirements/test.in 6a1f 0c2e
    # from: requirements/base.in 0f3e
    # inputs: sha256:...
    # pins: 91be 77d0 ...
    # built from source: sailmaker on linux/amd64, linux/arm64
    # body: sha256:...

`inputs` and `body` are the fingerprints that count. The four-digit marks, one for each line of an input and
for each pin of the lock, only tell a person which line it was that changed.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from typing import NamedTuple

from dockyard.locks.inputs import Input

MARKS_PER_LINE = 16
FIELDS = {"for:", "by:", "from:", "with:", "inputs:", "pins:", "built", "body:"}
BUILT = "built from source:"
MADE_OF = ("pins:", BUILT, "body:")
"""How the fields begin that tell of the lock itself, and not of what it was made from."""


class Made(NamedTuple):
    """What a lock is made from, and by what: everything that its header says before the pins."""

    target: str
    compiler: str
    inputs: tuple[Input, ...]
    sources: tuple[str, ...]
    """The header's fields for the inputs, as `sources` returns them."""

    constraints: tuple[tuple[str, str], ...]
    """The locks that this one agrees with: their paths and the fingerprints of their bodies."""


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a text, with the name of the algorithm before it."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def mark(line: str) -> str:
    """Return four hexadecimal digits for a line: enough to find which one changed."""
    return sha256(line.encode()).hexdigest()[:4]


def sources(inputs: Iterable[Input]) -> tuple[str, ...]:
    """Return the fields for a closure: a mark for each line, and one fingerprint of names, lines and order."""
    rows, parts = list[str](), list[str]()
    for file in inputs:
        texts = [line.text for line in file.lines]
        rows += _marked(f"from: {file.path}", texts)
        parts += [f"\n{file.path}", *texts]
    whole = fingerprint("\n".join(parts))
    return (*rows, f"inputs: {whole}")


def origin(made: Made) -> list[str]:
    """Return the fields of a header that say what the lock was made from."""
    constraints = (f"with: {path} {body}" for path, body in made.constraints)
    return [f"for: {made.target}", f"by: {made.compiler}", *constraints, *made.sources]


def render(made: Made, canonical_body: str, sources: Iterable[str] = ()) -> str:
    """Return the header of a lock as comment lines; `sources` name what is built, and where."""
    built = [f"{BUILT} {source}" for source in sources]
    marks = _marked("pins:", canonical_body.split("\n"))
    rows = [*origin(made), *marks, *built, f"body: {body(canonical_body, built)}"]
    title = f"Made by Dockyard from {made.inputs[0].path}: change that, then run `invoke lock`."
    return "".join(f"# {row}\n" for row in (title, *rows))


def body(canonical_body: str, fields: Iterable[str]) -> str:
    """Return the fingerprint of a lock's pins, and of what its fields say is built from source."""
    return fingerprint("\n".join([canonical_body, *(row for row in fields if row.startswith(BUILT))]))


def built(fields: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the platforms on which each package is built from source, as a header's fields say."""
    rows = (row.removeprefix(BUILT).strip().partition(" on ") for row in fields if row.startswith(BUILT))
    return {name: tuple(platforms.split(", ")) for name, _, platforms in rows}


def read(content: bytes) -> list[tuple[int, str]]:
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


def _marked(start: str, lines: Sequence[str]) -> list[str]:
    marks = [mark(line) for line in lines]
    rows = [marks[at : at + MARKS_PER_LINE] for at in range(0, len(marks), MARKS_PER_LINE)] or [[]]
    return [" ".join([start, *row]) for row in rows]
