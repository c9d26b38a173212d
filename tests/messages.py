"""Every error that Dockyard raises, read from its source, and the test that brings each about.

`pytest --write-messages` notes which tests construct which errors, and writes docs/reference/messages.md: a table that
is kept with the source. An error is known by its module, its function and the constant part of its message, so that
it stays the same when lines move. A test that is named there must go on bringing its error about, or it fails.
"""

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, TypeGuard

import dockyard
from dockyard.errors import DockyardError, ExitCode

TESTS = Path(__file__).parent
SOURCE = Path(dockyard.__file__).parent
PAGE = TESTS.parent / "docs" / "reference" / "messages.md"
HEAD = """\
# Messages

Every error that Dockyard can end with: what it says, what it advises, its [exit code](exit-codes.md), the function that
says it, and the test that brings it about. `{…}` stands for what differs from case to case.

`pytest -p no:xdist --write-messages tests/test_messages.py` writes this page from the source, and names the tests of
that run that bring an error about: give it those of what you changed. A test that is named here has to go on doing so.
"""
COLUMNS = "| message | what to do | exit | from | test |\n| --- | --- | --- | --- | --- |\n"

Identity = tuple[str, str]
"""Where an error comes from, and its message as the page shows it."""


@dataclass(frozen=True)
class Kind:
    """A class of errors: its exit code, the names of what it is called with, and what it makes its texts of."""

    code: int
    parameters: tuple[str, ...]
    message: ast.expr
    hint: ast.expr


@dataclass(frozen=True)
class Site:
    """One place that makes an error: `lines` are the first and last of the call in its file."""

    path: Path
    lines: tuple[int, int]
    place: str
    message: str
    hint: str
    code: int

    @property
    def identity(self) -> Identity:
        """What stays the same when lines move."""
        return self.place, self.message


PLAIN = Kind(int(ExitCode.FAILED), ("message", "hint"), ast.Name("message"), ast.Name("hint"))


def read_kinds(trees: Iterable[ast.Module]) -> dict[str, Kind]:
    """Return the classes of the family by name."""
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    kinds: dict[str, Kind] = {}
    while True:
        known = len(kinds)
        for node in classes:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            parents = [kinds[base] for base in bases if base in kinds]
            if node.name not in kinds and (parents or node.name == DockyardError.__name__):
                kinds[node.name] = read_kind(node, parents[0] if parents else PLAIN)
        if len(kinds) == known:
            return kinds


def read_kind(node: ast.ClassDef, parent: Kind) -> Kind:
    """Read one class: what it does not say itself, its parent does."""
    kind = parent
    for part in node.body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "code":
            kind = replace(kind, code=int(ExitCode[ast.unparse(part.value).rpartition(".")[2]]))
        if isinstance(part, ast.FunctionDef) and part.name == "__init__" and parent is not PLAIN:
            message, *hint = next(call.args for call in ast.walk(part) if is_call(call, "super().__init__"))
            parameters = tuple(argument.arg for argument in part.args.args[1:])
            kind = replace(kind, parameters=parameters, message=message, hint=hint[0] if hint else ast.Constant(""))
    return kind


