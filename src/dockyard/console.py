"""Show people and machines what happened: progress and errors on stderr, results on stdout."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger("dockyard")
ONCE = {"once": True}
"""The `extra` of a message that is printed once, however often it is logged."""
NARROWEST = 100
"""Columns that a table may use where the output is no terminal and so has no width of its own."""


class ProgressHandler(logging.Handler):
    """Print what is logged to stderr, one line each, with a word before what a person should not miss.

    What several steps of a command find out anew is logged with ONCE, and printed once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record to the stderr of this moment, which tests and Invoke may replace."""
        if hasattr(record, "once"):
            if record.getMessage() in self.told:
                return
            self.told.add(record.getMessage())
        mark = f"{_paint(record.levelname, '33')} " if record.levelno >= logging.WARNING else ""
        print(f"{mark}{name_commands(record.getMessage())}", file=sys.stderr, flush=True)


def show_progress() -> None:
    """Show what Dockyard logs to the person at the terminal; called by whoever stands between the two."""
    if not any(isinstance(handler, ProgressHandler) for handler in log.handlers):
        log.addHandler(ProgressHandler())
    log.setLevel(logging.INFO)
    log.propagate = False  # nox has a handler of its own at the root: each line would be told twice


def error(message: str, hint: str = "") -> None:
    """Print what went wrong and, where there is one, what to do next."""
    print(f"{_paint('ERROR', '31')} {name_commands(message)}", file=sys.stderr, flush=True)
    if hint:
        print(f"{_paint('TIP', '36')}   {name_commands(hint)}", file=sys.stderr, flush=True)


def find_program() -> str:
    """Return the program that runs tasks here: the one that a person typed, else Invoke where there is a tasks.py."""
    typed = Path(sys.argv[0]).name
    if typed in {"dockyard", "invoke"}:
        return typed
    return "invoke" if typed == "inv" or Path("tasks.py").exists() else "dockyard"


def name_commands(text: str) -> str:
    """Return a text whose commands, written as `invoke lock`, are those of the program that a person has."""
    return re.sub(r"(?<![\w/.-])invoke (?=[a-z])", f"{find_program()} ", text)


def as_json(value: Any) -> None:
    """Print a value as JSON to stdout, for machines; dataclasses become objects with their fields' names."""

    def encode(one: object) -> object:
        return vars(one) if is_dataclass(one) else str(one)

    print(json.dumps(value, indent=2, ensure_ascii=False, default=encode))


def tell(value: Any, columns: Sequence[str], rows: Iterable[Sequence[object]], *, json: bool, **looks: Any) -> None:
    """Print a value as JSON where `json` is set, else what people want to know of it as a table."""
    if json:
        as_json(value)
    else:
        table(columns, rows, **looks)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Iterable[str] = (),
    styles: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print a table to stdout; the columns named in `right` hold numbers. Cells are plain text, never markup.

    `styles` says how cells that are exactly one of its words look on a terminal with colours.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for column in columns:
        numeric = column in set(right)
        made.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        made.add_row(*(Text(name_commands(str(cell)), styles.get(str(cell), "")) for cell in row))
    make_console(sys.stdout).print(made)


def prepare() -> None:
    """Import what a table needs, so that it can be printed at once later."""
    import rich.box
    import rich.console
    import rich.table
    import rich.text  # noqa: F401


@contextmanager
def status(message: str) -> Iterator[None]:
    """Show that long work is going on: a spinner on a terminal, one line elsewhere."""
    if not sys.stderr.isatty():
        log.info(message)
        yield
        return
    with make_console(sys.stderr).status(message):
        yield


def make_console(stream: TextIO) -> "Console":
    """Return a rich console for a stream; it obeys NO_COLOR and plain terminals."""
    from rich.console import Console

    asked = os.environ.get("COLUMNS", "")
    width = None if stream.isatty() else max(NARROWEST, int(asked) if asked.isdecimal() else 0)
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def size(count: int) -> str:
    """Return a number of bytes as a person reads it, in units of 1,000: 1234567 is '1.2 MB'."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount, 1) < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return a time as a person reads it: '0.4 s', '12 s', '3 min 20 s'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def pairs(values: Mapping[str, str]) -> None:
    """Print names and values as two columns to stdout."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {value}")


def _paint(word: str, code: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    return word if plain else f"\x1b[1;{code}m{word}\x1b[0m"
