"""The doctor on this very machine: it tells the truth, ends in time, and changes nothing."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard.doctor import FAIL, LIMIT, WARN, Row, examine
from dockyard.engine.client import Engine
from dockyard.process import Command, Completed, capture
from dockyard.settings import Settings

ROOT = Path(__file__).parents[2]


def invoke(*arguments: str, cwd: Path = ROOT, **environment: str | None) -> Completed:
    """Run Invoke as a person does."""
    search = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    command = (sys.executable, "-m", "invoke", *arguments)
    return capture(Command(command, cwd=cwd, env={**environment, "PYTHONPATH": search}, timeout=60), check=False)


def examined(settings: Settings, engine: Engine, **environment: str) -> dict[str, Row]:
    """Return the doctor's rows by their checks, on the engine that the tests use."""
    # An embedded engine is found as a person's shell would find it: without its environment.
    known = {} if engine.kind == "embedded" else engine.environment
    rows = examine(settings, {**os.environ, **known, **environment})
    return {row.check: row for row in rows}


@pytest.fixture
def busy() -> Iterator[int]:
    """Yield a port that a socket of this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_machine_with_an_engine(project: Settings, engine: Engine) -> None:
    """Engine, buildx, Compose, disk and memory are fine where the other integration tests run."""
    rows = examined(project, engine)
    for check in ("engine", "buildx", "Compose v2", "disk", "memory"):
        assert rows[check].state != FAIL, rows[check]
    assert engine.version in rows["engine"].found


def test_a_port_that_is_taken(project: Settings, engine: Engine, busy: int) -> None:
    """The row says how to find out which program it is."""
    row = examined(project._replace(ports=(busy,)), engine)[f"port {busy}"]
    assert row.state == WARN
    assert "another program" in row.found


def test_a_registry_that_is_not_there(project: Settings, engine: Engine, busy: int) -> None:
    """Nothing listens on a port that was just given back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    row = examined(project._replace(registry=f"127.0.0.1:{port}"), engine)["registry"]
    assert row.state == FAIL
    assert row.fix


def test_an_index_that_is_not_there(project: Settings, engine: Engine) -> None:
    """Pip's own words are turned into something to do."""
    there = project._replace(index_url="http://127.0.0.1:9/simple")
    row = examined(there, engine, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")["package index"]
    assert row.state == FAIL
    assert "the index of pip's configuration" in row.found


def test_json_and_exit_code(tmp_path: Path) -> None:
    """A chosen engine that is not there fails: JSON on stdout, exit 1, and in time."""
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n')
    (tmp_path / "tasks.py").write_text("from dockyard.tasks import namespace as ns\n")
    started = time.monotonic()
    done = invoke("doctor", "--json", cwd=tmp_path, DOCKER_HOST=f"unix://{tmp_path}/nothing.sock", DOCKER_CONTEXT=None)
    assert time.monotonic() - started < LIMIT + 10
    answer = json.loads(done.stdout)
    rows = {row["check"]: row for row in answer["checks"]}
    assert (done.returncode, answer["ok"], rows["engine"]["state"]) == (1, False, "fail")
    assert "nothing.sock" in rows["engine"]["found"]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "pyproject.toml",
        "tasks.py",
    ]


def test_a_machine_with_nothing_starts_nothing(tmp_path: Path) -> None:
    """Looking at an empty machine neither fetches nor starts the embedded engine."""
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "shop"\nengine = "embedded"\n')
    (tmp_path / "tasks.py").write_text("from dockyard.tasks import namespace as ns\n")
    done = invoke("doctor", "--json", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), HOME=str(tmp_path / "home"))
    rows = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
    found = rows["engine"]["found"]
    assert "embedded" in found or "another Docker Engine runs here" in found
    assert not (tmp_path / "cache" / "dockyard").exists()


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    """A mistake in pyproject.toml is told as everywhere, with the code for it."""
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "Shop"\n')
    (tmp_path / "tasks.py").write_text("from dockyard.tasks import namespace as ns\n")
    done = invoke("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert "image = 'Shop'" in done.stderr
