"""The flow of a stack: what is asked of Docker, in which order, and what is left when it goes wrong."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dockyard.errors import CommandError, DockyardError, SettingsError, UsageError
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack import ports, stack
from dockyard.stack.stack import Stack, StartRequest
from tests.scripted_docker import MODEL, PROJECT, Docker, container


@dataclass
class Clock:
    """A clock on which no time passes but that which is slept."""

    now: float = 0.0

    def monotonic(self) -> float:
        """Tell the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Return a scripted Docker, on a machine whose ports are free, and answer as it is scripted."""
    docker = Docker()
    docker.images["shop:development"] = {"Id": "sha256:1"}
    monkeypatch.setattr(ports, "answers", lambda *_: docker.answers.pop(0) if docker.answers else True)
    monkeypatch.setattr(ports, "is_taken", lambda _host, _port: False)
    return docker


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """Return the settings of a project with both Compose files."""
    for name in ("compose.yaml", "compose.production.yaml"):
        (settings.root / name).write_text("services: {}\n")
    return settings


Up = Callable[..., stack.Up]


@pytest.fixture
def up(docker: Docker, shop: Settings, said: list[str]) -> Up:
    """Return a function that starts the stack."""
    return lambda **request: stack.up(shop, docker.engine, StartRequest(**request), Clock())


@pytest.mark.parametrize(
    ("present", "production", "expected"),
    [
        (("compose.yaml",), False, ("compose.yaml",)),
        (("compose.yaml", "compose.override.yaml"), False, ("compose.yaml", "compose.override.yaml")),
        (
            ("compose.yaml", "compose.override.yaml", "compose.production.yaml"),
            True,
            ("compose.yaml", "compose.production.yaml"),
        ),
        (("docker-compose.yml", "docker-compose.production.yaml"), True, None),
        (("docker-compose.yaml", "compose.yml"), False, ("compose.yml",)),
    ],
)
def test_files(
    settings: Settings, present: tuple[str, ...], production: bool, expected: tuple[str, ...] | None
) -> None:
    """Compose's own names count, in its own order; production replaces what a developer overrides."""
    for name in present:
        (settings.root / name).touch()
    found = stack.find_files(settings.root, production=production)
    assert found == (expected or present)


@pytest.mark.parametrize(
    ("present", "message"),
    [((), "there is no compose.yaml"), (("compose.yml",), "there is no compose.production.yml beside compose.yml")],
)
def test_file_missing(settings: Settings, present: tuple[str, ...], message: str) -> None:
    """The missing file is named, and where it was looked for."""
    for name in present:
        (settings.root / name).touch()
    with pytest.raises(SettingsError, match=message) as caught:
        stack.find_files(settings.root, production=True)
    assert str(settings.root) in caught.value.message
    assert caught.value.hint


def test_commands(settings: Settings) -> None:
    """A start reads the files in the project's folder; the rest goes by the stack's name, away from any file."""
    engine = Docker().engine
    made = Stack(settings, engine, ("a.yaml", "b.yaml"), 8001)
    start = made.by_files("up")
    assert start.argv == (*PROJECT, "--file", "a.yaml", "--file", "b.yaml", "up")
    assert start.cwd == settings.root
    assert start.env == {**engine.environment, "DOCKYARD_IMAGE": "shop", "COMPOSE_FILE": None, "PORT": "8001"}
    look = made.by_name("ps")
    assert (look.argv, look.cwd, look.env["COMPOSE_FILE"]) == ((*PROJECT, "ps"), Path("/"), None)


def test_up(docker: Docker, up: Up) -> None:
    """A start ends when the stack is healthy, and says where it answers."""
    docker.states = [[], [container(Health="starting")], [container()]]
    done = up(production=True)
    assert done.changed
    (started,) = docker.changing
    assert started == (
        *PROJECT, "--file", "compose.yaml", "--file", "compose.production.yaml",
        "up", "--detach", "--no-color", "--remove-orphans",
    )  # fmt: skip


