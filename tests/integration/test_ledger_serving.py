"""The ledger under gunicorn, as its container runs it: no engine is needed for this."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
STARTS_WITHIN = 20.0


@dataclass(frozen=True)
class Server:
    """A running gunicorn, and where its output goes."""

    process: subprocess.Popen[bytes]
    port: int
    stdout: Path
    stderr: Path

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        address = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(address, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """Return the log lines of a file; each must be a JSON object."""
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def probe(self) -> int:
        """Run the container's health check, and return its exit code."""
        environ = {"PYTHONPATH": str(SOURCE), "PORT": str(self.port), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run((sys.executable, "-m", "ledger.probe"), env=environ, check=False, timeout=20).returncode

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def _until(condition: Callable[[], bool], server: Server) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while not condition():
        if server.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"gunicorn did not get there:\n{server.stderr.read_text(encoding='utf-8')}")
        time.sleep(0.05)


def _answers(server: Server) -> bool:
    try:
        return server.get("/healthz")[0] == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _environment(folder: Path, port: int, **changes: str) -> dict[str, str]:
    """Return the environment of a container: few variables, and a home that cannot be written to."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONPATH": os.pathsep.join((str(SOURCE), str(HERE))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": str(port),
        "TMPDIR": str(folder),
        "WEB_CONCURRENCY": "2",
        **changes,
    }


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts gunicorn with the packaged settings; it is stopped after the test."""
    with ExitStack() as stack:

        def run(application: str = "ledger:create_app()", **environ: str) -> Server:
            files = [tmp_path / name for name in ("stdout", "stderr")]
            stdout, stderr = (stack.enter_context(file.open("wb")) for file in files)
            port = _free_port()
            process = subprocess.Popen(
                (sys.executable, "-m", "gunicorn", "--config", "python:ledger.gunicorn_conf", application),
                cwd="/",
                env=_environment(tmp_path, port, **environ),
                stdout=stdout,
                stderr=stderr,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            return Server(process, port, *files)

        yield run


def test_serving(start: Start, tmp_path: Path) -> None:
    """It becomes healthy and ready, logs each request as one JSON object, and stops with exit code 0."""
    server = start(LEDGER_DATABASE=str(tmp_path / "ledger.sqlite3"))
    _until(lambda: _answers(server), server)
    assert server.get("/readyz") == (200, '{"status":"ok"}\n')
    assert server.get('/nothing?quote="%22')[0] == 404
    assert server.probe() == 0
    assert server.stop() == 0
    assert server.probe() == 1
    requests = [(line["method"], line["path"], line["status"]) for line in server.lines(server.stdout)]
    assert ("GET", "/readyz", 200) in requests
    assert ("GET", '/nothing?quote="%22', 404) in requests
    assert "Starting gunicorn" in server.lines(server.stderr)[0]["message"]


def test_request_in_flight_is_answered(start: Start, tmp_path: Path) -> None:
    """SIGTERM lets a request that has begun finish, and the exit code is 0."""
    server = start("slow_ledger:create_slow_app()", LEDGER_DATABASE=str(tmp_path / "ledger.sqlite3"))
    _until(lambda: _answers(server), server)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(server.get, "/slow")
        _until(lambda: "slow request began" in server.stderr.read_text(encoding="utf-8"), server)
        assert server.stop() == 0
        assert slow.result() == (200, "answered")


def test_nothing_but_the_temporary_folder_is_written(start: Start, tmp_path: Path) -> None:
    """Without a setting the database is in the temporary folder, which is said once for all workers."""
    if os.access("/data", os.W_OK):
        pytest.skip("this machine has a writable /data, which would be used")
    server = start()
    _until(lambda: _answers(server), server)
    assert server.get("/readyz")[0] == 200
    assert (tmp_path / f"ledger-{os.getuid()}" / "ledger.sqlite3").exists()
    assert server.stop() == 0
    said = [line for line in server.lines(server.stderr) if "may not outlive the container" in line["message"]]
    assert len(said) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"stdout", "stderr", f"ledger-{os.getuid()}"}


def test_mistake_in_the_settings(start: Start) -> None:
    """A wrong setting ends the start with exit code 2 and one line that says why."""
    server = start(LEDGER_TOKEN_FILE="/nonexistent/token")
    assert server.process.wait(timeout=20) == 2
    assert "cannot be read" in server.lines(server.stderr)[-1]["message"]
    assert "Traceback" not in server.stderr.read_text(encoding="utf-8")
