"""What a stack needs before it starts: ports, images, secret files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import CommandError, DockyardError, SettingsError, UsageError
from dockyard.git import Git
from dockyard.image import build
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.stack import ports as sockets
from dockyard.stack import prepare
from dockyard.stack.compose import Container, Model, Port, Service
from dockyard.stack.ports import Owner
from dockyard.stack.stack import Stack
from tests.progress import LINES

MODEL = Model((Service("web", "shop:production", ports=(Port("127.0.0.1", 8000),)),))
RUNNING = Container("1", "shop-web-1", "web", "shop:production", "running", addresses=(("127.0.0.1", 8000, 8000),))


@pytest.fixture
def engine() -> Engine:
    """Return an engine on this machine that exists on paper."""
    return Engine("host", "28.5.1", True, environment={"DOCKER_HOST": "unix:///run/x.sock"})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every port be taken by process 42, and Docker know no container on it."""
    monkeypatch.setattr(sockets, "taken", lambda _host, _port: True)
    monkeypatch.setattr(sockets, "owner", lambda _host, _port: Owner(42, "python3 -m http.server"))
    monkeypatch.setattr(sockets, "next_free", lambda _host, port: port + 1)
    monkeypatch.setattr(prepare, "capture", lambda _command, check: Completed(0, "", "", 0.1))


def test_port_in_use(taken: None, engine: Engine) -> None:
    """The error names port and owner, and the tip a port that is free."""
    with pytest.raises(DockyardError) as caught:
        prepare.ports(engine, MODEL, ())
    assert caught.value.message == "port 8000 of 127.0.0.1 is in use by process 42: python3 -m http.server"
    assert caught.value.hint == "stop it, or publish at another port: `invoke up --port 8001`"


def test_port_of_the_stack_itself(taken: None, engine: Engine) -> None:
    """The port that the running stack publishes is its own."""
    prepare.ports(engine, MODEL, (RUNNING,))


def test_port_of_an_engine_elsewhere(taken: None) -> None:
    """This machine's ports say nothing about those of an engine on another one."""
    prepare.ports(Engine("host", "28", True, environment={"DOCKER_HOST": "tcp://192.0.2.1:2376"}), MODEL, ())


@pytest.mark.parametrize(
    ("containers", "owner", "expected"),
    [
        ("other-web-1 other\nx \n", Owner(42, "x"), "the container other-web-1 of the stack other"),
        ("lonely \n", None, "the container lonely"),
        ("", Owner(42, "nginx"), "process 42: nginx"),
        ("", None, "a program that this user may not see; `ss -ltnp` as root names it"),
    ],
)
def test_describe(containers: str, owner: Owner | None, expected: str) -> None:
    """A container says more than the proxy process that listens for it."""
    assert prepare.describe(containers, owner) == expected


class Docker:
    """An engine with some images: it notes what is built and pulled."""

    def __init__(self, *present: str, revision: str = "") -> None:
        self.present = present
        self.revision = revision
        self.done: list[tuple[str, ...]] = []

    def capture(self, command: Command, *, check: bool = True) -> Completed:
        """Answer `docker image inspect`."""
        ok = command.argv[-1] in self.present
        return Completed(0 if ok else 1, f'{{"{prepare.REVISION}": "{self.revision}"}}', "", 0.1)

    def tee(self, command: Command) -> None:
        """Note what Compose is to build or pull."""
        self.done.append(command.argv[-2:])

    def build(self, settings: Settings, request: build.Request, **_options: object) -> None:
        """Note what Dockyard is to build."""
        assert settings.platforms == (), "a stack runs on this machine"
        self.done.append(("dockyard", *request.targets))


SERVICES = (
    Service("web", "shop:development", builds=True),
    Service("worker", "shop-worker", builds=True),
    Service("db", "postgres:17"),
)


Provide = Callable[..., list[str]]


