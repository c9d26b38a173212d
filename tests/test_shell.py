"""Where a shell is opened: in the container, or beside it."""

from typing import Any

import pytest

from dockyard.errors import DockyardError, UsageError
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack import shell
from dockyard.stack.stack import Stack
from tests.progress import LINES
from tests.scripted_docker import Docker, container

DATABASE = container(ID="9", Service="db", Name="shop-db-1", Image="postgres:17")


class Shells(Docker):
    """A Docker in which some commands end with an error."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.says = {**dict.fromkeys(refused, Completed(127, "", "", 0.1)), "{{.Config.User}}": "65532:65532\n"}
        self.states = [[container(Image="shop:production")]]
        self.images["shop:development"] = {"Id": "sha256:1"}


Opened = tuple[tuple[str, ...], list[str]]


def opened(docker: Shells, settings: Settings, service: str = "", **options: Any) -> Opened:
    """Return the command that opens a shell, and what was said about it."""
    (settings.root / "Dockerfile").write_text("FROM x AS development\nFROM x AS production\n")
    (settings.root / "compose.yaml").touch()
    made = Stack(settings, docker.engine)
    return shell.command(made, service, **{"terminal": False, **options}).argv, LINES


@pytest.mark.parametrize(("terminal", "flags"), [(True, ("--interactive", "--tty")), (False, ("--interactive",))])
def test_inside(settings: Settings, terminal: bool, flags: tuple[str, ...]) -> None:
    """A container with a shell opens its own, on a terminal only where there is one."""
    argv, said = opened(Shells(), settings, terminal=terminal)
    assert argv == ("docker", "exec", *flags, "1", "sh")
    assert said == []


def test_beside(settings: Settings) -> None:
    """Beside a minimal container stands the development image: same processes, network and user."""
    argv, said = opened(Shells("exec"), settings)
    assert argv == (
        "docker", "run", "--rm", "--interactive", "--pid=container:1", "--network=container:1",
        "--user", "65532:65532", "--no-healthcheck", "shop:development", "sh",
    )  # fmt: skip
    assert said == [
        "shop:production has no shell: this is shop:development beside it; its files are below /proc/1/root"
    ]


def test_beside_as_the_same_numbers(settings: Settings) -> None:
    """The container itself is asked who it runs as: its image's own names mean nothing in another."""
    docker = Shells()
    docker.says = {"python": '"1000:2000"', "exec": Completed(127, "", "", 0.1)}
    argv, _ = opened(docker, settings)
    assert argv[argv.index("--user") + 1] == "1000:2000"


def test_nothing_to_stand_beside(settings: Settings) -> None:
    """Without the development image, the way to it is said."""
    docker = Shells("exec")
    docker.images.clear()
    with pytest.raises(DockyardError, match="has no shell, and shop:development") as caught:
        opened(docker, settings)
    assert caught.value.hint == "`invoke build --target development` makes it"


def test_several_services(settings: Settings) -> None:
    """The project's own service is meant, unless another is named."""
    docker = Shells()
    docker.states = [[DATABASE, container()]]
    assert opened(docker, settings)[0][-2] == "1"
    assert opened(docker, settings, "db")[0][-2] == "9"


def test_no_service_of_ones_own(settings: Settings) -> None:
    """Among foreign services one has to be named."""
    docker = Shells()
    docker.states = [[DATABASE, container(Image="nginx")]]
    with pytest.raises(UsageError) as caught:
        opened(docker, settings)
    assert caught.value.hint == "name one with --service: db, web"


def test_not_running(settings: Settings) -> None:
    """A service that has ended has no shell to open."""
    docker = Shells()
    docker.states = [[container(State="exited", ExitCode=1)]]
    with pytest.raises(DockyardError, match="web does not run"):
        opened(docker, settings)
