"""Containers that compile: their commands, what they are given, and that none is left."""

import json
import threading
from concurrent import futures
from dataclasses import replace
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.engine.inside import archive
from dockyard.errors import CommandError
from dockyard.locks import check as verify
from dockyard.locks import compile as compiling
from dockyard.locks.check import inspect_locks
from dockyard.locks.compile import Run, build_request, compile_all, compile_command
from dockyard.locks.indexes import Access
from dockyard.locks.plan import Batch, Wish, plan_batches
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from tests.lock_project import COMPILED, write_inputs
from tests.scripted_docker import Docker

ENGINE = Engine(kind="host", version="28.5", snapshotter=True, environment={"DOCKER_HOST": "unix:///x"})
SECRET = Access({"WORD": "hush"}, netrc="machine h login me password hush\n", ca="CA", secrets=("hush",))


@pytest.fixture
def batches(settings: Settings) -> tuple[Batch, ...]:
    """Return the batches of a project without locks."""
    write_inputs(settings.root)
    return plan_batches(inspect_locks(settings), Wish())


def test_the_command_shows_no_secret_and_mounts_nothing_of_the_host(batches: tuple[Batch, ...]) -> None:
    """All that a container needs comes on its standard input: a process list and `docker inspect` tell nothing."""
    command = compile_command(Run(ENGINE, SECRET, "5eed"), replace(batches[1], image="python:3.13-slim"))
    assert command.argv[:8] == (
        *(
            "docker",
            "run",
            "--rm",
            "--interactive",
            "--name",
            "dockyard-lock-3.13-5eed",
            "--label",
            "dockyard.locks=5eed",
        ),
    )
    assert "type=volume,src=dockyard-locks-3.13,dst=/cache,volume-label=dockyard.locks" in command.argv
    assert command.argv[-5:-1] == ("python", "python:3.13-slim", "-I", "-c")
    assert not [word for word in command.argv if "hush" in word or "bind" in word]
    assert command.env == {"DOCKER_HOST": "unix:///x"}
    package, asked = _halves(command)
    assert package == archive()
    assert json.loads(asked)["netrc"] == SECRET.netrc


def _halves(command: Command) -> tuple[bytes, bytes]:
    assert command.input is not None
    length, rest = command.input.split(b"\n", 1)
    return rest[: int(length)], rest[int(length) :]


def test_a_request_holds_the_inputs_and_the_pinned_compiler(batches: tuple[Batch, ...]) -> None:
    """The compiler's own lock travels too, and is that of the version which headers name."""
    batch = replace(batches[0], wanted=("a==1",), resolver="uv")
    asked = build_request(Run(ENGINE, Access({"PIP_INDEX_URL": "https://m/simple"}), "x"), batch)
    assert asked.python == "3.12"
    assert verify.UV.replace(" ", "==") in asked.tools
    assert asked.wanted == ("a==1",)
    assert asked.environment == {"PIP_INDEX_URL": "https://m/simple"}
    both = build_request(Run(ENGINE, Access(), "x"), batches[0])
    assert verify.PIP_TOOLS.replace(" ", "==") in both.tools


def test_an_index_on_loopback_is_reached_through_the_hosts_network(batches: tuple[Batch, ...]) -> None:
    """Inside a container's own network 127.0.0.1 is the container."""
    for loopback, network in ((True, "host"), (False, "default")):
        argv = compile_command(Run(ENGINE, Access(loopback=loopback), "x"), batches[0]).argv
        assert argv[argv.index("--network") + 1] == network


class Containers(Docker):
    """An engine whose containers run until they are removed, answer, or fail, as their Python says."""

    def __init__(self, **answers: str) -> None:
        super().__init__()
        self.said = {name.replace("_", ".").removeprefix("python"): said for name, said in answers.items()}
        self.removed = threading.Event()
        self.forgotten = False

    def answer(self, command: Command) -> Completed:
        """Run a container, list those that run, or remove them."""
        verb = command.argv[1]
        if verb == "run":
            return self.run(command.argv[5].split("-")[2])
        if verb == "ps":
            assert "label=dockyard.locks=" in " ".join(command.argv)
            return Completed(0, "a1b2\n" if not self.removed.is_set() else "", "", 0)
        assert command.argv[1:4] == ("rm", "--force", "--volumes")
        self.removed.set()
        return Completed(0, "", "", 0)

    def run(self, python: str) -> Completed:
        """Behave as the container of a Python."""
        if self.said[python] == "endless":
            self.forgotten = not self.removed.wait(10)
            raise CommandError("the container was removed")
        return Completed(0, self.said[python], "", 0)


def _answer() -> str:
    said = 'warning: `flask==3.1.3` is yanked (reason: "broken")\n'
    locks = {name: {"texts": {"here": text}, "said": said, "files": None} for name, text in COMPILED.items()}
    return json.dumps({"locks": locks, "glibc": "2.41"})


def test_every_python_is_compiled_and_its_locks_are_complete(batches: tuple[Batch, ...], said: list[str]) -> None:
    """The answers of all containers become locks with headers."""
    docker = Containers(python3_12=_answer(), python3_13=_answer())
    done = compile_all(docker.engine, batches, Access())
    made = done.texts
    assert len(made) == 6
    assert [line.partition(";")[0] for line in done.yanked] == [
        "flask==3.1.3 was yanked from its index, because: broken"
    ]
    assert all(text.startswith("# Made by Dockyard") for text in made.values())
    assert not docker.removed.is_set()
    assert said[0] == "making locks for Python 3.12, 3.13: production, base, test"
    assert sorted(line.split(":")[0] for line in said[1:]) == ["Python 3.12", "Python 3.13"]


def test_a_failure_of_one_removes_the_others(batches: tuple[Batch, ...]) -> None:
    """When one lock cannot be made the run ends at once, with that reason, and no container goes on."""
    wrong = {"doing": "test", "said": "hush!", "causes": [], "network": "", "agreed": {}}
    docker = Containers(python3_12="endless", python3_13=json.dumps({"locks": {}, "glibc": "2.41", "failed": wrong}))
    with pytest.raises(CommandError, match=r"3\.13/test\.txt cannot be made: \*\*\*!"):
        compile_all(docker.engine, batches, SECRET)
    assert docker.removed.is_set()
    assert not docker.forgotten


def test_an_interrupt_removes_every_container(batches: tuple[Batch, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while containers run leaves none of them."""
    docker = Containers(python3_12="endless", python3_13="endless")
    once = iter([KeyboardInterrupt()])

    def interrupted(*arguments: Any, **options: Any) -> object:
        for pressed in once:
            raise pressed
        return futures.wait(*arguments, **options)

    monkeypatch.setattr(compiling, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_all(docker.engine, batches, Access())
    assert docker.removed.is_set()
    assert not docker.forgotten


def test_an_answer_that_is_none_is_an_error(batches: tuple[Batch, ...]) -> None:
    """A container that prints something else is told with its command."""
    docker = Containers(python3_12="Killed", python3_13="Killed")
    with pytest.raises(CommandError, match="no answer from: docker run"):
        compile_all(docker.engine, batches[:1], Access())
