"""Where a shell is opened: in the container, or beside it."""

from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.stack import shell, stack
from dockyard.stack.stack import Stack
from tests.progress import LINES
from tests.scripted_docker import Docker, container

DATABASE = container(ID="9", Service="db", Name="shop-db-1", Image="postgres:17")


class Shells(Docker):
    """A Docker in which some commands end with an error."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = refused
        self.states = [[container(Image="shop:production")]]

    def capture(self, command: Command, *, check: bool = True) -> Completed:
        """Answer one command, like execute.capture."""
        done = super().capture(command, check=check)
        if any(word in command.argv for word in self.refused):
            return Completed(127, "", "", 0.1)
        return Completed(0, "65532:65532\n", "", 0.1) if "{{.Config.User}}" in command.argv else done


Opened = tuple[tuple[str, ...], list[str]]


def opened(
    docker: Shells, settings: Settings, monkeypatch: pytest.MonkeyPatch, service: str = "", **options: Any
) -> Opened:
    """Return the command that opens a shell, and what was said about it."""
    (settings.root / "Dockerfile").write_text("FROM x AS development\nFROM x AS production\n")
    (settings.root / "compose.yaml").touch()
    monkeypatch.setattr(stack, "capture", docker.capture)
    monkeypatch.setattr(shell, "capture", docker.capture)
    made = Stack(settings, Engine("host", "28.5.1", True))
    return shell.command(made, service, **{"terminal": False, **options}).argv, LINES


@pytest.mark.parametrize(("terminal", "flags"), [(True, ("--interactive", "--tty")), (False, ("--interactive",))])
def test_inside(settings: Settings, monkeypatch: pytest.MonkeyPatch, terminal: bool, flags: tuple[str, ...]) -> None:
    """A container with a shell opens its own, on a terminal only where there is one."""
    argv, said = opened(Shells(), settings, monkeypatch, terminal=terminal)
    assert argv == ("docker", "exec", *flags, "1", "sh")
    assert said == []


def test_beside(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a minimal container stands the development image: same processes, network and user."""
    docker = Shells("exec")
    docker.images["shop:development"] = {}
    argv, said = opened(docker, settings, monkeypatch)
    assert argv == (
        "docker", "run", "--rm", "--interactive", "--pid=container:1", "--network=container:1",
        "--user", "65532:65532", "--no-healthcheck", "shop:development", "sh",
    )  # fmt: skip
    assert said == [
        "shop:production has no shell: this is shop:development beside it; its files are below /proc/1/root"
    ]


def test_beside_as_the_same_numbers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container itself is asked who it runs as: its image's own names mean nothing in another."""

    class WithoutShell(Shells):
        def capture(self, command: Command, *, check: bool = True) -> Completed:
            if "python" in command.argv:
                return Completed(0, '"1000:2000"', "", 0.1)
            return super().capture(command, check=check)

    docker = WithoutShell("exec")
    docker.images["shop:development"] = {}
    argv, _ = opened(docker, settings, monkeypatch)
    assert argv[argv.index("--user") + 1] == "1000:2000"


def test_nothing_to_stand_beside(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the development image, the way to it is said."""
    with pytest.raises(DockyardError, match="has no shell, and shop:development") as caught:
        opened(Shells("exec", "image"), settings, monkeypatch)
    assert caught.value.hint == "`invoke build --target development` makes it"


def test_several_services(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own service is meant, unless another is named."""
    docker = Shells()
    docker.states = [[DATABASE, container()]]
    assert opened(docker, settings, monkeypatch)[0][-2] == "1"
    assert opened(docker, settings, monkeypatch, "db")[0][-2] == "9"


def test_no_service_of_ones_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among foreign services one has to be named."""
    docker = Shells()
    docker.states = [[DATABASE, container(Image="nginx")]]
    with pytest.raises(UsageError) as caught:
        opened(docker, settings, monkeypatch)
    assert caught.value.hint == "name one with --service: db, web"


def test_not_running(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that has ended has no shell to open."""
    docker = Shells()
    docker.states = [[container(State="exited", ExitCode=1)]]
    with pytest.raises(DockyardError, match="web does not run"):
        opened(docker, settings, monkeypatch)
