"""What people are told fits their own project: not this repository, and not a program that they may not have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import dockyard

PACKAGE = Path(dockyard.__file__).parent
FORBIDDEN = re.compile(r"\bdocs/|\./bootstrap|how-to/|docker exec|docker builder prune|src/ledger")
"""Paths of this repository, and commands for a docker program where the private engine has none on PATH."""


def list_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module, with their lines, that are no docstrings: what may be shown to a person."""
    tree = ast.parse(source)
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Expr):
            statement.value = ast.Constant(0)  # a docstring, or the words below a name
    for found in ast.walk(tree):
        if isinstance(found, ast.Constant) and isinstance(found.value, str):
            yield found.lineno, found.value


def test_no_message_names_what_only_this_repository_has() -> None:
    """A user has the installed package alone: a page of docs/ or ./bootstrap is nothing that they could open or run."""
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {text}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, text in list_texts(file.read_text())
        if FORBIDDEN.search(text)
    ]
    assert found == []


def test_docstrings_are_no_messages() -> None:
    """They are for whoever reads the code, who has the repository."""
    source = '"""See docs/x."""\nNAME = f"see {1} docs/y"\n"""And docs/z."""\n'
    assert [text for _, text in list_texts(source) if FORBIDDEN.search(text)] == [" docs/y"]
