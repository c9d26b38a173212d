"""The container's health check."""

import http.client
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger import probe


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace the connection by one that gives this answer, and notes what it was asked."""
    answer = SimpleNamespace(status=200, body=b"", error=None, asked=[])

    class Connection:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            self.address = f"{host}:{port}"

        def request(self, method: str, path: str) -> None:
            answer.asked.append(f"{method} {self.address}{path}")
            if answer.error:
                raise answer.error

        def getresponse(self) -> SimpleNamespace:
            return SimpleNamespace(status=answer.status, read=io.BytesIO(answer.body).read)

        def close(self) -> None:
            answer.asked.append("closed")

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    return answer


@pytest.mark.parametrize(("environ", "port"), [({}, 8000), ({"PORT": ""}, 8000), ({"PORT": "9000"}, 9000)])
def test_ready(answer: SimpleNamespace, environ: dict[str, str], port: int) -> None:
    """A ready service is healthy, on the port that gunicorn listens on."""
    assert probe.main(environ) == 0
    assert answer.asked == [f"GET 127.0.0.1:{port}/readyz", "closed"]


def test_not_ready(answer: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason that the service gives is what `docker inspect` will show."""
    answer.status, answer.body = 503, b'{"reason":"database"}\n'
    assert probe.main({}) == 1
    assert capsys.readouterr().err == '503: {"reason":"database"}\n'


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("refused"), TimeoutError("slow"), http.client.BadStatusLine("x")]
)
def test_no_answer(answer: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    """A service that does not answer is not healthy, and leaves no connection behind."""
    answer.error = error
    assert probe.main({}) == 1
    assert capsys.readouterr().err.startswith("no answer: ")
    assert answer.asked[-1] == "closed"


@pytest.mark.processes
def test_probe_does_not_import_flask() -> None:
    """A container runs the check every few seconds, and Flask alone takes longer to import than the rest."""
    code = "import ledger.probe, sys; sys.exit('flask' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    assert subprocess.run((sys.executable, "-c", code), env=environ, check=False, timeout=60).returncode == 0
