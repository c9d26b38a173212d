"""What is to run at a destination, and which of the services of the Compose files does what (pure)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
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

    `facts` are those of the image, where they are known; `own` is the name of the project's image without a tag.
    """

    stack: str
    own: str
    ports: tuple[int, ...]
    destination: Destination
    image: str
    document: Document
    front_image: str = front.IMAGE
    facts: ImageFacts | None = None


def list_own(goal: Goal) -> tuple[str, ...]:
    """Return the services that run the project's image; raise SettingsError where none does."""
    found = tuple(name for name, body in goal.document["services"].items() if is_own(goal, body))
    if not found:
        known = ", ".join(goal.document["services"]) or "none"
        raise SettingsError(
            f"no service of the Compose files runs the image {goal.own}, so that there is nothing to deploy",
            f"write image: ${{DOCKYARD_IMAGE:-{goal.own}}}:production for those that are the project's, of {known}",
        )
    return found


def list_steps(goal: Goal) -> tuple[str, ...]:
    """Return those of the project's services that another one waits for until they have ended: steps, no servers."""
    waits = [body.get("depends_on") or {} for body in goal.document["services"].values()]
    ending = "service_completed_successfully"
    awaited = {name for wait in waits for name, said in wait.items() if said.get("condition") == ending}
    return tuple(name for name in list_own(goal) if name in awaited)


def find_web(goal: Goal) -> tuple[str, int]:
    """Return the service that requests go to, and the first port of the settings that it publishes.

    Where no service publishes any of them it is ("", 0); raise SettingsError where several publish one.
    """
    for port in goal.ports:
        names = [name for name in list_own(goal) if port in list_targets(goal.document["services"][name])]
        if len(names) > 1:
            raise SettingsError(
                f"{' and '.join(names)} both publish port {port}, and requests can go to one of them",
                "let the other one listen on a port of its own, or publish none in compose.production.yaml",
            )
        if names:
            return names[0], port
    return "", 0


def list_targets(body: Document) -> set[int]:
    """Return the ports of a container that a service publishes."""
    return {int(port["target"]) for port in body.get("ports") or ()}


def check_names(goal: Goal) -> None:
    """Raise SettingsError for a service that has the name of one of ours."""
    ours = {FRONT: "the proxy before the service"} if goal.destination.front and find_web(goal)[0] else {}
    for name, what in {**ours, RELEASE: "the release step"}.items():
        if name in goal.document["services"] and name not in list_steps(goal):
            raise SettingsError(
                f"the service {name} of the Compose files has the name that a deploy gives to {what}",
                "call it otherwise",
            )


def is_own(goal: Goal, body: Document) -> bool:
    """Tell whether a service runs the project's image."""
    name = re.sub(r"(:[\w.-]+)?(@\S+)?$", "", str(body.get("image") or ""))
    return name in {goal.own, goal.image.partition("@")[0]}


def parse_seconds(text: str) -> float:
    """Return a duration as Compose writes it, such as 1m30s, in seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", text))


def parse_size(text: str) -> int:
    """Return an amount of memory as Compose writes it, such as 256m or 268435456, in bytes."""
    found = re.fullmatch(r"([0-9.]+)\s*([kmg]?)b?", text.strip().lower())
    return math.ceil(float(found[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[found[2]]) if found else 0


def parse_tmpfs(line: str) -> tuple[str, int]:
    """Return where a tmpfs of a Compose file is mounted, and its size in bytes, 0 where none is said."""
    target, _, options = line.partition(":")
    size = re.search(r"size=([0-9]+[kmg]?)", options)
    return target, parse_size(size[1]) if size else 0