LABELS = "io.x=1,com.docker.compose.config-hash={},com.docker.compose.image=sha256:{},a=b"
WEB = container(Labels=LABELS.format("aa", "1"))
JOB = container(
    ID="2", Name="shop-job-1", Service="job", State="exited", Health="", Publishers=[], Labels=LABELS.format("bb", "1")
)


@pytest.fixture
def both(docker: Docker) -> Docker:
    """Return a Docker with a server and a job that has ended well, both as the files want them."""
    services = {**MODEL["services"], "job": {"image": "shop:development"}}
    docker.config = Completed(0, json.dumps({"services": services}), "", 0.1)
    docker.hashes = "job bb\nweb aa\n"
    docker.states = [[WEB, JOB]]
    return docker


def test_up_again(both: Docker, up: Up) -> None:
    """Compose is not even asked to: it would run the job once more. It reads the files once."""
    assert not up().changed
    assert both.changing == []
    assert sum(command.argv[-3:] == ("config", "--format", "json") for command in both.asked) == 1


@pytest.mark.parametrize(
    ("hashes", "states", "started"),
    [
        ("job bb\nweb cc\n", [WEB, JOB], ("web",)),
        ("job cc\nweb aa\n", [WEB, JOB], ("job",)),
        ("job bb\nweb aa\n", [{**WEB, "State": "exited"}, JOB], ("web",)),
        ("job bb\nweb aa\n", [WEB, {**JOB, "ExitCode": 3}], ("job",)),
        ("job bb\nweb aa\n", [WEB], ("job",)),
        ("job bb\nweb aa\n", [{**WEB, "Labels": LABELS.format("aa", "2")}, JOB], ("web",)),
        ("job cc\nweb cc\n", [WEB, JOB], ()),
        ("job bb\nweb aa\n", [WEB, JOB, container(ID="9", Service="old")], ()),
        ("", [WEB, JOB], ()),
    ],
    ids=["web", "job", "web ended", "job failed", "no job", "other image", "both", "one too many", "no hashes"],
)
def test_what_has_changed_is_started(
    both: Docker, up: Up, hashes: str, states: list[dict[str, Any]], started: tuple[str, ...]
) -> None:
    """By its configuration, its image or its end; Compose gets all where all have changed, or one is too many."""
    both.hashes, both.states = hashes, [states, [WEB, JOB]]
    up()
    (command,) = both.changing
    assert command[-1 - len(started) :] == ("--remove-orphans", *started)


def test_a_service_without_a_health_check_is_ready_when_it_answers(docker: Docker, up: Up) -> None:
    """That its process runs says nothing of its port."""
    docker.states, docker.answers = [[], [container(Health="")]], [False, False, True]
    assert up().containers[0].running
    assert docker.answers == []


def test_a_port_that_never_answers(docker: Docker, up: Up) -> None:
    """It is named when time is up."""
    docker.states, docker.answers = [[], [container(Health="")]], [False] * 100
    with pytest.raises(DockyardError, match="web runs, but does not answer at port 8000 after 7 s") as caught:
        up(timeout=7)
    assert "0.0.0.0" in caught.value.hint


def test_a_worker_is_not_judged_by_the_servers_health_check(docker: Docker, up: Up) -> None:
    """It shares the image, whose check asks a port that it does not have."""
    worker = {"image": "shop:development", "command": ["work"]}
    services = {**MODEL["services"], "worker": worker}
    docker.config = Completed(0, json.dumps({"services": services}), "", 0.1)
    busy = container(ID="2", Name="shop-worker-1", Service="worker", Health="unhealthy", Publishers=[])
    docker.states = [[], [container(), busy]]
    assert len(up().containers) == 2
    docker.states = [[], [container(Health="unhealthy"), busy]]
    with pytest.raises(DockyardError, match="web"):
        up()


