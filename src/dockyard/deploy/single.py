"""Deploy to one host without a Swarm: a new set of copies beside the old one, then the front turns to the new.

Sets have two colours. Until the front has turned nothing that serves was touched, and its configuration is the one
truth about which set serves: whatever an interrupted deploy has left besides is removed by the next one.
"""

import contextlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard import console
from dockyard.deploy import docker, hostfile, stackfile
from dockyard.deploy.cluster import Instance, LostError, UnhealthyError, show_last_words
from dockyard.deploy.front import FILE, Front, write_config
from dockyard.deploy.goal import FRONT, RELEASE, Goal
from dockyard.deploy.hostfile import COLOURS, OWN, WEB
from dockyard.deploy.plan import Live, Objects
from dockyard.deploy.stackfile import VERSION, StackFile
from dockyard.deploy.versions import Containers, EngineDeployer, list_log_options
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Command
from dockyard.stack import compose

log = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0
"""How long a copy without a health check must have run to count as up."""
REASON_SECONDS = 10.0
"""How long to look for the end of a copy that is restarted."""
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
RELOAD = "SIGUSR2"
ABSENT = re.compile(r"bind source path does not exist: (\S+)")


@dataclass(frozen=True)
class Box:
    """One container of the stack."""

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str
    restarts: int
    labels: Mapping[str, str]

    @property
    def colour(self) -> str:
        """The colour of its set, empty where it is in none."""
        return self.service.rpartition("-")[2] if OWN in self.labels else ""

    @property
    def plain(self) -> str:
        """The name of its service without the colour."""
        return self.service.rpartition("-")[0] if self.colour else self.service

    @property
    def healthy(self) -> bool:
        """Whether it does its work."""
        return self.state == "running" and self.health in {"", "healthy"}

    @property
    def failed(self) -> bool:
        """Whether it has ended, or is ill: a copy that had to start twice is none to send requests to."""
        return self.state in {"exited", "dead", "restarting"} or self.health == "unhealthy" or self.restarts > 0


