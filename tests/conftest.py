"""Fixtures for every test: no unit test may start a process or reach the network unless it says so."""

import itertools
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from dockyard.settings import Settings

from . import messages
from .progress import LINES, Keeper

RECORDER = messages.Recorder()
RECORDER.install()
NUMBERS = itertools.count()

# A machine busy with other containers draws examples slowly: that says nothing of the code.
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shared")


class UnplannedProcess(AssertionError):
    """A unit test started a program that it had not planned."""


class UnplannedConnection(AssertionError):
    """A unit test reached for the network."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project's tests."""
    parser.addoption("--edits", type=int, default=300, help="how many random edits of each kind of file are tried")
    parser.addoption("--soak", action="store_true", help="run the long tests of deploys too")
    parser.addoption("--write-messages", action="store_true", help="write docs/reference/messages.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out files in the order of their collection, and not those with most tests first."""
    config.option.loadscopereorder = False
    # Started by `nohup … &`, programs ignore SIGINT, and so would all that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a test to the errors that docs/reference/messages.md names it for."""
    RECORDER.made.clear()
    result = yield
    missing = messages.expected(item.nodeid)
    if missing or item.config.getoption("--write-messages"):
        missing -= RECORDER.finish(item.nodeid)
    assert not missing, f"docs/reference/messages.md names this test for {missing}: run it with --write-messages"
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of messages where that was asked for."""
    if session.config.getoption("--write-messages"):
        text = messages.write_page(messages.read_sites(), messages.read_page(), RECORDER.by_test)
        messages.PAGE.write_text(text, encoding="utf-8")


@pytest.fixture(autouse=True)
def nothing_unplanned(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Make any process or connection of a unit test fail loudly, and give it an empty cache of its own.

    Integration tests may have both, and share the user's cache.
    """
    if request.node.get_closest_marker("integration"):
        return
    # Made by the few tests that need it: a folder for each of thousands takes longer than many a test.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"cache-{next(NUMBERS)}"))

    def no_process(*arguments: Any, **_options: Any) -> None:
        raise UnplannedProcess(f"a unit test started {arguments[0] if arguments else 'a process'!r}")

    processes = bool(request.node.get_closest_marker("processes"))
    really_connect = socket.socket.connect

    def no_connection(opened: socket.socket, address: Any) -> None:
        if processes and opened.family == socket.AF_UNIX:  # how multiprocessing talks to its own workers
            really_connect(opened, address)
            return
        raise UnplannedConnection(f"a unit test connected to {address!r}")

    if not processes:
        monkeypatch.setattr(subprocess.Popen, "__init__", no_process)
    monkeypatch.setattr(socket.socket, "connect", no_connection)


@pytest.fixture(autouse=True)
def said() -> Iterator[list[str]]:
    """Return the lines of progress that Dockyard tells a person, as they come."""
    LINES.clear()
    logger, keeper = logging.getLogger("dockyard"), Keeper()
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    yield LINES
    logger.removeHandler(keeper)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a small project in a folder of its own."""
    return Settings(root=tmp_path, app="shop:app", image="shop", pythons=("3.12", "3.13"), python="3.13", stack="shop")


def kept_records(root: Path) -> list[dict[str, Any]]:
    """Return the run records that a project keeps, the oldest first."""
    files = sorted((root / ".dockyard" / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text("utf-8")) for path in files]


def replace_everywhere(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """Replace a function of this name in every module of Dockyard that holds it.

    For what has no caller who could hand it in: a task finds its project and engine, a run its commit.
    """
    for module in [module for key, module in sys.modules.items() if key.startswith("dockyard.")]:
        if callable(vars(module).get(name)):
            monkeypatch.setattr(module, name, value)


def keep_temporary_files(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Let temporary files be made in a folder; None asks the environment again. tempfile keeps its first answer."""
    monkeypatch.setattr(tempfile, "tempdir", None if folder is None else str(folder))


@pytest.fixture
def edits(request: pytest.FixtureRequest) -> int:
    """Return how many random edits of a file are to be tried."""
    return int(request.config.getoption("--edits"))