def test_up_settles(docker: Docker, up: Up) -> None:
    """A service without a health check that ends at once is not called up."""
    docker.states = [[], [container(Health="")], [container(Health="", State="exited", ExitCode=3)]]
    with pytest.raises(DockyardError, match="web ended with exit code 3"):
        up()


def test_failure_is_shown_and_undone(docker: Docker, up: Up, said: list[str]) -> None:
    """The failing service's log is shown; what was started goes away, a new volume too."""
    docker.states = [[], [container(State="exited", ExitCode=3)]]
    docker.volumes = ["", "shop_data\n"]
    with pytest.raises(DockyardError, match="web ended with exit code 3") as caught:
        up()
    assert caught.value.hint == "its log is above"
    assert "web | ValueError: cannot start it" in said
    assert docker.changing[1:] == [
        ("docker", "stop", "1"),
        ("docker", "rm", "--force", "--volumes", "1"),
        (*PROJECT, "down", "--remove-orphans"),
        ("docker", "volume", "rm", "shop_data"),
    ]


def test_failure_that_its_log_explains(docker: Docker, up: Up) -> None:
    """The cause stands beside the exit code, and the edit in the place of the hint."""
    docker.states, docker.log = [[], [container(State="exited", ExitCode=3)]], ["KeyError: 'SECRET_KEY'"]
    with pytest.raises(DockyardError, match="exit code 3: the environment variable SECRET_KEY is not set") as caught:
        up()
    assert ".env" in caught.value.hint


def test_failure_of_a_service_that_lacks_a_value(docker: Docker, up: Up, shop: Settings) -> None:
    """Where its log explains nothing, what compose.env leaves open is named; what .env gives a value is not open."""
    (shop.root / "compose.env").write_text("SHELF=\nPRICES=\n")
    seen: list[Any] = [{"Status": "exited", "ExitCode": 3}, ["PATH=/bin", "SHELF=", "PRICES=eur"]]
    docker.states, docker.inspected = [[], [container(State="exited", ExitCode=3)]], list(seen)
    with pytest.raises(DockyardError, match=r"exit code 3; compose\.env has no value for SHELF$") as caught:
        up()
    assert "`dockyard init --env SHELF=…`" in caught.value.hint
    docker.states, docker.log, docker.inspected = (
        [[], [container(State="exited", ExitCode=3)]],
        ["KeyError: 'SHELF'"],
        seen,
    )
    with pytest.raises(DockyardError, match=r"for SHELF: the environment variable SHELF is not set$"):
        up()


def test_timeout(docker: Docker, up: Up) -> None:
    """A stack that never gets healthy is given up after the time that was asked for."""
    docker.states = [[], [container(Health="starting")]]
    docker.inspected = [{"Status": "running", "Health": {"Status": "starting", "Log": [{"Output": "no answer"}]}}]
    with pytest.raises(DockyardError, match="web is not ready; its health check says: no answer after 7 s") as caught:
        up(timeout=7)
    assert "--timeout" in caught.value.hint
    assert (*PROJECT, "down", "--remove-orphans") in docker.changing


def test_service_that_is_never_made(docker: Docker, up: Up) -> None:
    """A service without any container is named when time is up."""
    docker.states = [[]]
    with pytest.raises(DockyardError, match="web was not started within 7 s"):
        up(timeout=7)


def test_service_that_is_restarted(docker: Docker, up: Up) -> None:
    """A service that ends again and again is caught ended, when its exit code can be read."""
    docker.states, docker.restarts = [[], [container(State="restarting", Health="")]], [1, 2, 3]
    docker.inspected = [{"Status": "running"}, {"Status": "restarting", "ExitCode": 3}]
    with pytest.raises(DockyardError, match="web ended with exit code 3, and is being restarted"):
        up()


def test_service_that_ends_between_two_looks(docker: Docker, up: Up) -> None:
    """A service without a health check that runs at each look, but was restarted in between, is not up yet."""
    docker.states, docker.restarts = [[], [container(Health="")]], [0, 1, 2, 2]
    assert up().containers[0].restarts == 2
    assert docker.restarts == [2]