@dataclass(frozen=True)
class Host(EngineDeployer):
    """One host with an engine."""

    lost_hint = "what served before goes on, or what the front has turned to; the next deploy removes what is left"
    shelf = Containers
    pause = 0.5

    def read_live(self) -> Live:
        """Return what runs now."""
        boxes = self._boxes()
        text = self._read_front(boxes)
        serving = self._find_serving(boxes, text)
        shown = [box for box in boxes if box.colour in {"", serving} and box.state == "running"]
        objects = {}
        for name in dict.fromkeys(box.plain for box in shown):
            its = [box for box in shown if box.plain == name]
            objects[f"service {name}"] = hostfile.read_facts(its[0].labels, len(its))
        if text and f"service {FRONT}" in objects:
            objects[f"service {FRONT}"]["config"] = hash_config(text)
        return Live(objects, self.store.list_versions(_version(boxes, serving)))

    def make_objects(self, image: str) -> Objects:
        """Return what should run."""
        stack = hostfile.make_host(docker.make_goal(self.settings, self.destination, self.docker, image))
        found = {f"service {name}": hostfile.wanted_facts(body) for name, body in stack.services.items()}
        if FRONT in stack.services:
            (port,) = (int(body["labels"][WEB]) for body in stack.services.values() if WEB in body["labels"])
            found[f"service {FRONT}"]["config"] = hash_config(self._write_front((), port))
        return found

    def make_stack(self, goal: Goal) -> tuple[StackFile, tuple[StackFile, ...]]:
        """Return the documents of Compose."""
        stack = hostfile.make_host(goal)
        return stack, hostfile.make_jobs(goal, stack)

    def choose_front(self) -> str:
        """Return the image of the front that runs, or of one that the host can fetch or has."""
        running = next((box.image for box in self._boxes() if box.service == FRONT), "")
        return running or docker.provide_front(self.settings, self.docker)

    def read_current(self) -> int:
        """Return the version that serves."""
        boxes = self._boxes()
        return _version(boxes, self._serving(boxes))

    def status(self) -> tuple[Instance, ...]:
        """Return every container of the stack; of two sets, the one that does not serve is named so."""
        boxes = self._boxes()
        serving = self._serving(boxes)
        return tuple(
            Instance(
                box.plain, box.name, box.image, box.state, box.health,
                said="" if box.colour in {"", serving} else "gets no requests",
            )
            for box in boxes
        )  # fmt: skip

    def logs(self, service: str, *, follow: bool, tail: int | None) -> Command:
        """Return the command that shows the log of a service, or of the whole stack."""
        boxes = self._boxes()
        names = sorted({box.service for box in boxes if service == box.plain or (not service and box.colour)})
        if not names:
            known = ", ".join(dict.fromkeys(box.plain for box in boxes))
            raise UsageError(f"{self.destination.name} has no service {service!r}", f"it has: {known or 'none'}")
        words = list_log_options(follow=follow, tail=tail)
        return self.docker.engine.command(
            "compose", "--project-name", self.stack, "logs", *words, *names, cwd=Path("/"), env={"COMPOSE_FILE": None}
        )

    def _boxes(self) -> tuple[Box, ...]:
        """Return every container of the stack."""
        listing = ("container", "ls", "--all", "--quiet", "--no-trunc", "--filter", f"label={PROJECT}={self.stack}")
        ids = self.docker.read(*listing).split()
        return tuple(sorted(map(_box, self.docker.inspect("container", *ids)), key=lambda box: box.name))

    def _read_front(self, boxes: Iterable[Box]) -> str:
        """Return the configuration that the front has, within the archive that `docker cp` makes of it."""
        front = next((box for box in boxes if box.service == FRONT), None)
        return self.docker.attempt("container", "cp", f"{front.id}:{FILE}", "-").stdout if front else ""

    def _write_front(self, copies: tuple[str, ...], port: int) -> str:
        place = self.destination
        return write_config(Front(place.port, copies, port, place.domain, fixed=True))

    def _serving(self, boxes: Iterable[Box]) -> str:
        """Return the colour of the set that serves: the front's configuration says so, or else what runs."""
        return self._find_serving(boxes, self._read_front(boxes))

    def _find_serving(self, boxes: Iterable[Box], front: str) -> str:
        """Return that colour by the front's configuration, which is empty where there is none (pure)."""
        if found := re.search(rf"server {self.stack}-\S+-({'|'.join(COLOURS)})-\d+ ", front):
            return found[1]
        # Without a front, of two sets the older one: a deploy that died has left the other.
        sets = {_version(boxes, box.colour): box.colour for box in boxes if box.colour and box.state == "running"}
        return sets[min(sets)] if sets else ""

    def bring(self, stack: StackFile, image: str, jobs: tuple[StackFile, ...] = (), note: str = "") -> int:
        """Start a new set, turn the front to it, and end the old one; on any failure end the new one instead."""
        before = self._boxes()
        old = self._serving(before)
        new = next(colour for colour in COLOURS if colour != old)
        self._end([box for box in before if box.colour == new])
        with self.attempt(stack, image, note, lambda: self._return(old, new)) as number:
            if (others := hostfile.select_others(stack)).services:
                self._up(others)
            for job in jobs:
                self._release(job)
            if self.destination.order == "stop-first":
                self._end([box for box in before if box.colour == old and old])
            self._up(hostfile.colour_set(stack, new, number))
            if FRONT in stack.services:
                if not any(box.service == FRONT for box in self._boxes()):
                    self._compose(stack.select(FRONT), "up", "--no-start", FRONT)
                self._point(new)
                self._up(stack.select(FRONT))
                self.sleep(self.destination.drain if old else 0)
        # From here on there is nothing to return from: what is left of the old set goes now, or with the next deploy.
        self._end([box for box in self._boxes() if box.colour == old and old])
        self._end([box for box in self._boxes() if not box.colour and box.service not in stack.services])
        return number

    def _return(self, old: str, new: str) -> None:
        """Have the old set serve again, and end the new one."""
        boxes = self._boxes()
        if old and not any(box.colour == old and box.state == "running" for box in boxes):
            known = [one.number for one in self.store.list_versions() if one.outcome == "deployed"]
            previous = _version(boxes, old) or max(known)
            self._up(hostfile.colour_set(self.store.read_version(previous), old, previous))
        if old and self._serving(boxes) == new and any(box.service == FRONT for box in boxes):
            self._point(old)
        self._end([box for box in self._boxes() if box.colour == new or not old])

    def _point(self, colour: str) -> None:
        """Give the front the names of the copies of a set; it lets those go that are no longer among them."""
        boxes = self._boxes()
        (front,) = [box for box in boxes if box.service == FRONT]
        copies = {box.name: int(box.labels[WEB]) for box in boxes if box.colour == colour and WEB in box.labels}
        text = self._write_front(tuple(copies), next(iter(copies.values()))).encode()
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo(FILE.rpartition("/")[2])
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
        self.docker.read("container", "cp", "-", f"{front.id}:{hostfile.FOLDER}", input=content.getvalue())
        if front.state == "running":
            self.docker.read("container", "kill", "--signal", RELOAD, front.id)
            log.info(f"the front turns to {', '.join(copies)}")

    def _release(self, job: StackFile) -> None:
        """Run the release step once; its last lines are told where it fails."""
        container = f"{self.stack}_{RELEASE}"
        self.docker.attempt("container", "rm", "--force", container)
        try:
            with console.status(f"release step: {' '.join(job.services[RELEASE].get('command', ['its image']))}"):
                words = ("run", "--no-TTY", "--no-deps", "--rm", "--name", container, RELEASE)
                done = self._run_compose(job, *words)
        finally:
            with contextlib.suppress(LostError):
                self.docker.attempt("container", "rm", "--force", container)
        if not done.ok:
            last = (done.stdout + done.stderr).splitlines()[-docker.LOG_LINES :]
            hint = show_last_words(RELEASE, "\n".join(last))
            raise UnhealthyError(f"the release step failed with exit code {done.returncode}", hint)

    def _up(self, stack: StackFile) -> None:
        """Start services and wait until every copy is healthy; raise UnhealthyError where one cannot be."""
        wanted = {name: int(body["deploy"]["replicas"]) for name, body in stack.services.items()}
        names = ", ".join(wanted)
        with console.status(f"starting {names}"):
            self._compose(stack, "up", "--detach", "--no-deps", "--no-build", *wanted)
            steady = None
            for late in self.poll(self.destination.timeout):
                boxes = [box for box in self._boxes() if box.service in wanted]
                for box in boxes:
                    if box.failed:
                        raise self._failure(box)
                counts = {name: sum(box.healthy for box in boxes if box.service == name) for name in wanted}
                if counts == wanted:
                    unchecked = any(not box.health for box in boxes)
                    steady = steady or self.clock()
                    if not unchecked or self.clock() - steady >= SETTLE_SECONDS:
                        return
                if late:
                    when = f" within {self.destination.timeout} s"
                    for box in boxes:
                        if not box.healthy:
                            raise self._failure(box, when)
                    raise UnhealthyError(f"{names} did not start{when}")

    def _failure(self, box: Box, when: str = "") -> UnhealthyError:
        """Show the last lines of a failing container, and return the error."""
        hint = show_last_words(box.plain, self.docker.read_log(box.id, "container", "logs"))
        facts: dict[str, Any] = {}
        for over in self.poll(REASON_SECONDS):
            shown = self.docker.attempt("container", "inspect", "--format", "{{json .State}}", box.id).stdout
            facts = json.loads(shown or "{}")
            # One that is started again and again only tells how it ended until it runs once more.
            if over or not box.restarts or facts.get("Status") != "running":
                break
        return UnhealthyError(f"{compose.explain(box.plain, facts)}{when}", hint)

    def _end(self, boxes: Iterable[Box]) -> None:
        """End containers, each with the time that its Compose file gives it, and remove them."""
        ids = [box.id for box in boxes]
        if ids:
            self.docker.attempt("container", "stop", *ids, timeout=None)
            self.docker.attempt("container", "rm", "--force", *ids)

    def _compose(self, stack: StackFile, *words: str) -> None:
        done = self._run_compose(stack, *words)
        if not done.ok:
            said = done.stderr.splitlines() or ["it says nothing"]
            raise UnhealthyError(f"Compose could not start {self.stack}: {said[-1]}")

    def _run_compose(self, stack: StackFile, *words: str) -> Any:
        content = json.dumps(stack.document).encode()
        project = ("compose", "--project-name", self.stack, "--project-directory", str(self.settings.root))
        env = {"COMPOSE_FILE": None, "COMPOSE_IGNORE_ORPHANS": "true"}
        done = self.docker.attempt(
            *project, "--file", "-", *words, input=content, env=env, timeout=self.destination.timeout
        )
        if not done.ok and (absent := ABSENT.search(done.stderr)):
            raise DockyardError(
                f"{self.destination.name} has no file {absent[1]}, which a service mounts",
                "a secret is a file of the host: in the `folder` of the destination, or where the Compose files say",
            )
        return done


def hash_config(text: str) -> str:
    """Return what tells a front's configuration from others, whichever copies it sends to (pure)."""
    lines = text[max(text.find("global\n"), 0) :].rstrip("\0").splitlines()
    return stackfile.hash_text("\n".join(line for line in lines if not line.startswith("    server ")))


def _box(body: Mapping[str, Any]) -> Box:
    labels: Mapping[str, str] = body["Config"].get("Labels") or {}
    state = body["State"]
    return Box(
        id=body["Id"],
        name=str(body["Name"]).lstrip("/"),
        service=labels.get(SERVICE, ""),
        image=body["Config"]["Image"],
        state=state["Status"],
        health=str((state.get("Health") or {}).get("Status") or ""),
        restarts=int(body.get("RestartCount") or 0),
        labels=labels,
    )


def _version(boxes: Iterable[Box], colour: str) -> int:
    """Return the version of a set (pure)."""
    return max((int(box.labels.get(VERSION, 0)) for box in boxes if box.colour and box.colour == colour), default=0)
