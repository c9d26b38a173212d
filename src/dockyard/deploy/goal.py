"""What is to run at a destination, and which of the services of the Compose files does what (pure)."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dockyard.deploy import front
from dockyard.deploy.destination import Destination
from dockyard.errors import SettingsError

Document = Mapping[str, Any]
FRONT = "front"
RELEASE = "release"


@dataclass(frozen=True)
class ImageFacts:
    """What a container of an image starts from."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True)
class Goal:
    """What is to run: `document` is what Compose makes of its files, `image` a repository and a digest.

    `facts` are those of the image, of which only a Swarm needs any; `own` is the project's image without a tag.
    """

    stack: str
    own: str
    ports: tuple[int, ...]
    destination: Destination
    image: str
    document: Document
    front_image: str = front.IMAGE
    facts: ImageFacts = ImageFacts()

    @property
    def services(self) -> Mapping[str, Document]:
        """The services of the Compose files by their names."""
        found: Mapping[str, Document] = self.document["services"]
        return found

    @cached_property
    def own_services(self) -> tuple[str, ...]:
        """The services that run the project's image; raise SettingsError where none does."""
        found = tuple(name for name, body in self.services.items() if self.is_own(body))
        if not found:
            known = ", ".join(self.services) or "none"
            raise SettingsError(
                f"no service of the Compose files runs the image {self.own}, so that there is nothing to deploy",
                f"write image: ${{DOCKYARD_IMAGE:-{self.own}}}:production for those that are the project's, of {known}",
            )
        return found

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Those of the project's services that another one waits for until they have ended: steps, no servers."""
        waits = [body.get("depends_on") or {} for body in self.services.values()]
        ending = "service_completed_successfully"
        awaited = {name for wait in waits for name, said in wait.items() if said.get("condition") == ending}
        return tuple(name for name in self.own_services if name in awaited)

    @cached_property
    def releases(self) -> list[Document]:
        """The services that the release step runs as: the destination's command, or the Compose files' own steps."""
        services, steps = self.services, self.steps
        if not self.destination.release:
            return [services[name] for name in steps]
        first = self.web[0] or next(name for name in self.own_services if name not in steps)
        return [{**services[first], "command": escape_all(self.destination.release), "ports": []}]

    @cached_property
    def web(self) -> tuple[str, int]:
        """The service that requests go to, and the first port of the settings that it publishes.

        Where no service publishes any of them it is ("", 0); raise SettingsError where several publish one.
        """
        for port in self.ports:
            names = [name for name in self.own_services if port in list_targets(self.services[name])]
            if len(names) > 1:
                raise SettingsError(
                    f"{' and '.join(names)} both publish port {port}, and requests can go to one of them",
                    "let the other one listen on a port of its own, or publish none in compose.production.yaml",
                )
            if names:
                return names[0], port
        return "", 0

    def check_names(self) -> None:
        """Raise SettingsError for a service that has the name of one of ours."""
        ours = {FRONT: "the proxy before the service"} if self.destination.front and self.web[0] else {}
        for name, what in {**ours, RELEASE: "the release step"}.items():
            if name in self.services and name not in self.steps:
                raise SettingsError(
                    f"the service {name} of the Compose files has the name that a deploy gives to {what}",
                    "call it otherwise",
                )

    def is_own(self, body: Document) -> bool:
        """Tell whether a service runs the project's image."""
        name = re.sub(r"(:[\w.-]+)?(@\S+)?$", "", str(body.get("image") or ""))
        return name in {self.own, self.image.partition("@")[0]}


def list_targets(body: Document) -> set[int]:
    """Return the ports of a container that a service publishes."""
    return {int(port["target"]) for port in body.get("ports") or ()}


def drop_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says something of a mapping."""
    return {key: value for key, value in values.items() if value not in (None, "", {}, [])}


def escape_all(texts: Iterable[str]) -> list[str]:
    """Return texts as Compose documents hold them, where a dollar sign begins a variable; Compose's own are so."""
    return [text.replace("$", "$$") for text in texts]


def parse_seconds(text: str) -> float:
    """Return a duration as Compose writes it, such as 1m30s, in seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", text))


def parse_size(text: str) -> int:
    """Return an amount of memory as Compose writes it, such as 256m or 268435456, in bytes."""
    found = re.fullmatch(r"([0-9.]+)\s*([kmg]?)b?", text.strip().lower())
    return math.ceil(float(found[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[found[2]]) if found else 0


def list_memory(body: Document) -> Iterator[tuple[str, int]]:
    """Yield the folders in memory that a service has, with the bytes of each, 0 where none are said."""
    for volume in body.get("volumes") or ():
        if volume["type"] == "tmpfs":
            yield volume["target"], parse_size(str((volume.get("tmpfs") or {}).get("size") or ""))
    shared = [f"/dev/shm:size={body['shm_size']}"] if body.get("shm_size") else []  # noqa: S108 - in the container
    for line in (*(body.get("tmpfs") or ()), *shared):
        target, _, options = line.partition(":")
        size = re.search(r"size=([0-9]+[kmg]?)", options)
        yield target, parse_size(size[1]) if size else 0