def test_interrupt(docker: Docker, up: Up, said: list[str]) -> None:
    """Ctrl-C in the middle takes down what was started, and goes on as an interrupt."""
    docker.says["up"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        up()
    assert docker.changing[-1] == (*PROJECT, "down", "--remove-orphans")
    assert "interrupted: taking down what was started" in said


def test_what_ran_before_is_left(docker: Docker, up: Up, said: list[str]) -> None:
    """After a failure only what this call made or woke goes away: another service of the stack runs on."""
    old, asleep = container(ID="0", Service="db", Name="shop-db-1"), container(ID="5", Service="x", State="exited")
    after = [old, {**asleep, "State": "running"}, container(State="restarting", ExitCode=1)]
    docker.states, docker.restarts = [[old, asleep], after], [3]
    with pytest.raises(DockyardError):
        up()
    assert docker.changing[1:] == [("docker", "stop", "5", "1"), ("docker", "rm", "--force", "--volumes", "1")]
    assert any("was there before" in line for line in said)


def test_compose_cannot_start(docker: Docker, up: Up) -> None:
    """Where no container failed, Compose's own words say what is wrong."""
    docker.states = [[]]
    docker.says["up"] = CommandError("exit status 1", output=" Network a  Creating\nport is already allocated")
    with pytest.raises(DockyardError, match=r"Compose could not start the stack: port is already allocated$"):
        up()


def test_dependency_fails(docker: Docker, up: Up, said: list[str]) -> None:
    """Where Compose gave up because a container failed, that container's log is shown."""
    docker.states = [[], [container(State="exited", ExitCode=3)]]
    docker.says["up"] = CommandError("exit status 1", output="dependency failed to start")
    with pytest.raises(DockyardError, match="web ended with exit code 3"):
        up()
    assert "web | Traceback" in said


def test_cleaning_up_fails(docker: Docker, up: Up, said: list[str]) -> None:
    """What cannot be removed is said, and the first error stays the one that is told."""
    docker.states = [[], [container(State="exited", ExitCode=3)]]
    docker.says["down"] = Completed(1, "", "network in use", 0.1)
    with pytest.raises(DockyardError, match="web ended"):
        up()
    assert "not all of it could be removed: network in use; `invoke down` tries again" in said


def test_invalid_file(docker: Docker, up: Up) -> None:
    """Compose's own message is passed on with the files' names, and nothing is started."""
    docker.config = Completed(15, "", "services.web Additional property prots is not allowed\n", 0.1)
    with pytest.raises(SettingsError, match=r"compose.yaml: services.web Additional property prots is not allowed"):
        up()
    assert docker.changing == []


def test_no_service(docker: Docker, up: Up) -> None:
    """A file without services is not a stack."""
    docker.config = Completed(0, "{}", "", 0.1)
    with pytest.raises(SettingsError, match="there is no service to start"):
        up()


def test_port_without_effect(docker: Docker, up: Up) -> None:
    """A port that the file does not take from ${PORT} is refused: it would be published elsewhere."""
    with pytest.raises(UsageError, match=r"--port 9000 has no effect: compose.yaml takes no port from \$\{PORT\}"):
        up(port=9000)
    assert up(port=8000).changed


def test_warnings_of_compose(docker: Docker, up: Up, said: list[str]) -> None:
    """What Compose warns of is passed on."""
    docker.config = dataclasses.replace(docker.config, stderr="the TOKEN variable is not set\n")
    up()
    assert "the TOKEN variable is not set" in said


@pytest.mark.parametrize("volumes", [False, True])
def test_down(docker: Docker, settings: Settings, volumes: bool) -> None:
    """Containers go; data goes only when asked, and then all of it."""
    docker.states, docker.volumes = [[container()]], ["shop_data\nshop_old\n", "shop_old\n"]
    gone = stack.down(Stack(settings, docker.engine), volumes=volumes)
    assert gone == (["shop-web-1"], ["shop_data", "shop_old"] if volumes else [])
    data = [("docker", "volume", "rm", "shop_old")] if volumes else []
    assert docker.changing == [(*PROJECT, "down", "--remove-orphans", *(["--volumes"] if volumes else [])), *data]


def test_restart(docker: Docker, settings: Settings, said: list[str]) -> None:
    """Only the service that is named is restarted, and then awaited."""
    other = container(ID="0", Service="db")
    docker.states = [[container(), other], [container(Health="starting"), other], [container(), other]]
    stack.restart(Stack(settings, docker.engine, clock=Clock()), "web", 9)
    assert docker.changing == [(*PROJECT, "restart", "web")]
    assert docker.states == [[container(), other]]


def test_restart_leaves_what_is_done(docker: Docker, settings: Settings, said: list[str]) -> None:
    """A job that ran once is not run again beside what it needs; where nothing runs, all is started."""
    job = container(ID="0", Service="migrate", State="exited", Health="")
    docker.states = [[container(), job]]
    stack.restart(Stack(settings, docker.engine, clock=Clock()), "", 9)
    docker.states = [[job], [container(ID="0", Service="migrate")]]
    stack.restart(Stack(settings, docker.engine, clock=Clock()), "", 9)
    assert docker.changing == [(*PROJECT, "restart", "web"), (*PROJECT, "restart", "migrate")]


def test_restart_that_fails(docker: Docker, settings: Settings, said: list[str]) -> None:
    """A service that does not come back is shown with its log, and left to be looked at."""
    docker.states, docker.restarts = [[container()], [container(State="restarting")]], [3]
    with pytest.raises(DockyardError, match="web ended with exit code 3"):
        stack.restart(Stack(settings, docker.engine, clock=Clock()), "", 9)
    assert "web | Traceback" in said
    assert docker.changing == [(*PROJECT, "restart", "web")]


def test_not_there(docker: Docker, shop: Settings) -> None:
    """What needs a stack says that there is none, and how to start it."""
    docker.states = [[]]
    with pytest.raises(DockyardError, match="the stack shop is not there") as caught:
        stack.chosen(Stack(shop, docker.engine), "web")
    assert caught.value.hint == "`invoke up` starts it"


def test_not_there_and_no_file(docker: Docker, settings: Settings) -> None:
    """In a project without a Compose file, that is what is said."""
    docker.states = [[]]
    with pytest.raises(SettingsError, match=r"there is no compose.yaml"):
        stack.chosen(Stack(settings, docker.engine), "web")


def test_unknown_service(docker: Docker, settings: Settings) -> None:
    """A wrong service is named beside the right ones."""
    docker.states = [[container()]]
    with pytest.raises(UsageError, match="the stack shop has no service 'wbe'") as caught:
        stack.chosen(Stack(settings, docker.engine), "wbe")
    assert caught.value.hint == "it has: web"


def test_logs(docker: Docker, settings: Settings) -> None:
    """Each option reaches Compose."""
    docker.states = [[container()]]
    made = Stack(settings, docker.engine)
    assert stack.logs(made, "", None, follow=False).argv == (*PROJECT, "logs")
    assert stack.logs(made, "web", 0, follow=True).argv == (*PROJECT, "logs", "--follow", "--tail", "0", "web")


def test_a_healthy_service_that_answers_nobody_outside(docker: Docker, up: Up) -> None:
    """A server that listens inside alone, or hangs up at each request, is found at its port, and its log is read."""
    docker.states, docker.answers = [[], [container(Health="healthy")]], [False] * 100
    docker.log = ["OSError: [Errno 30] Read-only file system: '/app/uploads'"]
    with pytest.raises(DockyardError, match="does not answer at port 8000 after 7 s: it writes /app/uploads"):
        up(timeout=7)
