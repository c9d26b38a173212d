"""What people and machines get to see."""

import contextlib
import json
import logging
import os
import pty
from pathlib import Path

import pytest

from dockyard import console


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (45_600_000_000, "45.6 GB"),
        (10**15, "1000000.0 GB"),
    ],
)
def test_size(count: int, text: str) -> None:
    """Bytes in units of a thousand, never a thousand of a unit."""
    assert console.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (0.44, "0.4 s"), (12.4, "12 s"), (119, "119 s"), (200.9, "3 min 20 s")]
)
def test_duration(seconds: float, text: str) -> None:
    """Times as a person says them."""
    assert console.duration(seconds) == text


def test_progress_and_results_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress, warnings and errors go to stderr; data goes to stdout."""
    console.show_progress()
    console.log.info("working")
    console.log.warning("careful")
    console.error("broken", "mend it")
    console.as_json({"a": Path("/x"), "b": "ü"})
    console.pairs({"a": "1", "long": "2"})
    out, err = capsys.readouterr()
    assert err == "working\nWARNING careful\nERROR broken\nTIP   mend it\n"
    assert json.loads(out.partition("}\n")[0] + "}") == {"a": "/x", "b": "ü"}
    assert out.endswith("}\na     1\nlong  2\n")


def test_what_several_steps_find_out_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is marked so; another message is told, and by another program the same one again."""
    handler = console.ProgressHandler()
    for message, more in (("base: a", console.ONCE), ("base: b", console.ONCE), ("again", None)) * 2:
        handler.emit(logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **(more or {})}))
    assert capsys.readouterr().err == "base: a\nbase: b\nagain\nagain\n"
    console.ProgressHandler().emit(logging.makeLogRecord({"msg": "base: a", "levelno": logging.INFO, **console.ONCE}))
    assert capsys.readouterr().err == "base: a\n"


def test_an_error_without_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """No empty TIP."""
    console.error("broken")
    assert capsys.readouterr().err == "ERROR broken\n"


def test_table_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal: no colour, no markup read out of cells, no line cut at 80 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    console.table(("what", "size"), [("[bold]x[/bold]", "1"), ("y" * 85, "23")], title="Things", right=("size",))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out
    assert "y" * 85 in out
    assert out.splitlines()[0].strip() == "Things"


@pytest.mark.parametrize(("columns", "width"), [("", 100), ("40", 100), ("160", 160), ("wide", 100), ("-1", 100)])
def test_width_in_a_pipe(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """COLUMNS may widen a table, and nonsense in it is ignored."""
    monkeypatch.setenv("COLUMNS", columns)
    with Path(os.devnull).open("w") as stream:
        assert console.make_console(stream).width == width


def test_status_in_a_pipe_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No spinner where nothing can spin."""
    with console.status("long work"):
        pass
    assert capsys.readouterr().err == "long work\n"


@pytest.mark.parametrize(("no_color", "expected"), [(None, b"\x1b[1;31mERROR\x1b[0m broken"), ("1", b"ERROR broken")])
def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch, no_color: str | None, expected: bytes) -> None:
    """A terminal gets colour, unless NO_COLOR says that it should not."""
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        with contextlib.redirect_stderr(terminal):
            console.error("broken")
        seen = os.read(ours, 1000)
        os.close(ours)
    assert seen.rstrip() == expected
