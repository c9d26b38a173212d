"""The ledger on real PostgreSQL and MariaDB: all that a store must do, and a database that goes away in the middle."""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockyard.bases import services
from dockyard.engine.client import Engine
from dockyard.process import capture

from .checkout import free_port

SOURCE = Path(__file__).parents[2] / "src"
PASSWORD = "hush-hush"
TOKEN = "a-token-for-tests"
KINDS = {
    "postgresql": (
        "postgres:17",
        {"POSTGRES_USER": "ledger", "POSTGRES_DB": "ledger", "POSTGRES_PASSWORD": PASSWORD},
    ),
    "mariadb": (
        "mariadb:11",
        {
            "MARIADB_USER": "ledger",
            "MARIADB_DATABASE": "ledger",
            "MARIADB_PASSWORD": PASSWORD,
            "MARIADB_RANDOM_ROOT_PASSWORD": "1",
        },
    ),
}
STARTS_WITHIN = 90.0
POSTERS, EACH = 8, 40


@dataclass(frozen=True)
class Database:
    """A database server in a container, and its address on this machine."""

    engine: Engine
    kind: str
    container: str
    port: int

    @property
    def url(self) -> str:
        """Return the URL with which the ledger reaches it, without the password."""
        return f"{self.kind}://ledger@127.0.0.1:{self.port}/ledger"

    def docker(self, *words: str) -> str:
        """Run a command of the engine on the container."""
        return capture(self.engine.command(*words, self.container)).stdout.strip()

    def wait_until_healthy(self) -> None:
        """Return once its health check has passed."""
        deadline = time.monotonic() + STARTS_WITHIN
        while self.docker("inspect", "--format={{.State.Health.Status}}") != "healthy":
            assert time.monotonic() < deadline, capture(self.engine.command("logs", self.container)).stdout
            time.sleep(0.5)


@contextmanager
def run_database(engine: Engine, kind: str) -> Iterator[Database]:
    """Start a server, and remove it with its data afterwards."""
    image, environment = KINDS[kind]
    service = services.find_service(image)
    assert service
    name, _ = services.ensure_service(engine, service)
    container, port = f"dockyard-ledger-{kind}-{secrets.token_hex(4)}", free_port()
    variables = [f"--env={key}={value}" for key, value in environment.items()]
    started = Database(engine, kind, container, port)
    publish = f"--publish=127.0.0.1:{port}:{service.port}"
    try:
        capture(engine.command("run", "--detach", f"--name={container}", publish, *variables, name))
        started.wait_until_healthy()
        yield started
    finally:
        capture(engine.command("rm", "--force", "--volumes", container), check=False)


@pytest.fixture(scope="module", params=KINDS)
def database(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Database]:
    """Yield a server of each kind, one for all tests of this module."""
    with run_database(engine, request.param) as started:
        yield started


def environment(database: Database, **more: str) -> dict[str, str]:
    """Return the environment of a ledger on this database."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": database.url,
        "DATABASE_PASSWORD": PASSWORD,
        **more,
    }


def flask(database: Database, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the ledger."""
    command = (sys.executable, "-m", "flask", "--app", "ledger", "ledger", *words)
    return subprocess.run(
        command, env=environment(database, **more), capture_output=True, text=True, check=False, timeout=120
    )


def test_it_stores_as_every_other_database_does(database: Database) -> None:
    """What tests/ledger/test_stores.py asks of SQLite holds here too: nothing else, and nothing less."""
    url = database.url.replace("@", f":{PASSWORD}@")
    environ = {**os.environ, f"LEDGER_TEST_{database.kind.upper()}": url}
    tests = str(SOURCE.parent / "tests" / "ledger" / "test_stores.py")
    pytest_of_its_own = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    command = (*pytest_of_its_own, "-k", database.kind, tests)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_wrong_password_is_told_without_it(database: Database) -> None:
    """One line says what the server said, and no secret is in it."""
    done = flask(database, "migrate", "--wait", "0", DATABASE_PASSWORD="wrong-but-secret")
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_migration_waits_for_a_database_that_is_still_starting(database: Database) -> None:
    """The one-shot service may start first; a server that is not there at all is told in time."""
    database.docker("stop")
    gone = flask(database, "migrate", "--wait", "1")
    assert (gone.returncode, "cannot be used" in gone.stderr) == (1, True), gone.stderr
    with ThreadPoolExecutor() as pool:
        migration = pool.submit(flask, database, "migrate", "--wait", "60")
        time.sleep(2)
        database.docker("start")
        done = migration.result()
    assert (done.returncode, "is at revision" in done.stdout) == (0, True), done.stderr
    database.wait_until_healthy()


def run_record(poster: int, number: int) -> dict[str, object]:
    """Return a run of a poster's own."""
    return {
        "schema": "dockyard.run/2",
        "id": f"{poster + 1:016x}{number:016x}",
        "kind": "build",
        "project": f"poster-{poster}",
        "started": "2026-11-21T01:02:03Z",
        "duration_seconds": 1.5,
        "outcome": "passed",
        "dockyard": "0.1.0",
    }


def ask(port: int, path: str, body: dict[str, object] | None = None) -> int:
    """Return the status of an answer, 0 for none."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def post_all(port: int, poster: int, deadline: float) -> list[int]:
    """Post the runs of one poster, each again until it is taken, and return every status on the way."""
    seen = []
    for number in range(EACH):
        while True:
            status = ask(port, "/api/runs", run_record(poster, number))
            seen.append(status)
            if status in (200, 201):
                break
            assert status in (0, 503), f"the answer was {status}"
            assert time.monotonic() < deadline, f"never taken; answers: {set(seen)}"
            time.sleep(0.2)
        time.sleep(0.05)
    return seen


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[int]:
    """Start gunicorn on the migrated database, and yield its port; it must stop by itself when it is asked to."""
    assert flask(database, "migrate").returncode == 0
    port = free_port()
    environ = environment(
        database, PORT=str(port), WEB_CONCURRENCY="2", LEDGER_TOKEN=TOKEN, HOME="/nonexistent", TMPDIR=str(tmp_path)
    )
    command = (sys.executable, "-m", "gunicorn", "--config", "python:ledger.gunicorn_conf", "ledger:create_app()")
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        process = subprocess.Popen(command, cwd="/", env=environ, stdout=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + STARTS_WITHIN
            while ask(port, "/readyz") != 200:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0
    assert PASSWORD not in (tmp_path / "log").read_text()
    assert TOKEN not in (tmp_path / "log").read_text()


def test_no_run_is_lost_while_the_database_is_away(database: Database, server: int) -> None:
    """Eight at once post and try again; a stop in the middle answers 503, never 500, and every run is there once."""
    deadline = time.monotonic() + STARTS_WITHIN
    with ThreadPoolExecutor(POSTERS) as pool:
        posting = [pool.submit(post_all, server, poster, deadline) for poster in range(POSTERS)]
        time.sleep(1)
        database.docker("stop")
        assert ask(server, "/healthz") == 200
        assert ask(server, "/readyz") == 503
        time.sleep(1)
        database.docker("start")
        seen = [status for each in posting for status in each.result()]
    assert 503 in seen, "the stop came too late to be in the middle"
    # Each was stored once: those that were taken without an answer are known to the second try.
    for poster in range(POSTERS):
        assert [ask(server, "/api/runs", run_record(poster, number)) for number in range(EACH)] == [200] * EACH
    for poster in range(POSTERS):
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server}/api/runs?project=poster-{poster}", timeout=15
        ) as answer:
            assert len(json.load(answer)["runs"]) == EACH
