"""What a stack needs before it starts: ports, images, secret files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dockyard.errors import DockyardError, SettingsError, UsageError
from dockyard.git import Git
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.stack import prepare
from dockyard.stack.compose import Model, Service
from dockyard.stack.stack import Stack
from tests.conftest import replace_everywhere
from tests.progress import LINES
from tests.scripted_docker import Docker, write_metadata


class Yard(Docker):
    """An engine with some images: `done` is what is built and pulled."""

    def __init__(self, *present: str, revision: str = "") -> None:
        super().__init__()
        config = {"Labels": {prepare.REVISION: revision}}
        self.images = {name: {"Id": name, "Config": config} for name in present}
        self.revision = revision
        self.registry["python:3.13-slim"] = "sha256:3.13"
        self.done: list[tuple[str, ...]] = []
        self.says = {"bake": self.bake, "build": self.compose, "pull": self.compose, "history": ""}

    def compose(self, command: Command) -> str:
        """Note what Compose is to build or pull."""
        self.done.append(command.argv[-2:])
        return ""

    def bake(self, command: Command) -> str:
        """Note what Dockyard is to build."""
        write_metadata(command)
        for target in json.loads(command.input or b"")["target"].values():
            assert "platforms" not in target, "a stack runs on this machine"
            self.done.append(("dockyard", target["target"]))
            self.images |= {name: {"Size": 1} for name in target["tags"]}
        return ""


SERVICES = (
    Service("web", "shop:development", builds=True),
    Service("worker", "shop-worker", builds=True),
    Service("db", "postgres:17"),
)


Provide = Callable[..., list[str]]


@pytest.fixture
def provide(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Provide:
    """Return a function that provides the images of SERVICES from a Docker, and returns what was said."""
    (settings.root / "Dockerfile").write_text("FROM x AS development\nFROM x AS production\n")
    replace_everywhere(monkeypatch, "read_git", lambda _root: Git("b" * 40, 1))

    def run(docker: Yard, mode: str = "absent") -> list[str]:
        services = (*SERVICES, Service("live", "shop:production")) if docker.revision else SERVICES
        shipped = settings._replace(platforms=("linux/amd64", "linux/arm64"))
        prepare.require_images(Stack(shipped, docker.engine), Model(services), mode)
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
    docker = Yard(*present)
    provide(docker, mode)
    assert docker.done == expected


def test_no_build(provide: Provide) -> None:
    """What is absent and may not be built is named."""
    with pytest.raises(UsageError, match="the image shop:development is absent, and --no-build forbids to build it"):
        provide(Yard(), "never")


@pytest.mark.parametrize(
    ("revision", "words"),
    [("b" * 40, None), ("a" * 40, "built from aaaaaaaaaaaa, "), ("b" * 40 + "-dirty", "with uncommitted changes")],
)
def test_old_production_image(provide: Provide, revision: str, words: str | None) -> None:
    """A production image from another commit is started, and that is said."""
    said = provide(Yard(*EVERYTHING, revision=revision))
    assert len(said) == (words is not None)
    assert (words or "") in "".join(said)


def test_image_that_compose_cannot_have(provide: Provide) -> None:
    """A failed pull names the service, the image and the command."""
    docker = Yard(*EVERYTHING[:2])
    docker.says["pull"] = Completed(18, "", "manifest unknown", 0.1)
    with pytest.raises(DockyardError, match=r"`docker compose pull db` ended with exit status 18.*postgres:17"):
        provide(docker)


def test_a_target_that_the_dockerfile_lacks(settings: Settings, provide: Provide) -> None:
    """No registry has an image of the project's own name: it is told, not pulled."""
    docker = Yard(*EVERYTHING)
    model = Model((Service("front", "shop:staging"),))
    provide(docker)
    with pytest.raises(
        SettingsError, match="front wants the image shop:staging, and Dockerfile has no target staging"
    ) as caught:
        prepare.require_images(Stack(settings, docker.engine), model, "absent")
    assert "shop:development, shop:production" in caught.value.hint
    assert docker.done == []


def test_an_old_image_of_several_services_is_told_once(settings: Settings, provide: Provide, said: list[str]) -> None:
    """They all run the same one."""
    docker = Yard(*EVERYTHING, revision="a" * 40)
    provide(docker)
    said.clear()
    model = Model(tuple(Service(name, "shop:production") for name in ("web", "worker", "clock")))
    prepare.require_images(Stack(settings, docker.engine), model, "absent")
    assert len(said) == 1


def test_project_without_dockerfile(settings: Settings) -> None:
    """A project of foreign images alone has no target of its own."""
    assert prepare.local_targets(settings) == {}


def secret(path: Path) -> Model:
    """Return a stack with one secret file."""
    return Model((), (("token", str(path)),))


def test_secret_is_made(settings: Settings, said: list[str]) -> None:
    """A token is random, readable for the user inside, and closed to other users of the host by its folder."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    prepare.require_secrets(settings.root, secret(path))
    token = path.read_text().strip()
    assert len(token) >= 43
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["token"]
    assert said == ["made a random token for the secret token: .dockyard/secrets/token"]
    assert token not in said[0]
    prepare.require_secrets(settings.root, secret(path))
    assert path.read_text().strip() == token
    assert len(said) == 1


def test_secret_of_ones_own(settings: Settings) -> None:
    """A file that a person put there keeps its content, and is made readable inside; its folder is closed."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("mine")
    path.chmod(0o600)
    prepare.require_secrets(settings.root, secret(path))
    assert path.read_text() == "mine"
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_secret_elsewhere(settings: Settings) -> None:
    """A file elsewhere is the person's: an absent one is named, a present one is left as it is."""
    path = settings.root / "token"
    with pytest.raises(SettingsError, match=r"the file of the secret token is absent: .*/token"):
        prepare.require_secrets(settings.root, secret(path))
    path.write_text("mine")
    path.chmod(0o600)
    prepare.require_secrets(settings.root, secret(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_secret_that_is_a_folder(settings: Settings) -> None:
    """A folder, as an engine makes one for an absent file, is no secret."""
    path = settings.root / ".dockyard" / "secrets" / "token"
    path.mkdir(parents=True)
    with pytest.raises(SettingsError, match="the secret token is a folder"):
        prepare.require_secrets(settings.root, secret(path))
