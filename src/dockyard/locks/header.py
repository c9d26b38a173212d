"""The comment at the top of a lock: what it was made from, so that a check needs nothing but the files.

    # Made by Dockyard from requirements/test.in: change that, then run `invoke lock`.
    # for: Python 3.13, linux, all hashes
    # by: pip-tools 7.6.2
    # with: requirements/3.13/production.txt sha256:...
    # from: requirements/test.in sha256:...
    # from: requirements/base.in sha256:...
    # built from source: sailmaker on linux/amd64, linux/arm64
    # body: sha256:...

Which line of a file has changed is what version control shows: a mark for each would be in every difference of locks.
"""

from collections.abc import Iterable
from hashlib import sha256
from io import BytesIO
from typing import NamedTuple

from dockyard.locks.inputs import Input

FIELDS = {"for:", "by:", "from:", "with:", "built", "body:"}
BUILT = "built from source:"
MADE_OF = (BUILT, "body:")
"""How the fields begin that tell of the lock itself, and not of what it was made from."""


class Made(NamedTuple):
    """What a lock is made from, and by what: everything that its header says before the pins."""

    target: str
    compiler: str
    inputs: tuple[Input, ...]
    sources: tuple[str, ...]
    """The header's fields for the inputs, as `source_fields` returns them."""

    constraints: tuple[tuple[str, str], ...]
    """The locks that this one agrees with: their paths and the fingerprints of their bodies."""


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a text, with the name of the algorithm before it."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def source_fields(inputs: Iterable[Input]) -> tuple[str, ...]:
    """Return the fields for a closure, in the order in which it is read: each file with a fingerprint of its lines."""
    prints = ((file.path, fingerprint("\n".join(line.text for line in file.lines))) for file in inputs)
    return tuple(f"from: {path} {digest}" for path, digest in prints)


def origin_fields(made: Made) -> list[str]:
    """Return the fields of a header that say what the lock was made from."""
    constraints = (f"with: {path} {body}" for path, body in made.constraints)
    return [f"for: {made.target}", f"by: {made.compiler}", *constraints, *made.sources]


def render_header(made: Made, canonical_body: str, sources: Iterable[str] = ()) -> str:
    """Return the header of a lock as comment lines; `sources` name what is built, and where."""
    built = [f"{BUILT} {source}" for source in sources]
    rows = [*origin_fields(made), *built, f"body: {fingerprint_body(canonical_body, built)}"]
    title = f"Made by Dockyard from {made.inputs[0].path}: change that, then run `invoke lock`."
    return "".join(f"# {row}\n" for row in (title, *rows))


def fingerprint_body(canonical_body: str, fields: Iterable[str]) -> str:
    """Return the fingerprint of a lock's pins, and of what its fields say is built from source."""
    return fingerprint("\n".join([canonical_body, *(row for row in fields if row.startswith(BUILT))]))


def read_built(fields: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the platforms on which each package is built from source, as a header's fields say."""
    rows = (row.removeprefix(BUILT).strip().partition(" on ") for row in fields if row.startswith(BUILT))
    return {name: tuple(platforms.split(", ")) for name, _, platforms in rows}


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
