"""What a kind of destination can do. The verbs of `invoke deploy` know nothing else of it."""

import logging
from dataclasses import dataclass
from typing import Protocol

from dockyard.deploy.plan import Live, Objects
from dockyard.errors import DockyardError
from dockyard.process import Command

log = logging.getLogger(__name__)


class UnhealthyError(DockyardError):
    """What was started does not become healthy."""


class LostError(DockyardError):
    """The destination does not answer any more."""


@dataclass(frozen=True)
class Instance:
    """One running copy of a service: `state` is one word, `health` may be empty, `said` is why it failed."""

    service: str
    name: str
    image: str
    state: str
    health: str = ""
    node: str = ""
    said: str = ""


def show_last_words(name: str, text: str) -> str:
    """Show what a failing copy has logged at last, and return the hint that says so."""
    said = [line for line in text.splitlines() if line.strip()]
    for line in said:
        log.info(f"{name} | {line}")
    return "its last lines are above" if said else "it has logged nothing"


class Cluster(Protocol):
    """A destination that can be asked and changed.

    Each raises DockyardError in words. `apply` takes the lock, runs the release step, rolls, waits until all is
    healthy, and returns by itself to what ran before where that fails: then it raises, with the failing task's last
    lines, and nothing is left half-done.
    """

    def read_live(self) -> Live:
        """Return what runs now, without changing anything."""

    def make_objects(self, image: str) -> Objects:
        """Return what should run, for `image` as repository@digest."""

    def apply(self, image: str) -> int:
        """Bring an image to run, remember the deploy at the destination, and return the number of its version."""

    def rollback(self, number: int) -> str:
        """Return to the version of a number, 0 for the one before; return its image."""

    def status(self) -> tuple[Instance, ...]:
        """Return every copy of every service."""

    def logs(self, service: str, *, follow: bool, tail: int | None) -> Command:
        """Return the command that shows what a service, or all of them, have logged."""
