"""The test grid: what came of the tests, Python by commit (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ledger.variants import numbers

COMMITS = 30


@dataclass
class Line:
    """One commit, newest first: the newest test run of each Python, and what it is called."""

    commit: str
    label: str
    branch: str
    started: str
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """The Pythons, newest first, and a line for each commit."""

    pythons: tuple[str, ...]
    lines: tuple[Line, ...]


def make_grid(tests: Iterable[dict[str, Any]]) -> Grid:
    """Return the grid of test runs that come newest first; changes that were not committed are a line of their own."""
    lines: dict[tuple[str, bool], Line] = {}
    pythons: set[str] = set()
    for record in tests:
        git = record.get("git") or {}
        key = git.get("commit", ""), bool(git.get("dirty"))
        if key not in lines and len(lines) == COMMITS:
            continue
        mark = " with changes" if key[1] else ""
        label = f"{git.get('tag') or key[0][:8] or 'no commit'}{mark}"
        line = lines.setdefault(key, Line(key[0], label, git.get("branch") or "", record["started"]))
        python = record.get("python") or "-"
        pythons.add(python)
        line.cells.setdefault(python, record)
    ordered = sorted(pythons, key=numbers, reverse=True)
    return Grid(tuple(ordered), tuple(lines.values()))