@pytest.fixture
def provide(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Provide:
    """Return a function that provides the images of SERVICES from a Docker, and returns what was said."""
    (settings.root / "Dockerfile").write_text("FROM x AS development\nFROM x AS production\n")

    def run(docker: Docker, mode: str = "absent") -> list[str]:
        monkeypatch.setattr(prepare, "capture", docker.capture)
        monkeypatch.setattr(prepare, "tee", docker.tee)
        monkeypatch.setattr(build, "build", docker.build)
        monkeypatch.setattr(prepare, "read_git", lambda _root: Git("b" * 40, 1))
        services = (*SERVICES, Service("live", "shop:production")) if docker.revision else SERVICES
        shipped = replace(settings, platforms=("linux/amd64", "linux/arm64"))
        prepare.images(Stack(shipped, engine), Model(services), mode)
        return list(LINES)

    return run


EVERYTHING = ("shop:development", "shop-worker", "postgres:17", "shop:production")


@pytest.mark.parametrize(
    ("present", "mode", "expected"),
    [
        ((), "absent", [("dockyard", "development"), ("build", "worker"), ("pull", "db")]),
        (EVERYTHING, "absent", []),
        (EVERYTHING, "never", []),
        (EVERYTHING, "always", [("dockyard", "development"), ("build", "worker")]),
        (EVERYTHING[:2], "never", [("pull", "db")]),
    ],
)
def test_images(provide: Provide, present: tuple[str, ...], mode: str, expected: list[tuple[str, ...]]) -> None:
    """Targets of the Dockerfile are built by Dockyard, the rest is built or pulled by Compose."""
    docker = Docker(*present)
    provide(docker, mode)
    assert docker.done == expected


def test_no_build(provide: Provide) -> None:
    """What is absent and may not be built is named."""
    with pytest.raises(UsageError, match="the image shop:development is absent, and --no-build forbids to build it"):
        provide(Docker(), "never")


@pytest.mark.parametrize(
    ("revision", "words"),
    [("b" * 40, None), ("a" * 40, "built from aaaaaaaaaaaa, "), ("b" * 40 + "-dirty", "with uncommitted changes")],
)
def test_old_production_image(provide: Provide, revision: str, words: str | None) -> None:
    """A production image from another commit is started, and that is said."""
    said = provide(Docker(*EVERYTHING, revision=revision))
    assert len(said) == (words is not None)
    assert (words or "") in "".join(said)


def test_image_that_compose_cannot_have(provide: Provide, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed pull names the service, the image and the command."""
    docker = Docker(*EVERYTHING[:2])

    def fail(_command: Command) -> None:
        raise CommandError("exit status 18", returncode=18)

    monkeypatch.setattr(docker, "tee", fail)
    with pytest.raises(DockyardError, match=r"`docker compose pull db` ended with exit status 18.*postgres:17"):
        provide(docker)


def test_project_without_dockerfile(settings: Settings) -> None:
    """A project of foreign images alone has no target of its own."""
    assert prepare.local_targets(settings) == {}


def secret(path: Path) -> Model:
    """Return a stack with one secret file."""
    return Model((), (("token", str(path)),))


def test_secret_is_made(settings: Settings, said: list[str]) -> None:
    """A token is random, readable for the user inside, and closed to other users of the host by its folder."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    prepare.secrets(settings.root, secret(path))
    token = path.read_text().strip()
    assert len(token) >= 43
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["token"]
    assert said == ["made a random token for the secret token: .dockyard/secrets/token"]
    assert token not in said[0]
    prepare.secrets(settings.root, secret(path))
    assert path.read_text().strip() == token
    assert len(said) == 1


def test_secret_of_ones_own(settings: Settings) -> None:
    """A file that a person put there keeps its content, and is made readable inside; its folder is closed."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("mine")
    path.chmod(0o600)
    prepare.secrets(settings.root, secret(path))
    assert path.read_text() == "mine"
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_secret_elsewhere(settings: Settings) -> None:
    """A file elsewhere is the person's: an absent one is named, a present one is left as it is."""
    path = settings.root / "token"
    with pytest.raises(SettingsError, match=r"the file of the secret token is absent: .*/token"):
        prepare.secrets(settings.root, secret(path))
    path.write_text("mine")
    path.chmod(0o600)
    prepare.secrets(settings.root, secret(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_secret_that_is_a_folder(settings: Settings) -> None:
    """A folder, as an engine makes one for an absent file, is no secret."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    path.mkdir(parents=True)
    with pytest.raises(SettingsError, match="the secret token is a folder"):
        prepare.secrets(settings.root, secret(path))