@cache
def read_sites(source: Path = SOURCE) -> tuple[Site, ...]:
    """Return every place in a package that makes an error of the family."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(source.rglob("*.py"))}
    kinds = read_kinds(trees.values())
    found: list[Site] = []
    for path, tree in trees.items():
        module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for function, call in find_calls(tree, kinds, ()):
            kind = kinds[ast.unparse(call.func)]
            known = assignments_before(tree, call)
            given = dict.fromkeys(kind.parameters, "") | {
                name: show_text(value, known)
                for name, value in (*zip(kind.parameters, call.args, strict=False), *named_arguments(call))
            }
            message, hint = (show_text(text, given) for text in (kind.message, kind.hint))
            lines = (call.lineno, call.end_lineno or call.lineno)
            found.append(Site(path, lines, ".".join((module, *function)), message, hint, kind.code))
    return tuple(found)


def is_call(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Tell whether a node calls what is written so."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name


def named_arguments(call: ast.Call) -> list[tuple[str, ast.expr]]:
    """Return the arguments that a call gives by name."""
    return [(word.arg, word.value) for word in call.keywords if word.arg]


def assignments_before(tree: ast.Module, call: ast.Call) -> dict[str, str]:
    """Return what the names of the innermost function around a call were last set to before it, as text."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    around = [one for one in functions if one.lineno <= call.lineno <= (one.end_lineno or 0)]
    known: dict[str, str] = {}
    for node in ast.walk(max(around, key=lambda one: one.lineno, default=ast.Module([], []))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.lineno < call.lineno:
            known[node.targets[0].id] = show_text(node.value)
    return known


def find_calls(
    node: ast.AST, kinds: Mapping[str, Kind], names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], ast.Call]]:
    """Yield each call of a class of the family with the names of the functions and classes around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in kinds:
            yield names, child
        inner = (child.name,) if isinstance(child, ast.FunctionDef | ast.ClassDef) else ()
        yield from find_calls(child, kinds, (*names, *inner))


def show_text(node: ast.expr, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return an expression as the page shows it: constant text, names that are known, and `{…}` for the rest."""
    match node:
        case ast.Constant(value=value):
            return str(value).replace("|", "\\|").replace("\n", " ⏎ ")
        case ast.Name(id=name) | ast.FormattedValue(value=ast.Name(id=name)):
            return known.get(name, "{…}")
        case ast.JoinedStr(values=parts):
            return "".join(show_text(part, known) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return show_text(left, known) + show_text(right, known)
        case ast.IfExp(body=body, orelse=orelse):
            return " / ".join(filter(None, (show_text(body, known), show_text(orelse, known))))
        case _:
            return "{…}"


@dataclass
class Recorder:
    """Which errors were made while a test ran, by file and line."""

    made: set[tuple[str, int]] = field(default_factory=set)
    by_test: dict[str, set[Identity]] = field(default_factory=dict)

    def install(self) -> None:
        """Take notes whenever an error of the family is made."""
        plain = DockyardError.__init__

        def noting(error: DockyardError, *arguments: Any, **more: Any) -> None:
            frame: FrameType | None = sys._getframe(1)
            while frame and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is error:
                frame = frame.f_back
            if frame:
                self.made.add((frame.f_code.co_filename, frame.f_lineno))
            plain(error, *arguments, **more)

        DockyardError.__init__ = noting  # type: ignore[assignment,method-assign]

    def finish(self, test: str) -> set[Identity]:
        """Return the errors of a test that has ended, and keep them."""
        found = {site.identity for file, line in self.made for site in sites_at(file, line)}
        self.by_test[test] = found
        return found


@cache
def sites_at(file: str, line: int) -> tuple[Site, ...]:
    """Return the innermost site around a line of a file."""
    around = [site for site in index_sites().get(file, ()) if site.lines[0] <= line <= site.lines[1]]
    return tuple(sorted(around, key=lambda site: site.lines[1] - site.lines[0])[:1])


@cache
def index_sites() -> Mapping[str, list[Site]]:
    """Return the sites of each file."""
    found: dict[str, list[Site]] = defaultdict(list)
    for site in read_sites():
        found[str(site.path)].append(site)
    return found


@cache
def read_page(page: Path = PAGE) -> Mapping[Identity, str]:
    """Return the test that the page names for each error; nothing where there is none."""
    found: dict[Identity, str] = {}
    for line in page.read_text("utf-8").splitlines() if page.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 5 and cells[0] not in ("message", "---"):
            message, _, _, place, test = cells
            found[place.strip("`"), message] = test.strip("`").removeprefix("none")
    return found


@cache
def expected(test: str) -> frozenset[Identity]:
    """Return the errors that a test is named for, of those that are still in the source."""
    return frozenset(identity for identity, named in read_page().items() if named == test and identity in made_now())


@cache
def made_now() -> frozenset[Identity]:
    """Return all errors of the source."""
    return frozenset(site.identity for site in read_sites())


def has_test(test: str) -> bool:
    """Tell whether a test of this name is still there."""
    file, _, name = test.partition("::")
    path = TESTS.parent / file
    function = re.escape(name.partition("[")[0].rpartition("::")[2])
    return path.is_file() and re.search(rf"def {function}\b", path.read_text("utf-8")) is not None


def choose_test(old: str, by: set[str], ran: set[str], weight: Mapping[str, int]) -> str:
    """Return the test to name for an error: the one that was named if it still serves, else the plainest that does."""
    if old in by or (not by and old and old not in ran and has_test(old)):
        return old
    return min(by, key=lambda test: ("[" in test, weight[test], len(test), test), default="")


def write_page(sites: Iterable[Site], old: Mapping[Identity, str], by_test: Mapping[str, set[Identity]]) -> str:
    """Return the page, with the tests that were seen to bring each error about."""
    by: dict[Identity, set[str]] = defaultdict(set)
    for test, identities in by_test.items():
        for identity in identities:
            by[identity].add(test)
    weight = {test: len(identities) for test, identities in by_test.items()}
    times = Counter(message for _, message in old)
    moved = {message: test for (_, message), test in old.items() if times[message] == 1}
    rows: dict[str, dict[Identity, str]] = defaultdict(dict)
    for site in sites:
        named = old.get(site.identity) or moved.get(site.message, "")
        test = choose_test(named, by[site.identity], set(by_test), weight)
        shown = f"`{test}`" if test else "none"
        row = f"| {site.message} | {site.hint} | {site.code} | `{site.place}` | {shown} |\n"
        rows[site.place.partition(".")[0]][site.identity] = row
    tables = [
        f"\n## {room}\n\n{COLUMNS}{''.join(rows[room][key] for key in sorted(rows[room]))}" for room in sorted(rows)
    ]
    return HEAD + "".join(tables)
