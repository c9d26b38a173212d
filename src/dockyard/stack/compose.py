"""Read what Compose says: the services a stack should have, the containers it has, and how they do (pure)."""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
RESTARTS = 3
"""How often a service may end and be restarted before it counts as failed: some wait so for another one."""
HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)")
PROGRESS = re.compile(r"\s*(Container|Network|Volume|Image|Service) \S+\s+[A-Z][a-z]+\s*$")


@dataclass(frozen=True)
class Port:
    """A TCP port that a service publishes: `host` is empty for every address of the machine."""

    host: str
    published: int


@dataclass(frozen=True)
class Service:
    """What the Compose files say of a service; `builds` is whether they say how to build its image.

    `own_check` says whether a health check of the image is about it: not so for a worker that shares it with a server.
    """

    name: str
    image: str
    builds: bool = False
    ports: tuple[Port, ...] = ()
    replicas: int = 1
    own_check: bool = True


@dataclass(frozen=True)
class Model:
    """A stack as the Compose files want it; `secrets` are the names and paths of files to be mounted.

    `text` is what Compose makes of the files, empty where more has come on top since.
    """

    services: tuple[Service, ...]
    secrets: tuple[tuple[str, str], ...] = ()
    text: str = ""

    @property
    def ports(self) -> tuple[Port, ...]:
        """Every port of every service."""
        return tuple(port for service in self.services for port in service.ports)


@dataclass(frozen=True)
class Container:
    """A container of a stack; `addresses` are (host, published port, port inside) of TCP.

    `made_from` are the hash of its service's configuration and the digest of its image, as Compose labels them.
    `restarts` says how often its restart policy has started it again; it is only counted where it matters.
    """

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str = ""
    exit_code: int = 0
    status: str = ""
    addresses: tuple[tuple[str, int, int], ...] = ()
    restarts: int = 0
    made_from: tuple[str, str] = ("", "")

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.state == "running"

    @property
    def failed(self) -> bool:
        """Whether it cannot become ready without help."""
        ended = self.state == "exited" and self.exit_code != 0
        looping = self.state == "restarting" and self.restarts >= RESTARTS
        return ended or looping or self.state == "dead" or self.health == "unhealthy"

    @property
    def ready(self) -> bool:
        """Whether it does its work, or a job that ran once has done it; without a health check, running is enough."""
        done = self.state == "exited" and not self.failed
        return done or (self.running and self.health in {"", "healthy"})


def parse_model(text: str, project: str, web: Collection[int] = ()) -> Model:
    """Return the stack in the output of `docker compose config --format json`; the ports inside in `web` speak HTTP."""
    document = json.loads(text)
    replicas = {
        name: int((body.get("deploy") or {}).get("replicas", body.get("scale", 1)))
        for name, body in document.get("services", {}).items()
    }
    bodies = {name: document["services"][name] for name, count in replicas.items() if count}
    images = [str(body.get("image") or f"{project}-{name}") for name, body in bodies.items()]
    services = []
    for (name, body), image in zip(bodies.items(), images, strict=True):
        ports = body.get("ports") or ()
        # A range such as 8000-8010 leaves the choice to the engine, and so does a port without a host's side.
        fixed = [one for one in ports if str(one.get("published", "")).isdecimal() and int(one["published"]) > 0]
        chosen = [one for one in fixed if one.get("protocol", "tcp") == "tcp"]
        published = tuple(Port(one.get("host_ip", ""), int(one["published"])) for one in chosen)
        # Its own health check counts for a service, the image's only for the image's own command.
        serves = not {one.get("target") for one in ports}.isdisjoint(web)
        original = body.get("command") is None and body.get("entrypoint") is None
        own_check = images.count(image) == 1 or bool(body.get("healthcheck")) or original or serves
        services.append(Service(name, image, bool(body.get("build")), published, replicas[name], own_check))
    secrets = tuple((name, body["file"]) for name, body in document.get("secrets", {}).items() if body.get("file"))
    return Model(tuple(services), secrets, text)


def parse_containers(text: str) -> tuple[Container, ...]:
    """Return the containers in the output of `docker compose ps --format json`: one array, or an object a line."""
    text = text.strip()
    entries = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return tuple(sorted((_container(entry) for entry in entries), key=lambda one: one.name))


