"""What a destination remembers for us: every version of a stack, and who deploys at this moment."""

import base64
import contextlib
import getpass
import json
import logging
import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Protocol

from dockyard.deploy.cluster import LostError
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import Docker, make_goal, read_image_facts
from dockyard.deploy.goal import Goal
from dockyard.deploy.plan import Version
from dockyard.deploy.stackfile import LABEL, StackFile
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Completed
from dockyard.settings import Settings

log = logging.getLogger(__name__)

KEPT = 10


class Shelf(Protocol):
    """Where a destination keeps small texts with labels, each under a name that only one can have."""

    def create(self, name: str, content: str, labels: Mapping[str, str]) -> bool:
        """Put a text there; return False where the name is taken."""

    def remove(self, name: str) -> None:
        """Take a text away by its name or id, if it is there and nothing uses it."""

    def read_all(self) -> dict[str, dict[str, str]]:
        """Return by its name what is said of each text, its `id` and its `content`, in as few questions as can be."""


@dataclass(frozen=True)
class Configs:
    """The configs of a Swarm whose names begin with that of a stack."""

    docker: Docker
    stack: str

    def create(self, name: str, content: str, labels: Mapping[str, str]) -> bool:
        """Make a config; of two with one name the Swarm refuses the second."""
        words = [word for key, value in labels.items() for word in ("--label", f"{LABEL}{key}={value}")]
        # A config cannot be empty.
        done = self.docker.attempt("config", "create", *words, name, "-", input=(content or " ").encode())
        return is_made(name, done, "already ?exists")

    def remove(self, name: str) -> None:
        """Remove a config; the Swarm keeps what a service uses."""
        self.docker.attempt("config", "rm", name)

    def read_all(self) -> dict[str, dict[str, str]]:
        """Return our labels of the stack's configs, and what is in them."""
        names = self.docker.read("config", "ls", "--filter", f"name={self.stack}_", "--format", "{{.Name}}").split()
        return {
            one["Spec"]["Name"]: {
                **own_labels(one["Spec"].get("Labels")),
                "id": one["ID"],
                "content": base64.b64decode(one["Spec"].get("Data") or "").decode("utf-8", "replace"),
            }
            for one in self.docker.inspect("config", *names)
        }


@dataclass(frozen=True)
class Containers:
    """Containers of one host that never start: each has a name of its own, and keeps its image from being pruned."""

    docker: Docker
    stack: str

    def create(self, name: str, content: str, labels: Mapping[str, str]) -> bool:
        """Make a container; of two with one name the engine refuses the second."""
        told = {**labels, "stack": self.stack, "content": content}
        words = [word for key, value in told.items() for word in ("--label", f"{LABEL}{key}={value}")]
        image = labels.get("image") or self.docker.read("image", "ls", "--quiet").split()[0]
        done = self.docker.attempt("container", "create", "--network=none", "--name", name, *words, image, "kept")
        return is_made(name, done, "is already in use")

    def remove(self, name: str) -> None:
        """Remove a container."""
        self.docker.attempt("container", "rm", name)

    def read_all(self) -> dict[str, dict[str, str]]:
        """Return our labels of the stack's containers of this kind, of which the content is one."""
        wanted = ("--filter", f"label={LABEL}stack={self.stack}", "--format", "{{.Names}}")
        found = self.docker.inspect("container", *self.docker.read("container", "ls", "--all", *wanted).split())
        return {one["Name"].lstrip("/"): {**own_labels(one["Config"]["Labels"]), "id": one["Id"]} for one in found}


