"""Gunicorn's settings, without starting it."""

import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from ledger import gunicorn_conf


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Start from an environment without our variables, and read the module again afterwards."""
    names = ("PORT", "WEB_CONCURRENCY", "LEDGER_DATABASE", "DATABASE_URL", "LEDGER_TOKEN", "LEDGER_TOKEN_FILE")
    for name in (*names, "PROMETHEUS_MULTIPROC_DIR"):
        # Set first, so that a variable which the code under test adds is taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield monkeypatch
    monkeypatch.undo()
    importlib.reload(gunicorn_conf)


def test_gunicorn_accepts_every_setting(environ: pytest.MonkeyPatch) -> None:
    """Each public name of the module is a setting that this gunicorn knows, and its value is valid."""
    importlib.reload(gunicorn_conf)
    known = Config()
    names = {name for name in vars(gunicorn_conf) if name in known.settings}
    for name in names:
        known.set(name, getattr(gunicorn_conf, name))
    assert names == {
        "accesslog",
        "bind",
        "child_exit",
        "control_socket_disable",
        "errorlog",
        "graceful_timeout",
        "logger_class",
        "on_starting",
        "preload_app",
        "threads",
        "worker_class",
        "worker_tmp_dir",
        "workers",
    }
    assert known.address == [("0.0.0.0", 8000)]
    assert known.worker_class_str == "gthread"
    assert known.control_socket_disable is True
    assert known.preload_app is False


def test_environment_decides(environ: pytest.MonkeyPatch) -> None:
    """PORT and WEB_CONCURRENCY override what the container would suggest."""
    environ.setenv("PORT", "9000")
    environ.setenv("WEB_CONCURRENCY", "3")
    importlib.reload(gunicorn_conf)
    assert (gunicorn_conf.bind, gunicorn_conf.workers) == ("0.0.0.0:9000", 3)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", ""])
def test_bad_port(port: str) -> None:
    """A port that is none is refused by name."""
    with pytest.raises(ValueError, match="PORT must be a number"):
        gunicorn_conf.address(port)


def test_heartbeat_folder(tmp_path: Path) -> None:
    """Shared memory is used where there is some."""
    assert gunicorn_conf.heartbeat_folder(tmp_path) == str(tmp_path)
    assert gunicorn_conf.heartbeat_folder(tmp_path / "absent") is None


def test_starting_makes_a_sqlite_file(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A start with no set-up has its database before the first worker, and the metrics have their folder."""
    environ.setenv("LEDGER_DATABASE", str(tmp_path / "ledger.sqlite3"))
    environ.setattr(gunicorn_conf, "worker_tmp_dir", str(tmp_path))
    gunicorn_conf.on_starting(SimpleNamespace(log=None))
    assert (tmp_path / "ledger.sqlite3").exists()
    assert Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_relative_to(tmp_path)


def test_start_without_a_volume_is_told(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs that may not outlive the container are no surprise."""
    environ.setattr(gunicorn_conf, "worker_tmp_dir", str(tmp_path))
    environ.setattr(tempfile, "tempdir", str(tmp_path))
    lines: list[str] = []
    log = SimpleNamespace(warning=lambda message, *args: lines.append(message % args))
    gunicorn_conf.on_starting(SimpleNamespace(log=log))
    file = tmp_path / f"ledger-{os.getuid()}" / "ledger.sqlite3"
    if not os.access("/data", os.W_OK):
        assert lines == [f"/data is not writable: runs are kept in {file} and may not outlive the container"]


def test_mistake_in_the_settings_stops_the_start(environ: pytest.MonkeyPatch) -> None:
    """One line says what is wrong, and the exit code is that of a usage error."""
    environ.setenv("LEDGER_TOKEN", "a")
    environ.setenv("LEDGER_TOKEN_FILE", "b")
    lines: list[str] = []
    log = SimpleNamespace(error=lambda message, *args: lines.append(message % args))
    with pytest.raises(SystemExit) as stopped:
        gunicorn_conf.on_starting(SimpleNamespace(log=log))
    assert stopped.value.code == 2
    assert lines == ["LEDGER_TOKEN and LEDGER_TOKEN_FILE are both set: keep one of them, preferably the file"]
