"""A Docker that answers from a script, for tests of the flows that drive it."""

import json
from collections.abc import Iterator
from typing import Any

from dockyard.process import Command, Completed

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


class Docker:
    """A Docker that answers from a script: `states` are what `compose ps` shows, one after the other."""

    def __init__(self) -> None:
        self.asked: list[Command] = []
        self.states: list[list[dict[str, Any]]] = [[], [container()]]
        self.restarts: list[int] = [0]
        self.hashes = ""
        self.answers: list[bool] = []
        self.digests: dict[str, str] = {}
        self.volumes: list[str] = [""]
        self.config = Completed(0, json.dumps(MODEL), "", 0.1)
        self.inspected: list[dict[str, Any]] = [{"Status": "exited", "ExitCode": 3}]
        self.log = ["Traceback", "ImportError: cannot import it"]
        self.fails: dict[str, BaseException] = {}

    def capture(self, command: Command, *, check: bool = True) -> Completed:  # noqa: PLR0911 - a script
        """Answer one command, like execute.capture."""
        self.asked.append(command)
        words = command.argv
        for word, error in self.fails.items():
            if word in words:
                raise error
        if "--hash" in words:
            return Completed(0, self.hashes, "", 0.1)
        if "config" in words:
            return self.config
        if "ps" in words:
            shown = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return Completed(0, json.dumps(shown), "", 0.1)
        if words[1:3] == ("volume", "ls"):
            return Completed(0, self.volumes.pop(0) if len(self.volumes) > 1 else self.volumes[0], "", 0.1)
        if words[1:3] == ("image", "inspect"):
            return Completed(0, self.digests.get(words[-1], "") + "\n", "", 0.1)
        if "{{.RestartCount}}" in words:
            return Completed(0, f"{self.restarts.pop(0) if len(self.restarts) > 1 else self.restarts[0]}\n", "", 0.1)
        if words[1] == "inspect":
            state = self.inspected.pop(0) if len(self.inspected) > 1 else self.inspected[0]
            return Completed(0, json.dumps(state), "", 0.1)
        return Completed(0, "", "", 0.1)

    def lines(self, command: Command) -> Iterator[str]:
        """Answer with a log, like execute.lines."""
        self.asked.append(command)
        yield from self.log

    @property
    def changing(self) -> list[tuple[str, ...]]:
        """What was asked for that changes anything."""
        verbs = ("up", "down", "rm", "stop", "restart")
        return [command.argv for command in self.asked if any(verb in command.argv for verb in verbs)]