@dataclass(frozen=True)
class Store:
    """What a destination remembers of a stack; a lock that is twice as old as `patience` seconds is nobody's."""

    shelf: Shelf
    stack: str
    patience: int

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let nobody else deploy this stack meanwhile; raise DockyardError where somebody does."""
        name = f"{self.stack}_dockyard-lock"
        mine = {"owner": owner(), "at": str(int(time.time())), "machine": machine(), "process": str(os.getpid())}
        for attempt in (1, 2):
            if self.shelf.create(name, "", mine):
                break
            held = self.shelf.read_all().get(name, {})
            age = int(time.time()) - int(held.get("at") or 0)
            if attempt == 2 or not (is_gone(held) or age > 2 * self.patience):
                raise DockyardError(
                    f"{held.get('owner') or 'somebody'} has been deploying {self.stack} for {age} s",
                    f"nothing was changed; wait, or where nobody does any more, remove {name} there",
                )
            log.info(f"the deploy of {held.get('owner')} ended {age} s after its start without a word: going on")
            self.shelf.remove(held["id"])  # by its name it could be that of another one who goes on
        try:
            yield
        finally:
            with contextlib.suppress(LostError):
                held = self.shelf.read_all().get(name, {})
                if held.get("owner") == mine["owner"]:
                    self.shelf.remove(held["id"])

    def add_version(self, stack: StackFile, image: str, note: str = "") -> int:
        """Keep a stack as the newest version, and return its number."""
        number = max((one.number for one in self.list_versions()), default=0) + 1
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {"image": image, "at": at, "by": owner(), "outcome": note or "begun", "version": str(number)}
        content = json.dumps({"document": stack.document, "files": stack.files})
        if not self.shelf.create(self._name(number), content, labels):
            raise DockyardError(f"somebody else has made version {number} at this moment", "nothing was changed")
        return number

    def finish_version(self, number: int, outcome: str) -> None:
        """Say how a version ended; a config is never changed, so it is made anew."""
        if found := self.shelf.read_all().get(self._name(number)):
            self.shelf.remove(found.pop("id"))
            self.shelf.create(self._name(number), found.pop("content"), {**found, "outcome": outcome})

    def choose_earlier(self, number: int, current: int, place: str) -> Version:
        """Return the version of a number, or with 0 the last one that ran before; raise UsageError for none."""
        known = [one for one in self.list_versions(current) if one.outcome in {"deployed", "runs"}]
        wanted = [one for one in known if (one.number == number if number else one.number < current)]
        if wanted:
            return wanted[0]
        raise UsageError(
            f"{place} remembers no {f'version {number}' if number else 'earlier version'} that ran",
            "`invoke deploy.history` lists those that it remembers",
        )

    def list_versions(self, current: int = 0) -> tuple[Version, ...]:
        """Return every version that is remembered, the newest first; the `current` one is told to run."""
        held = self.shelf.read_all().items()
        found = {int(one["version"]): one for name, one in held if name.startswith(f"{self.stack}_dockyard-v")}
        return tuple(
            Version(number, one["image"], one["at"], one["by"], "runs" if number == current else one["outcome"])
            for number, one in sorted(found.items(), reverse=True)
        )

    def read_version(self, number: int) -> StackFile:
        """Return the stack of a version; raise DockyardError where it is forgotten."""
        found = self.shelf.read_all().get(self._name(number))
        if found is None:
            raise DockyardError(f"version {number} is not remembered", "deploy its image again, by its digest")
        known = json.loads(found["content"])
        return StackFile(known["document"], known["files"])

    def forget(self, keep: StackFile) -> None:
        """Remove the oldest versions, and configs of containers that no service uses."""
        used = {body["name"] for body in keep.document.get("configs", {}).values()}
        held = self.shelf.read_all()
        old = sorted(name for name in held if name.startswith(f"{self.stack}_dockyard-v"))[:-KEPT]
        stems = tuple(f"{self.stack}_{stem}-" for stem in ("config", "front", "drain"))
        old += [name for name in held if name.startswith(stems) and name not in used]
        # The engine refuses to remove what a service still uses.
        for name in old:
            self.shelf.remove(name)

    def _name(self, number: int) -> str:
        return f"{self.stack}_dockyard-v{number:06}"


class Deployer(ABC):
    """What all kinds do alike: who deploys holds the place, each deploy is remembered, and one that fails returns."""

    settings: Settings
    destination: Destination
    lost_hint: ClassVar[str]
    """What goes on at a destination that is lost in the middle."""

    @property
    @abstractmethod
    def store(self) -> Store:
        """Where versions are kept."""

    def hold(self) -> AbstractContextManager[None]:
        """Let nobody else deploy meanwhile."""
        return self.store.lock()

    @abstractmethod
    def read_current(self) -> int:
        """Return the version that runs, 0 for none."""

    @abstractmethod
    def bring(self, stack: StackFile, image: str, jobs: tuple[StackFile, ...] = (), note: str = "") -> int:
        """Run the steps of a release, then the stack itself as a new version; return its number."""

    def rollback(self, number: int) -> str:
        """Return to an earlier version, 0 for the one before; return its image."""
        with self.hold():
            chosen = self.store.choose_earlier(number, self.read_current(), self.destination.name)
            self.bring(self.store.read_version(chosen.number), chosen.image, note=f"back to {chosen.number}")
        return chosen.image

    @contextlib.contextmanager
    def attempt(self, stack: StackFile, image: str, note: str, bring_back: Callable[[], None]) -> Iterator[int]:
        """Remember a stack as the newest version, and how it ends; when it fails, what ran before is brought back."""
        number = self.store.add_version(stack, image, note)
        try:
            yield number
        except BaseException as error:
            why = error.message.splitlines()[0] if isinstance(error, DockyardError) else "interrupted"
            log.warning(f"{why}: back to what ran before")
            try:
                bring_back()
                self.store.finish_version(number, "failed")
            except LostError as lost:
                told = lost.message if isinstance(error, LostError) else f"{why}; {lost.message}"
                raise LostError(told, self.lost_hint) from None
            raise
        self.store.finish_version(number, "deployed")
        self.store.forget(keep=stack)


@dataclass(frozen=True)
class EngineDeployer(Deployer):
    """What is reached by the docker command."""

    settings: Settings
    destination: Destination
    docker: Docker
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    shelf: ClassVar[type[Configs] | type[Containers]]
    pause: ClassVar[float]
    """Seconds between two looks at what starts or ends."""

    @abstractmethod
    def make_stack(self, goal: Goal) -> tuple[StackFile, tuple[StackFile, ...]]:
        """Return what is to run, and the steps of its release; raise DockyardError where something is missing."""

    @abstractmethod
    def choose_front(self) -> str:
        """Return the image of the front: the one that runs stays, so that a deploy never touches it."""

    def apply(self, image: str) -> int:
        """Bring an image to run under the lock; on any failure what ran before runs."""
        goal = make_goal(self.settings, self.destination, self.docker, image)
        read_image_facts(self.docker, image)  # it must be there before anything changes
        with self.hold():
            if self.destination.front:
                goal = replace(goal, front_image=self.choose_front())
            stack, jobs = self.make_stack(goal)
            return self.bring(stack, image, jobs)

    def poll(self, seconds: float) -> Iterator[bool]:
        """Yield, with a pause between, whether some seconds are over by now."""
        deadline = self.clock() + seconds
        while True:
            yield self.clock() > deadline
            self.sleep(self.pause)

    @property
    def stack(self) -> str:
        """The name that everything of this project has there."""
        return self.settings.stack

    @property
    def store(self) -> Store:
        """Where versions and the lock are kept."""
        return Store(self.shelf(self.docker, self.stack), self.stack, self.destination.timeout)


def list_log_options(*, follow: bool, tail: int | None) -> tuple[str, ...]:
    """Return the options of `docker … logs`."""
    return (*(("--follow",) if follow else ()), *(("--tail", str(tail)) if tail is not None else ()))


def is_made(name: str, done: Completed, taken: str) -> bool:
    """Tell whether something was made; not, where its name is `taken`: raise DockyardError for anything else."""
    if not done.ok and not re.search(taken, done.stderr, re.IGNORECASE):
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise DockyardError(f"the destination refuses to keep {name}: {said}", "nothing was changed")
    return done.ok


def own_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels of ours without their prefix (pure)."""
    return {key.removeprefix(LABEL): str(value) for key, value in (labels or {}).items() if key.startswith(LABEL)}


def owner() -> str:
    """Return who deploys: user, machine and process."""
    name = str(os.getuid())
    with contextlib.suppress(KeyError, OSError):
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}:{os.getpid()}"


def machine() -> str:
    """Return what tells the processes here from those of another machine or container, whatever their names."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def is_gone(held: Mapping[str, str]) -> bool:
    """Tell whether a lock's owner was a process of this machine that has ended."""
    if not held.get("machine") or held["machine"] != machine():
        return False
    return not Path("/proc", held.get("process", "")).exists()
