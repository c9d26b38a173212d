"""A Docker that answers from a script, for tests of the flows that drive it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors

from dockyard.engine.client import Engine
from dockyard.process import Command, Completed, checked

Answer = str | Completed | BaseException | Callable[[Command], "str | Completed | BaseException"]
"""How a command ends: with this output, like this, by raising this, or as a function says."""

PROJECT = ("docker", "compose", "--project-name", "shop")
MODEL: dict[str, Any] = {
    "services": {
        "web": {
            "image": "shop:development",
            "ports": [{"host_ip": "127.0.0.1", "published": "8000", "target": 8000, "protocol": "tcp"}],
        }
    }
}


def container(**changes: Any) -> dict[str, Any]:
    """Return a healthy container as `docker compose ps` describes it."""
    publishers = [{"URL": "127.0.0.1", "PublishedPort": 8000, "TargetPort": 8000, "Protocol": "tcp"}]
    healthy = {"ID": "1", "Name": "shop-web-1", "Service": "web", "Image": "shop:development", "State": "running"}
    return {**healthy, "Health": "healthy", "ExitCode": 0, "Publishers": publishers, **changes}


@dataclass(frozen=True)
class ScriptedEngine(Engine):
    """An engine whose API and SDK are a script too."""

    docker: "Docker | None" = None

    def ask(self, what: str) -> Any:
        """Answer GET `what` of the engine's API; None is what an engine without a local socket is."""
        assert self.docker
        return self.docker.api.get(what)

    def client(self) -> Any:
        """Return what is used of an SDK client: statistics of containers, and archives of images."""
        assert self.docker
        memory = self.docker.memory
        return SimpleNamespace(
            close=lambda: None,
            api=SimpleNamespace(
                stats=lambda _name, **_options: {"memory_stats": memory},
                get_image=self.docker.get_image,
            ),
        )


class Docker:
    """A Docker that answers from a script, and does nothing else that a real one does not.

    What `says` has for one of a command's words comes first; then come the images that it has and those that a registry
    has. `states` are what `compose ps` shows, one after the other.
    """

    def __init__(self, **engine: Any) -> None:
        self.asked: list[Command] = []
        self.says: dict[str, Answer] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.archives: dict[str, bytes] = {}
        self.registry: dict[str, str] = {}
        self.api: dict[str, Any] = {}
        self.memory: Mapping[str, Any] = {"usage": 50_000_000, "stats": {"inactive_file": 10_000_000}}
        self.programs: dict[str, str] = {"docker": "/usr/bin/docker"}
        known = {"environment": {"DOCKER_HOST": "unix:///run/x.sock"}, **engine}
        self.engine: Engine = ScriptedEngine(
            "host", "28.5.2", **{"snapshotter": True, **known}, runner=self, docker=self
        )
        self.states: list[list[dict[str, Any]]] = [[], [container()]]
        self.restarts: list[int] = [0]
        self.hashes = ""
        self.answers: list[bool] = []
        self.volumes: list[str] = [""]
        self.config = Completed(0, json.dumps(MODEL), "", 0.1)
        self.inspected: list[Any] = [{"Status": "exited", "ExitCode": 3}]
        self.log = ["Traceback", "ValueError: cannot start it"]

    def which(self, program: str) -> str | None:
        """Say where a program is, like process.which."""
        return self.programs.get(program)

    def capture(self, command: Command, *, check: bool = True) -> Completed:
        """Answer one command, like process.capture: a failure is raised where `check` is set."""
        self.asked.append(command)
        done = self._scripted(command) or self.answer(command)
        return checked(command, done) if check else done

    tee = stream = capture

    def lines(self, command: Command) -> Iterator[str]:
        """Answer with a log, or with the output that is scripted, like process.lines."""
        self.asked.append(command)
        scripted = self._scripted(command)
        yield from checked(command, scripted).stdout.splitlines() if scripted else self.log

    def get_image(self, reference: str, chunk_size: int) -> Iterator[bytes]:
        """Hand over the archive of an image, by its name or digest, as the SDK does."""
        self.asked.append(Command(("docker", "READ", reference)))
        digest = str(self.images[reference]["Id"]) if reference in self.images else reference
        if digest not in self.archives:
            raise docker.errors.ImageNotFound(f"No such image: {reference}")
        whole = self.archives[digest]
        return (whole[at : at + chunk_size] for at in range(0, len(whole), chunk_size))

    def _scripted(self, command: Command) -> Completed | None:
        for word, said in self.says.items():
            if word in command.argv:
                answer = said(command) if callable(said) else said
                if isinstance(answer, BaseException):
                    raise answer
                return answer if isinstance(answer, Completed) else Completed(0, answer, "", 0.1)
        return None

    def answer(self, command: Command) -> Completed:
        """Answer a command that is not scripted: what other programs than docker override."""
        words = command.argv
        if words[1:4] == ("buildx", "imagetools", "inspect"):
            return self._ask_registry(words[4])
        if words[1:3] == ("image", "inspect"):
            return self._inspect(words)
        if words[1] in ("rmi", "tag"):
            return self._name(*words[1:])
        if "config" in words and "--hash" not in words:
            return self.config
        return Completed(0, self._compose(words), "", 0.1)

    def _ask_registry(self, name: str) -> Completed:
        if name in self.registry:
            return Completed(0, json.dumps({"digest": self.registry[name]}), "", 0.1)
        return Completed(1, "", f"ERROR: docker.io/library/{name}: not found", 0.1)

    def _inspect(self, words: tuple[str, ...]) -> Completed:
        found = [{"RepoTags": [name], **self.images[name]} for name in words[3:] if name in self.images]
        lost = [f"Error response from daemon: No such image: {name}" for name in words[3:] if name not in self.images]
        return Completed(int(bool(lost)), json.dumps(found), "\n".join(lost), 0.1)

    def _name(self, verb: str, name: str, other: str = "") -> Completed:
        if name not in self.images:
            return Completed(1, "", f"Error response from daemon: No such image: {name}", 0.1)
        if verb == "tag":
            self.images[other] = self.images[name]
        else:
            self.images.pop(name)
        return Completed(0, "", "", 0.1)

    def _compose(self, words: tuple[str, ...]) -> Any:
        if "--hash" in words:
            return self.hashes
        if "ps" in words:
            return json.dumps(_next(self.states))
        if words[1:3] == ("volume", "ls"):
            return _next(self.volumes)
        if "{{.RestartCount}}" in words:
            return f"{_next(self.restarts)}\n"
        return json.dumps(_next(self.inspected)) if words[1] == "inspect" else ""

    def verbs(self) -> list[str]:
        """Return the docker commands that were asked for, in order."""
        return [command.argv[1] for command in self.asked]

    @property
    def changing(self) -> list[tuple[str, ...]]:
        """What was asked for that changes anything."""
        verbs = ("up", "down", "rm", "stop", "restart")
        return [command.argv for command in self.asked if any(verb in command.argv for verb in verbs)]


def _next(answers: list[Any]) -> Any:
    """Return the next answer; the last one is given again and again."""
    return answers.pop(0) if len(answers) > 1 else answers[0]


def write_metadata(command: Command) -> None:
    """Write the metadata that a bake would write: a digest by the name of each of its targets."""
    targets = json.loads(command.input or b"")["target"]
    metadata = next(word for word in command.argv if word.startswith("--metadata-file=")).partition("=")[2]
    Path(metadata).write_text(json.dumps({name: {"containerimage.digest": f"sha256:{name}"} for name in targets}))