def _container(entry: Mapping[str, Any]) -> Container:
    publishers = entry.get("Publishers") or ()
    tcp = [one for one in publishers if one["PublishedPort"] and one.get("Protocol", "tcp") == "tcp"]
    addresses = {(one["URL"], one["PublishedPort"], one["TargetPort"]) for one in tcp}
    labels = dict(re.findall(r"com\.docker\.compose\.(config-hash|image)=([\w:]+)", str(entry.get("Labels") or "")))
    status = entry.get("Status", "")
    # Health is another, later look than Status: it is empty for a container that ended in between.
    shown = HEALTH.search(status)
    return Container(
        id=entry["ID"],
        name=entry["Name"],
        service=entry["Service"],
        image=entry.get("Image", ""),
        state=entry["State"],
        health=entry.get("Health") or (shown[1] if shown else ""),
        exit_code=int(entry.get("ExitCode", 0)),
        status=status,
        addresses=tuple(sorted(addresses)),
        made_from=(labels.get("config-hash", ""), labels.get("image", "")),
    )


def judge(containers: Sequence[Container], services: Sequence[Service]) -> tuple[tuple[str, ...], Container | None]:
    """Return the services that a start still waits for, and the first container that failed.

    One whose service publishes a port may not have ended, nor may all have.
    """
    publishes = {service.name: bool(service.ports) for service in services}
    containers = [container for container in containers if container.service in publishes]
    for container in containers:
        if container.failed or (container.state == "exited" and publishes[container.service]):
            return (), container
    unready = {container.service for container in containers if not container.ready}
    there = {container.service for container in containers}
    waiting = tuple(name for name in publishes if name in unready or name not in there)
    if not waiting and containers and not any(container.running for container in containers):
        return (), containers[0]
    return waiting, None


def find_changed(
    containers: Sequence[Container], services: Sequence[Service], hashes: Mapping[str, str], images: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the services that Compose has work for, by the hashes of their configuration and the images' digests.

    A service is left alone when all its containers are made from what is wanted now, and run or have done their job.
    """

    def is_settled(service: Service) -> bool:
        wanted = (hashes.get(service.name, ""), images.get(service.image, ""))
        its = [one for one in containers if one.service == service.name]
        up_to_date = all(wanted) and all(one.made_from == wanted for one in its)
        works = all(one.running or (one.state == "exited" and one.exit_code == 0) for one in its)
        serves = not service.ports or any(one.running for one in its)
        return len(its) == service.replicas and up_to_date and works and serves

    return tuple(service.name for service in services if not is_settled(service))


def unsettled(containers: Sequence[Container], before: Sequence[Container]) -> frozenset[tuple[str, int]]:
    """Return the containers, by id and restarts, that have just started and have no health check to vouch for them."""
    ran = {container.id for container in before if container.running}
    return frozenset(
        (one.id, one.restarts) for one in containers if one.running and not one.health and one.id not in ran
    )


def explain(name: str, state: Mapping[str, Any]) -> str:
    """Say in one line why a container is not up, from the State of `docker inspect`."""
    code, status = state.get("ExitCode", 0), state.get("Status", "")
    if state.get("OOMKilled"):
        return f"{name} ran out of memory and was killed (exit code {code})"
    if state.get("Error"):
        return f"{name} could not be started: {state['Error']}"
    if status in {"exited", "restarting", "dead"}:
        again = ", and is being restarted" if status == "restarting" else ""
        return f"{name} ended with exit code {code}{again}"
    health = state.get("Health") or {}
    log = health.get("Log") or [{}]
    output = str(log[-1].get("Output", "")).strip()
    said = output.splitlines()[-1] if output.startswith("Traceback") else " ".join(output.split())
    condition = "is unhealthy" if health.get("Status") == "unhealthy" else "is not ready"
    return f"{name} {condition}" + (f"; its health check says: {said[:300]}" if said else "")


def complaint(output: str) -> str:
    """Return what Compose says is wrong, without its progress."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip() and not PROGRESS.match(line)]
    return "\n".join(lines[-5:])


@dataclass(frozen=True)
class Lesson:
    """What a log gives away, in words: a row of lessons.toml with its blanks filled in."""

    says: str = ""
    cause: str = ""
    edit: str = ""
    trial: str = ""
    path: str = ""
    wanted: str = ""


def read_lessons() -> list[dict[str, Any]]:
    """Return the lessons as lessons.toml has them, most telling first."""
    text = resources.files(__package__).joinpath("lessons.toml").read_text("utf-8")
    return list(tomllib.loads(text)["lesson"])


def find_lesson(said: str) -> Lesson | None:
    """Return what the last lines of a service that does not come up give away, or None."""
    said = re.sub(r"\\+(?=['\"])", "", said)  # JSON has backslashes before quotes
    for one in read_lessons():
        if found := re.search(one["says"], said, re.IGNORECASE | re.MULTILINE):
            words = one.keys() - {"says", "examples"}
            return Lesson(one["says"], **{key: one[key].format(*found.groups("")).strip() for key in words})
    return None
