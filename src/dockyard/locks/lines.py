"""Read requirements files as pip does, and reduce them to what counts: comments and spacing do not."""

import re
from collections.abc import Iterator
from typing import NamedTuple

COMMENT = re.compile(r"(^|\s+)#.*$")
TOKEN = re.compile(r"===|==|~=|!=|<=|>=|[<>,;()\[\]]|'[^']*'|\"[^\"]*\"|[^\s<>=!~,;()\[\]'\"]+|\S", re.ASCII)
GAP = re.compile(r"[ \t]+")
CONTINUED, JOINED = b" \\\n    --hash=", b" --hash="
ODD = [bytes([code]) for code in (9, 11, 12, 13, 28, 29, 30, 31, 92)]
"""What a lock as Dockyard writes it never holds: other spaces and line ends, and a backslash that joins nothing."""


class Line(NamedTuple):
    """One requirement or option: the number of its first line in the file, from 1, and what it says."""

    number: int
    text: str


def logical_lines(text: str) -> Iterator[Line]:
    """Yield the lines that pip would act on: joined at backslashes, without comments and blank lines.

    A comment ends a continued line, as it does in pip.
    """
    start, parts = 0, list[str]()
    for number, physical in enumerate(text.splitlines(), 1):
        start = start if parts else number
        comment = COMMENT.match(physical)
        if physical.endswith("\\") and not comment:
            parts.append(physical.strip("\\"))
            continue
        parts.append(f" {physical}" if comment else physical)
        yield from _line(start, parts)
        parts = []
    yield from _line(start, parts)


def _line(number: int, parts: list[str]) -> Iterator[Line]:
    text = COMMENT.sub("", "".join(parts)).strip()
    if text:
        yield Line(number, text)


def spaced(text: str) -> str:
    """Return a requirement with its spacing made uniform; two that differ in more than spacing stay apart.

    Spaces inside quotes are kept. In options and addresses only the length of a gap is meaningless.
    """
    if text.startswith("-") or any(sign in text for sign in ("@", "://", " --", "\t--")):
        return GAP.sub(" ", text)
    return " ".join(TOKEN.findall(text))


def canonical(content: bytes) -> str:
    """Return what counts in a lock: its logical lines with single spaces; raise UnicodeDecodeError."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    return _regular(content) or "\n".join(GAP.sub(" ", line.text) for line in logical_lines(content.decode()))


def _regular(content: bytes) -> str:
    """Return the canonical form of a lock laid out as Dockyard writes it, or nothing; twenty times as fast."""
    joined = content.replace(CONTINUED, JOINED)
    hashes = (len(content) - len(joined)) // (len(CONTINUED) - len(JOINED))
    if not joined.isascii() or any(odd in joined for odd in ODD):
        return ""
    lines = [line for line in map(bytes.strip, joined.split(b"\n")) if line]
    kept = b"\n".join([line for line in lines if line[0] != 35])
    if any(JOINED in line for line in lines if line[0] == 35):  # a comment cannot be continued
        return ""
    plain = kept.count(b" ") == hashes or not (b"  " in kept or b" #" in kept)
    return kept.decode("ascii") if plain else ""
