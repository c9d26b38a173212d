"""What a Swarm remembers for us in its configs: every version of a stack, and who deploys at this moment."""

import base64
import contextlib
import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dockyard.deploy.docker import Docker, LostError
from dockyard.deploy.plan import Version
from dockyard.deploy.stackfile import LABEL, StackFile
from dockyard.errors import DockyardError

log = logging.getLogger(__name__)

KEPT = 10


@dataclass(frozen=True)
class Store:
    """The configs of one stack; a lock that is older than `patience` seconds, twice, is nobody's any more."""

    docker: Docker
    stack: str
    patience: int

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let nobody else deploy this stack meanwhile; raise DockyardError where somebody does."""
        name = f"{self.stack}_dockyard-lock"
        for attempt in (1, 2):
            done = self._create(name, "", {"owner": owner(), "at": str(int(time.time()))})
            if not done:
                break
            held = self._labels(name)
            age = int(time.time()) - int(held.get("at") or 0)
            if attempt == 2 or not (_is_gone(held.get("owner", "")) or age > 2 * self.patience):
                raise DockyardError(
                    f"{held.get('owner') or 'somebody'} has been deploying {self.stack} for {age} s",
                    f"nothing was changed; wait, or where nobody does any more: docker config rm {name}",
                )
            log.info(f"the deploy of {held.get('owner')} ended {age} s after its start without a word: going on")
            self.docker.attempt("config", "rm", name)
        try:
            yield
        finally:
            with contextlib.suppress(LostError):
                self.docker.attempt("config", "rm", name)

    def read_lock(self) -> str:
        """Return who deploys at this moment, or an empty string."""
        return self._labels(f"{self.stack}_dockyard-lock").get("owner", "")

    def add_version(self, stack: StackFile, image: str, note: str = "") -> int:
        """Keep a stack as the newest version, and return its number."""
        number = max((one.number for one in self.list_versions()), default=0) + 1
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {"image": image, "at": at, "by": owner(), "outcome": note or "begun", "version": str(number)}
        content = json.dumps({"document": stack.document, "files": stack.files})
        if wrong := self._create(self._name(number), content, labels):
            raise DockyardError(f"the version could not be kept at the destination: {wrong}", "nothing was changed")
        return number

    def finish_version(self, number: int, outcome: str) -> None:
        """Say how a version ended; a config is never changed, so it is made anew."""
        labels = self._labels(self._name(number))
        content = self._content(self._name(number))
        if content is None:
            return
        self.docker.attempt("config", "rm", self._name(number))
        self._create(self._name(number), content, {**labels, "outcome": outcome})

    def list_versions(self) -> tuple[Version, ...]:
        """Return every version that is remembered, the newest first."""
        names = [name for name in self._names() if name.startswith(f"{self.stack}_dockyard-v")]
        found = [self._labels(name) for name in names]
        versions = [
            Version(int(one["version"]), one["image"], one["at"], one["by"], one["outcome"]) for one in found if one
        ]
        return tuple(sorted(versions, key=lambda one: one.number, reverse=True))

    def read_version(self, number: int) -> StackFile:
        """Return the stack of a version; raise DockyardError where it is forgotten."""
        content = self._content(self._name(number))
        if content is None:
            raise DockyardError(f"version {number} is not remembered", "deploy its image again, by its digest")
        known = json.loads(content)
        return StackFile(known["document"], known["files"])

    def forget(self, keep: StackFile) -> None:
        """Remove the oldest versions, and configs of containers that no service uses."""
        used = {body["name"] for body in keep.document.get("configs", {}).values()}
        old = [self._name(one.number) for one in self.list_versions()[KEPT:]]
        stems = tuple(f"{self.stack}_{stem}-" for stem in ("front", "drain"))
        old += [name for name in self._names() if name.startswith(stems) and name not in used]
        # The engine refuses to remove what a service still uses.
        for name in old:
            self.docker.attempt("config", "rm", name)

    def _name(self, number: int) -> str:
        return f"{self.stack}_dockyard-v{number:06}"

    def _names(self) -> list[str]:
        return self.docker.read("config", "ls", "--filter", f"name={self.stack}_", "--format", "{{.Name}}").split()

    def _create(self, name: str, content: str, labels: Mapping[str, str]) -> str:
        """Make a config, and return what is wrong where that is refused: of two with one name the second always is."""
        words = [word for key, value in labels.items() for word in ("--label", f"{LABEL}{key}={value}")]
        done = self.docker.attempt("config", "create", *words, name, "-", input=(content or " ").encode())
        if done.ok:
            return ""
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        if "already exists" in said or "AlreadyExists" in said:
            return said
        raise DockyardError(f"the destination refuses to keep {name}: {said}", "nothing was changed")

    def _inspect(self, name: str) -> Mapping[str, Any]:
        done = self.docker.attempt("config", "inspect", name)
        found: Mapping[str, Any] = (json.loads(done.stdout or "[]") or [{}])[0]
        return found

    def _labels(self, name: str) -> dict[str, str]:
        labels = (self._inspect(name).get("Spec") or {}).get("Labels") or {}
        return {str(key).removeprefix(LABEL): str(value) for key, value in labels.items()}

    def _content(self, name: str) -> str | None:
        data = (self._inspect(name).get("Spec") or {}).get("Data")
        return None if data is None else base64.b64decode(data).decode()


def owner() -> str:
    """Return who deploys: user, machine and process."""
    with contextlib.suppress(KeyError, OSError):
        return f"{getpass.getuser()}@{socket.gethostname()}:{os.getpid()}"
    return f"{os.getuid()}@{socket.gethostname()}:{os.getpid()}"


def _is_gone(held: str) -> bool:
    """Tell whether an owner was a process of this machine that has ended."""
    who, _, pid = held.rpartition(":")
    if who.rpartition("@")[2] != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
