"""A Swarm that answers the docker command as a real one does, as far as a deploy asks it.

Services, tasks and configs live in memory. An image named in `faults` never becomes healthy: the update that brings
it returns by itself, as the update's configuration says, and its task has a reason. An image in `stuck` never
becomes anything. Time passes when somebody waits.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from dockyard.engine.client import Engine
from dockyard.errors import CommandError
from dockyard.process import Command, Completed


@dataclass
class SwarmStandIn:
    """What a manager knows; `calls` are the commands that it was given, `cut_after` a word at which it falls silent."""

    faults: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    manager: bool = True
    cut_after: str = ""
    cut: bool = False
    interrupt_at: str = ""
    now: float = 0.0
    compose: dict[str, Any] = field(default_factory=dict)

    engine = Engine("host", "28.0.0", True)

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def run(self, command: Command, *, check: bool = True) -> Completed:
        """Answer one docker command."""
        words = command.argv[1:]
        self.calls.append(words)
        if self.cut:
            said = "Cannot connect to the Docker daemon at tcp://manager. Is the docker daemon running?"
            done = Completed(1, "", said, 0.1)
        elif not self.manager:
            done = Completed(1, "", "Error response from daemon: This node is not a swarm manager.", 0.1)
        else:
            if self.interrupt_at and self.interrupt_at in words:
                self.interrupt_at = ""
                raise KeyboardInterrupt
            done = getattr(self, f"_{words[0]}")(words[1:], command)
            self.cut = bool(self.cut_after) and self.cut_after in words
        if check and not done.ok:
            raise CommandError(done.stderr, returncode=done.returncode, output=done.stderr)
        return done

    def verbs(self, *wanted: str) -> list[str]:
        """Return what was asked for that changes anything, shortened to two words."""
        shown = [" ".join(words[:2]) for words in self.calls]
        return [words for words in shown if words in wanted]

    def image(self, service: str) -> str:
        """Return the image that a service runs."""
        return str(self.services[service]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])

    def _compose(self, _words: tuple[str, ...], _command: Command) -> Completed:
        return _said(json.dumps(self.compose))

    def _image(self, words: tuple[str, ...], _command: Command) -> Completed:
        known = {"Config": {"Entrypoint": None, "Cmd": ["serve"]}}
        return Completed(1, "", "no such image", 0.1) if "absent" in words[-1] else _said(json.dumps([known]))

    def _pull(self, _words: tuple[str, ...], _command: Command) -> Completed:
        return Completed(1, "", "dial tcp: connection refused", 0.1)

    def _secret(self, _words: tuple[str, ...], _command: Command) -> Completed:
        return _said("\n".join(self.secrets))

    def _node(self, words: tuple[str, ...], _command: Command) -> Completed:
        nodes = (
            ("n1", "Ready", "Active"),
            ("n2", "Down", "Active"),
            ("n3", "Ready", "Active"),
            ("n4", "Ready", "Drain"),
        )
        first = 0 if "Hostname" in words[-1] else 1
        return _said("\n".join(" ".join(node[first : first + 2]) for node in nodes))

    def _network(self, _words: tuple[str, ...], _command: Command) -> Completed:
        return _said("")

    def _config(self, words: tuple[str, ...], command: Command) -> Completed:
        name = words[-1]
        if words[0] == "create":
            name = words[-2]
            if name in self.configs:
                return Completed(1, "", f"rpc error: code = AlreadyExists desc = config {name} already exists", 0.1)
            labels = dict(word.split("=", 1) for word in words[1:-2] if "=" in word)
            self.configs[name] = {"Labels": labels, "Data": base64.b64encode(command.input or b"").decode()}
            return _said(name)
        if words[0] == "ls":
            return _said("\n".join(self.configs))
        if words[0] == "inspect":
            there = [name for name in words[1:] if name in self.configs]
            return _said(json.dumps([{"ID": name, "Spec": {"Name": name, **self.configs[name]}} for name in there]))
        return _said(name) if self.configs.pop(name, None) else Completed(1, "", f"no such config: {name}", 0.1)

    def _service(self, words: tuple[str, ...], _command: Command) -> Completed:
        if words[0] == "ls" and "--quiet" in words:
            return _said("\n".join(self.services))
        if words[0] == "ls":
            chosen = next(word.removeprefix("id=") for word in words if word.startswith("id="))
            return _said("2/3" if "Global" in self.services[chosen]["Spec"]["Mode"] else "2/2")
        if words[0] == "inspect":
            return _said(json.dumps([self.services[name] for name in words[1:]]))
        if words[0] == "rm":
            return _said(words[1]) if self.services.pop(words[1], None) else Completed(1, "", "not found", 0.1)
        if words[0] == "ps":
            return _said("\n".join(json.dumps(self.tasks[name]) for name in self.tasks))
        return _said("Traceback\nOSError: no shelves")

    def _stack(self, words: tuple[str, ...], command: Command) -> Completed:
        stack = words[-1]
        if words[0] == "rm":
            self.services.clear()
            return _said("")
        document = json.loads(command.input or b"{}")
        if "--prune" in words:
            wanted = {f"{stack}_{name}" for name in document["services"]}
            self.services = {name: one for name, one in self.services.items() if name in wanted}
        for name, body in document["services"].items():
            self._update(f"{stack}_{name}", body)
        return _said("")

    def _update(self, name: str, body: dict[str, Any]) -> None:
        fault = self.faults.get(body["image"], "") if "release" not in name else self.faults.get("release", "")
        spec = {
            "Name": name,
            "Labels": body["deploy"].get("labels", {}),
            "Mode": {"Replicated": {"Replicas": body["deploy"]["replicas"]}}
            if "replicas" in body["deploy"]
            else {"Global": {}},
            "TaskTemplate": {"ContainerSpec": {"Image": body["image"], "Env": []}},
        }
        # A copy that is ill is ended, and may end well.
        state = "Complete" if fault == "ill" else "Failed" if fault else "Complete" if "release" in name else "Running"
        task = f"t{len(self.tasks)}"
        self.tasks[task] = {
            "ID": task, "Name": f"{name}.1", "Image": body["image"], "Node": "n1", "DesiredState": "Running",
            "CurrentState": f"{state} 1 second ago", "Error": "" if fault == "ill" else fault,
        }  # fmt: skip
        before = self.services.get(name)
        if body["image"] in self.stuck:
            del self.tasks[task]
            self.services[name] = {"ID": name, "Spec": spec, "UpdateStatus": {"State": "updating"}}
        elif fault and before:
            message = f"update rolled back due to failure or early termination of task {task}"
            self.services[name] = {**before, "UpdateStatus": {"State": "rollback_started", "Message": message}}
        elif not fault or "release" in name:
            status = {"UpdateStatus": {"State": "completed"}} if before else {}
            self.services[name] = {"ID": name, "Spec": spec, **status}


def _said(text: str) -> Completed:
    return Completed(0, text, "", 0.1)
