"""Say in which line a lock and what it was made from have parted; loaded only once they have."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher

from dockyard.locks.check import Problem
from dockyard.locks.header import MADE_OF, Made, mark, origin
from dockyard.locks.inputs import Input
from dockyard.locks.lines import GAP, Line, logical_lines

Fields = Sequence[tuple[int, str]]


def body_problems(path: str, content: bytes, fields: Fields) -> list[Problem]:
    """Return the pins of a lock that are not as they were written."""
    recorded = [digits for _, row in fields if row.startswith("pins:") for digits in row.split()[1:]]
    lines = [Line(line.number, GAP.sub(" ", line.text)) for line in logical_lines(content.decode("utf-8-sig"))]
    end = content.count(b"\n") + 1
    found = [Problem(path, number, _edited(text)) for number, text in _changed(recorded, lines, end)]
    stamp = next((number for number, row in fields if row.startswith("body:")), 1)
    return found or [Problem(path, stamp, "what it says is built from source, or its fingerprint, was edited by hand")]


def origin_problems(path: str, fields: Fields, made: Made) -> list[Problem]:
    """Return what has changed since a lock was made: inputs, Python, platform, compiler, other locks."""
    found = [
        *_field(path, fields, "for:", made.target, "was made for"),
        *_field(path, fields, "by:", made.compiler, "was made by"),
        *_inputs(fields, made.inputs),
        *_constraints(path, fields, made),
    ]
    return found or [
        Problem(path, _odd(fields, origin(made)), "its header does not fit its inputs: it was edited by hand")
    ]


def _field(path: str, fields: Fields, name: str, wanted: str, verb: str) -> Iterator[Problem]:
    rows = [(number, row.removeprefix(name).strip()) for number, row in fields if row.startswith(name)]
    if [row for _, row in rows] != [wanted]:
        number, said = rows[0] if rows else (1, "nobody knows what")
        yield Problem(path, number, f"{verb} {said}, and should be {verb.removeprefix('was ')} {wanted}")


def _inputs(fields: Fields, inputs: Iterable[Input]) -> Iterator[Problem]:
    for file in inputs:
        start = f"from: {file.path} "
        rows = [row.removeprefix(start).split() for _, row in fields if row.startswith(start)]
        recorded = [digits for row in rows for digits in row]
        written = dict(logical_lines(file.text))
        for number, text in _changed(recorded, file.lines, file.text.count("\n") + 1) if rows else ():
            what = "a line was taken out" if text is None else f"`{written[number]}` is new or changed"
            yield Problem(file.path, number, f"{what} since the locks were made")


def _constraints(path: str, fields: Fields, made: Made) -> Iterator[Problem]:
    rows = {
        row.split()[1]: (number, row.split()[-1]) for number, row in fields if row.startswith("with:") and " " in row
    }
    for other, body in made.constraints:
        number, said = rows.get(other, (1, ""))
        if said != body:
            yield Problem(path, number, f"{other} has changed since this lock was made to agree with it")


def _changed(recorded: Sequence[str], lines: Sequence[Line], end: int) -> Iterator[tuple[int, str | None]]:
    """Yield the number and text of each line that has no mark, and the place of each mark that has no line."""
    now = [mark(line.text) for line in lines]
    for kind, start, stop, first, last in SequenceMatcher(None, recorded, now, autojunk=False).get_opcodes():
        if kind in ("insert", "replace"):
            yield from ((line.number, line.text) for line in lines[first:last])
        if kind == "delete" or (kind == "replace" and stop - start > last - first):
            yield (lines[last].number if last < len(lines) else end), None


def _odd(fields: Fields, wanted: Sequence[str]) -> int:
    return next((number for number, row in fields if row not in wanted and not row.startswith(MADE_OF)), 1)


def _edited(text: str | None) -> str:
    return (
        f"{text.split(' ', maxsplit=1)[0]} or a hash of it was edited by hand"
        if text
        else "a pin was taken out by hand"
    )
