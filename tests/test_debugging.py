"""Which process a debugger goes to, and how it gets there."""

import json
from typing import Any

import pytest

from dockyard.errors import DockyardError, UsageError
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack import shell
from dockyard.stack.shell import PythonProcess
from dockyard.stack.stack import Stack
from tests.scripted_docker import PROJECT, Docker, container

RELOADER = (PythonProcess(7, 1, "flask run"), PythonProcess(9, 7, "flask run"))
WORKERS = (PythonProcess(1, 0, "gunicorn"), PythonProcess(8, 1, "gunicorn: a"), PythonProcess(9, 1, "gunicorn: b"))


class Pythons(Docker):
    """A Docker whose containers tell of their Python."""

    def __init__(self, said: Completed) -> None:
        super().__init__()
        self.says = {"python": said}
        self.states = [[container()]]


def telling(version: tuple[int, int], *processes: PythonProcess) -> Completed:
    """Return what a container says of its Python."""
    rows = [[one.pid, one.parent, one.command] for one in processes]
    return Completed(0, json.dumps({"version": version, "processes": rows}), "", 0.1)


@pytest.fixture
def made(settings: Settings) -> Any:
    """Return a function that makes a stack on a scripted Docker."""

    def make(docker: Docker) -> Stack:
        (settings.root / "compose.yaml").touch()
        (settings.root / "Dockerfile").write_text("FROM x AS development\n")
        return Stack(settings, docker.engine, ("compose.yaml",))

    return make


def test_the_process_below_all_others() -> None:
    """A reloader only watches: the server is the process below it."""
    assert shell.select_process(RELOADER, None).pid == 9
    assert shell.select_process(RELOADER, 7).pid == 7


def test_several_processes() -> None:
    """Among several workers one has to be named, and all are shown."""
    with pytest.raises(UsageError, match="which process") as caught:
        shell.select_process(WORKERS, None)
    assert "8 gunicorn: a; 9 gunicorn: b" in caught.value.hint
    with pytest.raises(UsageError, match="no Python process 10"):
        shell.select_process(WORKERS, 10)


def test_attached(made: Any) -> None:
    """From 3.14 on, the debugger goes to the running process."""
    there = made(Pythons(telling((3, 14), *RELOADER)))
    command = shell.debug_service(there, "", None, terminal=True)
    assert command
    assert command.argv == (
        "docker", "exec", "--interactive", "--tty", "--user=0", "--privileged", "1", "python", "-m", "pdb", "-p", "9",
    )  # fmt: skip
    command = shell.debug_service(there, "", 7, terminal=False)
    assert command
    assert "--tty" not in command.argv
    assert command.argv[-1] == "7"


def test_an_older_python_runs_in_the_foreground(made: Any, said: list[str]) -> None:
    """The service stops, runs at the terminal, and runs by itself again."""
    docker = Pythons(telling((3, 13), *RELOADER))
    there = made(docker)
    assert shell.debug_service(there, "", None, terminal=False) is None
    run = ("run", "--rm", "--service-ports", "--use-aliases", "--no-TTY", "web")
    assert [command.argv for command in docker.asked][-3:] == [
        (*PROJECT, "stop", "web"),
        (*PROJECT, "--file", "compose.yaml", *run),
        (*PROJECT, "start", "web"),
    ]
    assert docker.asked[-2].env["PORT"] == "8000"
    assert said[0].startswith("Python 3.13 lets no debugger into a running process")
    assert said[-1] == "web runs by itself again"


def test_interrupted_in_the_foreground(made: Any) -> None:
    """Ctrl-C ends the debugging, and the service is started again all the same."""
    docker = Pythons(telling((3, 13)))
    docker.says["run"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        shell.debug_service(made(docker), "", None, terminal=True)
    assert docker.asked[-1].argv[-2:] == ("start", "web")


def test_production(made: Any) -> None:
    """A debugger holds up a service: the production image is left in peace."""
    docker = Pythons(telling((3, 14)))
    docker.states = [[container(Image="shop:production")]]
    with pytest.raises(DockyardError, match="runs the production image"):
        shell.debug_service(made(docker), "", None, terminal=False)


def test_no_python(made: Any) -> None:
    """A service that is no Python program cannot be debugged by it."""
    with pytest.raises(DockyardError, match="no Python to ask in web: not found") as caught:
        shell.debug_service(made(Pythons(Completed(127, "", "not found\n", 0.1))), "", None, terminal=False)
    assert "--service" in caught.value.hint
