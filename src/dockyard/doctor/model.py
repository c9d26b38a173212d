"""What a check of the doctor is given and what it gives: a machine to look at, rows of a table."""

import functools
import platform
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dockyard import apt
from dockyard.engine import client
from dockyard.engine.embedded import install
from dockyard.engine.embedded.paths import place
from dockyard.process import Completed, capture, which
from dockyard.stack.prepare import is_taken

if TYPE_CHECKING:
    from dockyard.settings import Settings

NETWORK_SECONDS = 5.0


class State(StrEnum):
    """How a check ended; only a failure makes the doctor exit with 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Row:
    """One line of the table: `fix` says what to do, empty where nothing needs doing."""

    check: str
    state: State
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Embedded:
    """The embedded engine: whether it is there, what `docker info` says where it runs, and why it cannot be used."""

    home: str
    version: str
    unpacked: bool = False
    probe: client.Probe | None = None
    refusal: str = ""
    instead: str = ""


@dataclass(frozen=True)
class Engines:
    """The engines of a machine: what the search for the host's gave, and the embedded one."""

    search: client.Search
    embedded: Embedded

    @property
    def kind(self) -> str:
        """The engine that a build would use: host, embedded, or '' where none can be."""
        return "" if self.search.kind == "embedded" and self.embedded.refusal else self.search.kind

    @property
    def info(self) -> Mapping[str, Any]:
        """What that engine says of itself; empty where it does not run."""
        probe = self.embedded.probe if self.kind == "embedded" else self.search.probe
        return probe.info if probe else {}

    @property
    def plugins(self) -> Mapping[str, Any]:
        """What the docker command at hand says of itself, whether an engine answers it or not."""
        return self.info or (self.search.probe.info if self.search.probe else {})

    @property
    def fetches(self) -> bool:
        """Whether the next build would first fetch the embedded engine's packages."""
        return self.kind == "embedded" and not self.embedded.unpacked


class Once:
    """A fact that several checks need: the first one gathers it, the others wait for it."""

    def __init__(self, gather: Callable[[], Engines]) -> None:
        self._gather = functools.cache(gather)
        self._lock = threading.Lock()

    def __call__(self) -> Engines:
        """Return the fact."""
        with self._lock:
            return self._gather()


@dataclass(frozen=True)
class Machine:
    """What is looked at: the project's settings, the environment, the engines once they were asked; and with what."""

    settings: "Settings"
    environment: Mapping[str, str]
    engines: Once
    run: Callable[..., Completed] = field(default=capture)
    which: Callable[[str], str | None] = field(default=which)
    is_taken: Callable[[str, int], bool] = field(default=is_taken)
    node: Callable[[], str] = field(default=platform.node)
    mirror: Callable[[], apt.Mirror] = field(default=apt.mirror)
    codename: Callable[[], str] = field(default=apt.codename)

    def docker(self) -> dict[str, str] | None:
        """Return the environment in which the docker command works, or None where there is none yet."""
        engines = self.engines()
        if engines.kind != "embedded":
            return {} if self.which("docker") else None
        if not engines.embedded.unpacked:
            return None
        return install.client_environment(place(self.environment), self.environment.get("PATH", ""))


Check = Callable[[Machine], Iterable[Row]]
