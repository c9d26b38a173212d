"""A host whose engine answers the docker command as a real one does, as far as a deploy without a Swarm asks it.

Containers live in memory. Those of an image in `faults` are in the state named there. Time passes when somebody waits.
"""

import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import Any

from dockyard.engine.client import Engine
from dockyard.process import Command, Completed


@dataclass
class HostStandIn:
    """What an engine knows; `sent_to` is the front's configuration, and `trail` what was done, in order."""

    compose: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    boxes: dict[str, dict[str, Any]] = field(default_factory=dict)
    trail: list[str] = field(default_factory=list)
    sent_to: str = ""
    release: int = 0
    broken: str = ""
    idle: bool = False
    cut_at: str = ""
    cut: bool = False
    interrupt_at: str = ""
    now: float = 0.0

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
        self.cut = self.cut or (bool(self.cut_at) and self.cut_at in words)
        if self.cut:
            return Completed(1, "", "error during connect: no route to host", 0.1)
        if self.interrupt_at and self.interrupt_at in words:
            self.interrupt_at = ""
            raise KeyboardInterrupt
        done: Completed = getattr(self, f"_{words[0]}")(words[1:], command)
        return done

    def serving(self) -> list[str]:
        """Return the images of the copies that the front sends to."""
        return [
            str(box["Config"]["Image"])
            for name, box in self.boxes.items()
            if f"server {name} " in self.sent_to and box["State"]["Status"] == "running"
        ]

    def _image(self, _words: tuple[str, ...], _command: Command) -> Completed:
        return _said(json.dumps([{"Config": {"Cmd": ["serve"]}}]))

    def _compose(self, words: tuple[str, ...], command: Command) -> Completed:
        if "config" in words:
            return _said(json.dumps(self.compose))
        document = json.loads((command.input or b"{}").replace(b"$$", b"$"))
        if "run" in words:
            self.trail.append("release")
            return Completed(self.release, "", "OperationalError: no table", 0.1)
        if self.broken:
            return Completed(1, "", f"orphan containers\n{self.broken}", 0.1)
        for service, body in document["services"].items():
            if service in words and not self.idle:
                self.trail.append(f"up {service}")
                self._start(service, body, running="--no-start" not in words)
        return _said("")

    def _start(self, service: str, body: dict[str, Any], *, running: bool) -> None:
        state = {"Status": "running" if running else "created", "Health": {"Status": "healthy"}, "ExitCode": 0}
        fault = self.faults.get(body["image"], {})
        for number in range(int(body["deploy"].get("replicas", 1))):
            name = f"shop-{service}-{number + 1}"
            labels = {**body["labels"], "com.docker.compose.service": service, "com.docker.compose.project": "shop"}
            config = {"Labels": labels, "Image": body["image"]}
            self.boxes[name] = {"Id": name, "Name": f"/{name}", "Config": config, "State": {**state, **fault}}

    def _container(self, words: tuple[str, ...], command: Command) -> Completed:  # noqa: PLR0911 - a script
        verb, names = words[0], [word for word in words[1:] if word in self.boxes]
        if verb == "ls" and any("io.dockyard.stack" in word for word in words):
            return _said("\n".join(name for name, box in self.boxes.items() if box["State"]["Status"] == "kept"))
        if verb == "ls":
            return _said("\n".join(name for name, box in self.boxes.items() if box["State"]["Status"] != "kept"))
        if verb == "inspect" and "{{json .State}}" in words:
            return _said(json.dumps(self.boxes[names[0]]["State"]))
        if verb == "inspect":
            return _said(json.dumps([self.boxes[name] for name in names]))
        if verb == "create":
            return self._keep(words)
        if verb == "cp" and words[1] == "-":
            with tarfile.open(fileobj=io.BytesIO(command.input or b"")) as archive:
                content = archive.extractfile("haproxy.cfg")
                self.sent_to = content.read().decode() if content else ""
            self.trail.append("point")
        elif verb == "cp":
            return _said(self.sent_to)
        elif verb == "rm":
            self.trail += [f"end {name}" for name in names if self.boxes[name]["State"]["Status"] != "kept"]
            self.boxes = {name: box for name, box in self.boxes.items() if name not in names}
        elif verb == "logs":
            return _said("Traceback\nOSError: no shelves")
        return _said("")

    def _keep(self, words: tuple[str, ...]) -> Completed:
        name = words[words.index("--name") + 1]
        if name in self.boxes:
            return Completed(1, "", f'Conflict. The container name "/{name}" is already in use', 0.1)
        labels = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--label")
        config = {"Labels": labels, "Image": words[-2]}
        self.boxes[name] = {"Id": name, "Name": f"/{name}", "Config": config, "State": {"Status": "kept"}}
        return _said(name)


def _said(text: str) -> Completed:
    return Completed(0, text, "", 0.1)
