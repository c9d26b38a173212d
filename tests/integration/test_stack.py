"""Stacks on a real engine: started, reloaded, hardened, failed, interrupted, and gone without a trace."""

import json
import os
import secrets
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, SettingsError, UsageError
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.stack import compose, ports, shell, stack
from dockyard.stack.compose import Container
from dockyard.stack.stack import Stack, StartRequest

COPIED = ("src", "requirements", "docs/reference", "tests")
SERVER = "python -c 'import http.server as h; h.HTTPServer((\"\", 8000), h.SimpleHTTPRequestHandler).serve_forever()'"


@pytest.fixture
def copy(project: Settings, ledger_image: str, unique: str, tmp_path: Path) -> Settings:
    """Return the settings of a copy of this project, with a stack of its own and the images of all."""
    for file in project.root.iterdir():
        if file.is_file() and file.name != ".env":
            shutil.copy(file, tmp_path)
    for folder in COPIED:
        shutil.copytree(project.root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return project._replace(root=tmp_path, image=ledger_image, stack=unique)


@pytest.fixture
def small(ledger_image: str, unique: str, tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that writes a project of which only compose.yaml exists, with services of that image."""

    def write(**services: dict[str, Any]) -> Settings:
        common = {"image": f"{ledger_image}:development", "init": True}
        document = {"services": {name: {**common, **body} for name, body in services.items()}, "volumes": {"data": {}}}
        (tmp_path / "compose.yaml").write_text(json.dumps(document))
        return Settings(root=tmp_path, app="shop:app", image="shop", stack=unique, python="3.13")

    return write


@pytest.fixture
def port() -> int:
    """Return a port of 127.0.0.1 that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        free: int = listener.getsockname()[1]
        return free


INSIDE = """\
import json, os, pathlib
lines = (line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
said = {key: value.split()[0] for key, value in lines if value.strip()}
for name, files in (
    ("memory", ("memory.max", "memory/memory.limit_in_bytes")), ("pids", ("pids.max", "pids/pids.max"))
):
    found = [path for path in (pathlib.Path("/sys/fs/cgroup", file) for file in files) if path.exists()]
    said[name] = found[0].read_text().strip()
def writes(folder):
    try:
        pathlib.Path(folder, "dockyard-test").write_text("")
        pathlib.Path(folder, "dockyard-test").unlink()
    except OSError:
        return False
    return True
said["written"] = [one for one in ("/", "/app", "/opt/venv", "/tmp", "/data", "/run/secrets") if writes(one)]
print(json.dumps(said))
"""
"""What a process of the service is and may, as the kernel has it."""


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:  # a server that reloads closes what it has not answered
        return 0, ""


def select_web(containers: Sequence[Container]) -> Container:
    """Return the container that serves; the one that has brought the database up to date is beside it."""
    (web,) = [one for one in containers if one.service == "ledger"]
    return web


def traces(engine: Engine, name: str) -> list[str]:
    """Return every container, network and volume of a stack that the engine has."""
    label = ("--quiet", "--filter", stack.LABEL + name)
    listings = (("ps", "--all", *label), ("network", "ls", *label), ("volume", "ls", *label))
    return [found for listing in listings for found in capture(engine.command(*listing)).stdout.split()]


def inspect(engine: Engine, container: str) -> Any:
    """Return what the engine knows of a container."""
    return json.loads(capture(engine.command("inspect", container)).stdout)[0]


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until something is so, and return whether it came to that."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_development(copy: Settings, engine: Engine, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A change of a source file is served without a restart; a second start changes nothing; down leaves nothing."""
    done = stack.up(copy, engine, StartRequest(port=port))
    container = select_web(done.containers)
    assert ports.format_addresses(container, (8000,)) == (f"http://127.0.0.1:{port}",)
    assert json.loads(get(port, "/healthz")[1]) == {"status": "ok"}
    assert json.loads(get(port, "/api/runs?project=shop&limit=1")[1])["runs"], "the sample is not there"
    facts = inspect(engine, container.id)
    assert facts["Config"]["User"] == "65532:65532"
    assert facts["HostConfig"]["PortBindings"]["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert list(facts["NetworkSettings"]["Networks"]) == [f"{copy.stack}_default"]

    source = copy.root / "src" / "ledger" / "health.py"
    source.write_text(source.read_text().replace('status="ok"', 'status="changed"'))
    assert eventually(lambda: "changed" in get(port, "/healthz")[1])

    again = stack.up(copy, engine, StartRequest(port=port))
    assert not again.changed
    assert again.seconds < 10
    stack.restart(Stack(copy, engine), "", 60)
    assert "changed" in get(port, "/healthz")[1]
    inside = shell.command(Stack(copy, engine), "", terminal=False)
    assert capture(replace(inside, input=b"id -u; pwd")).stdout == "65532\n/app\n"

    stack.down(Stack(copy, engine), volumes=False)
    assert traces(engine, copy.stack) == [f"{copy.stack}_data"]
    assert stack.down(Stack(copy, engine), volumes=True)[1] == [f"{copy.stack}_data"]
    assert traces(engine, copy.stack) == []
    assert stack.down(Stack(copy, engine), volumes=True) == ([], [])


def run_record() -> bytes:
    """Return a run as the ledger takes it."""
    record = {"schema": "dockyard.run/1", "id": secrets.token_hex(16), "kind": "test", "project": "shop"}
    more = {"started": "2026-11-21T01:02:03Z", "duration_seconds": 1.5, "outcome": "passed", "dockyard": "0.1.0"}
    return json.dumps({**record, **more}).encode()


def post(port: int, token: str, record: bytes) -> int:
    """Send a run with a token and return the answer's status."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/runs", record, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def test_production(copy: Settings, engine: Engine, port: int) -> None:
    """The production stack is hardened, answers, takes the token from its file, and keeps its data over a stop."""
    done = stack.up(copy, engine, StartRequest(production=True, port=port))
    facts = inspect(engine, select_web(done.containers).id)
    host = facts["HostConfig"]
    assert facts["Config"]["User"] == "65532:65532"
    assert host["ReadonlyRootfs"]
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (10**9, 256 * 2**20, 256 * 2**20)
    assert host["PidsLimit"] == 128
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert facts["Config"]["StopTimeout"] == 10
    assert host["LogConfig"]["Type"] == "local"
    inside = json.loads(capture(engine.command("exec", done.containers[0].id, "python", "-c", INSIDE)).stdout)
    assert {key: inside[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid")} == {
        "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2", "Uid": "65532",
    }  # fmt: skip
    assert (inside["memory"], inside["pids"]) == (str(256 * 2**20), "128")
    assert inside["written"] == ["/tmp", "/data"]
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in facts["Mounts"]}
    secret = {f"/run/secrets/{name}": ("bind", False) for name in ("ledger_token", "secret_key", "database_password")}
    assert mounts == {"/data": ("volume", True), **secret}
    token = (copy.root / ".dockyard" / "secrets" / "ledger_token").read_text().strip()
    assert not any(token in value for value in facts["Config"]["Env"])

    assert get(port, "/healthz") == (200, '{"status":"ok"}\n')
    assert get(port, "/readyz") == (200, '{"status":"ok"}\n')
    assert post(port, "wrong", run_record()) == 401
    assert post(port, token, run_record()) == 201
    stack.down(Stack(copy, engine), volumes=False)
    stack.up(copy, engine, StartRequest(production=True, port=port))
    assert len(json.loads(get(port, "/api/runs")[1])["runs"]) == 1


def test_shell_beside_production(copy: Settings, engine: Engine, port: int) -> None:
    """The minimal image has no shell; the one beside it sees its processes, network and files."""
    stack.up(copy, engine, StartRequest(production=True, port=port))
    beside = shell.command(Stack(copy, engine), "", terminal=False)
    words = b"cat /proc/1/cmdline; ls /proc/1/root/app; python -m ledger.probe && echo answers"
    seen = capture(replace(beside, input=words)).stdout
    assert "gunicorn" in seen
    assert "ledger\n" in seen
    assert seen.endswith("answers\n")


def test_production_stops_gracefully(copy: Settings, engine: Engine, port: int) -> None:
    """On SIGTERM a request that is half sent is still answered, and the exit code is 0 within the grace period."""
    stack.up(copy, engine, StartRequest(production=True, port=port))
    container = select_web(Stack(copy, engine).containers())
    token = (copy.root / ".dockyard" / "secrets" / "ledger_token").read_text().strip()
    body = run_record()
    head = f"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 20) as connection, ThreadPoolExecutor() as pool:
        connection.sendall(head.encode() + body[:10])
        time.sleep(0.5)
        stopping = pool.submit(capture, engine.command("stop", container.id))
        time.sleep(1)
        assert not stopping.done()
        connection.sendall(body[10:])
        assert connection.makefile("rb").readline() == b"HTTP/1.1 201 CREATED\r\n"
        assert stopping.result().seconds < 10
    state = inspect(engine, container.id)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_image_is_built_when_absent(copy: Settings, engine: Engine, port: int, unique: str) -> None:
    """Without an image the start builds it, unless that is forbidden."""
    absent = copy._replace(image=unique)
    with pytest.raises(UsageError, match="--no-build"):
        stack.up(absent, engine, StartRequest(port=port, build="never"))
    done = stack.up(absent, engine, StartRequest(port=port))
    assert select_web(done.containers).image == f"{unique}:development"
    stack.down(Stack(absent, engine), volumes=True)


def test_port_in_use(copy: Settings, engine: Engine, port: int) -> None:
    """A port that another program holds is named with that program, before anything is started."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(DockyardError) as caught:
        stack.up(copy, engine, StartRequest(port=port))
    assert caught.value.message.startswith(f"port {port} of 127.0.0.1 is in use by ")
    assert "invoke up --port" in caught.value.hint
    assert traces(engine, copy.stack) == []


def test_port_in_use_by_a_container(small: Callable[..., Settings], engine: Engine, port: int) -> None:
    """A port that another stack holds is named with its container."""
    publishing = {"ports": [f"127.0.0.1:{port}:8000"], "command": SERVER, "healthcheck": {"disable": True}}
    first = small(web=publishing)
    stack.up(first, engine, StartRequest())
    second = first._replace(stack=f"{first.stack}-second")
    with pytest.raises(DockyardError, match=f"by the container {first.stack}-web-1 of the stack {first.stack}"):
        stack.up(second, engine, StartRequest())
    stack.down(Stack(first, engine), volumes=True)


def test_up_again_runs_no_job_again(small: Callable[..., Settings], engine: Engine, port: int) -> None:
    """A job that has ended well is left alone, and so is a worker that the server's health check would fail."""
    publishing = {"ports": [f"127.0.0.1:{port}:8000"], "command": f"sh -c 'sleep 2; exec {SERVER[:6]} -m http.server'"}
    waits = {"condition": "service_completed_successfully"}
    settings = small(
        web={**publishing, "healthcheck": {"disable": True}, "depends_on": {"job": waits}},
        # Compose's own hash of a file that names such a file is not that of its container.
        job={"command": "python -c 'print(\"ran\")'", "env_file": [{"path": "absent.env", "required": False}]},
        worker={"command": "sleep 600"},
    )
    try:
        assert stack.up(settings, engine, StartRequest()).changed
        assert get(port, "/")[0] == 200, "it was called ready before it answered"
        again = stack.up(settings, engine, StartRequest())
        (job,) = [one for one in again.containers if one.service == "job"]
        assert not again.changed
        assert capture(engine.command("logs", job.id)).stdout == "ran\n"
        small(
            web=publishing | {"healthcheck": {"disable": True}}, job={"command": "true"}, worker={"command": "sleep 9"}
        )
        assert stack.up(settings, engine, StartRequest()).changed
    finally:
        stack.down(Stack(settings, engine), volumes=True)


@pytest.mark.parametrize("there", [True, False])
def test_whether_a_port_answers(there: bool) -> None:
    """A server that waits for a question answers; a port where none listens, and one that hangs up, do not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports.answers("127.0.0.1", port)
        hanging_up = threading.Thread(target=lambda: server.accept()[0].close() if there else None)
        server.accept()[0].close()
        hanging_up.start()
        assert ports.answers("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n") is not there
        hanging_up.join()
    assert not ports.answers("127.0.0.1", port)


BROKEN: dict[str, tuple[dict[str, Any], float, str]] = {
    "exits": ({"command": "python -c 'print(\"no database\"); raise SystemExit(3)'"}, 60, "web ended with exit code 3"),
    "restarts": (
        {"command": "python -c 'print(\"no database\"); raise SystemExit(3)'", "restart": "always"},
        60,
        "web ended with exit code 3, and is being restarted",
    ),
    "restarts unnoticed": (
        {
            "command": "sh -c 'echo no database; sleep 0.1; exit 3'",
            "restart": "always",
            "healthcheck": {"disable": True},
        },
        60,
        "web ended with exit code 3, and is being restarted",
    ),
    "unhealthy": (
        {
            "command": "sh -c 'echo no database; exec sleep 60'",
            "healthcheck": {"test": "echo not yet; exit 1", "interval": "500ms", "start_period": "1s", "retries": 2},
        },
        60,
        "web is unhealthy; its health check says: not yet",
    ),
    "never ready": (
        {
            "command": "sh -c 'echo no database; exec sleep 60'",
            "healthcheck": {"test": "exit 1", "interval": "500ms", "start_period": "60s"},
        },
        2,
        "web is not ready after 2 s",
    ),
    "no such program": ({"command": "/no/such/program", "init": False}, 60, "no such file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_failing_service(
    small: Callable[..., Settings], engine: Engine, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """A service that cannot start is explained with its log, and nothing of the start is left."""
    service, timeout, message = BROKEN[case]
    broken = small(web={**service, "volumes": ["data:/data"]})
    with pytest.raises(DockyardError) as caught:
        stack.up(broken, engine, StartRequest(timeout=timeout))
    assert message in caught.value.message
    if case != "no such program":
        assert "web | no database" in capsys.readouterr().err
    assert traces(engine, broken.stack) == []


def test_failure_beside_a_running_service(small: Callable[..., Settings], engine: Engine) -> None:
    """A second service that fails does not take the first one, which ran before, down with it."""
    sleeping = {"command": "sleep 300", "healthcheck": {"disable": True}}
    settings = small(db=sleeping)
    (database,) = stack.up(settings, engine, StartRequest()).containers
    small(db=sleeping, web={"command": "sh -c 'exit 3'", "healthcheck": {"disable": True}})
    with pytest.raises(DockyardError, match="web ended with exit code 3"):
        stack.up(settings, engine, StartRequest())
    (left,) = Stack(settings, engine).containers()
    assert (left.id, left.running) == (database.id, True)
    stack.down(Stack(settings, engine), volumes=True)


UNREADY: dict[str, Any] = {
    "command": "sleep 300",
    "volumes": ["data:/data"],
    "healthcheck": {"test": "exit 1", "interval": "1s", "start_period": "300s"},
}


@pytest.mark.parametrize(
    "services",
    [
        pytest.param({"web": UNREADY}, id="while waiting"),
        pytest.param(
            {"db": UNREADY, "web": {**UNREADY, "depends_on": {"db": {"condition": "service_healthy"}}}},
            id="while Compose starts it",
        ),
    ],
)
def test_interrupt(small: Callable[..., Settings], engine: Engine, services: dict[str, Any]) -> None:
    """Ctrl-C in the middle of a start leaves no container, network or volume."""
    settings = small(**services)
    made = Stack(settings, engine)

    def press() -> None:
        if eventually(lambda: any(one.running for one in made.containers())):
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        stack.up(settings, engine, StartRequest())
    thread.join()
    assert traces(engine, settings.stack) == []


def test_invalid_file(small: Callable[..., Settings], engine: Engine) -> None:
    """Compose's own words say what is wrong with a file."""
    settings = small(web={"prots": ["8000"]})
    with pytest.raises(SettingsError, match=r"compose.yaml: .*prots'? (is )?not allowed"):
        stack.up(settings, engine, StartRequest())


def test_job_and_logs(small: Callable[..., Settings], engine: Engine) -> None:
    """A service that does its job and ends is no failure; its log can be read, with or without the file."""
    quiet = {"healthcheck": {"disable": True}}
    job = {**quiet, "command": "echo migrated"}
    ordered = {"job": {"condition": "service_completed_successfully"}}
    settings = small(job=job, web={**quiet, "command": "sleep 300", "depends_on": ordered})
    done = stack.up(settings, engine, StartRequest())
    assert {one.service: one.state for one in done.containers} == {"job": "exited", "web": "running"}
    made = Stack(settings, engine)
    (settings.root / "compose.yaml").write_text("services: [")
    assert "migrated" in capture(stack.logs(made, "job", None, follow=False)).stdout
    assert compose.judge(made.containers(), ()) == ((), None)
    stack.down(made, volumes=True)
    assert traces(engine, settings.stack) == []
