"""The embedded Docker Engine: `invoke engine.status`, `.start`, `.stop` and `.remove`."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from invoke.collection import Collection

from dockyard import console
from dockyard.tasks import boundary

if TYPE_CHECKING:
    from invoke.context import Context

    from dockyard.engine.embedded import Status

log = logging.getLogger(__name__)


@boundary.task(help={"json": "print JSON, for machines"})
def status(_context: "Context", json: bool = False) -> None:
    """Show whether the embedded engine runs, where it is and what it uses."""
    from dockyard.engine import embedded

    found = embedded.status()
    if json:
        console.as_json(asdict(found))
    else:
        console.pairs(describe(found))


@boundary.task()
def start(_context: "Context") -> None:
    """Start the embedded engine, fetching its packages where they are missing."""
    from dockyard.engine import embedded

    settings = boundary.settings()
    answer = embedded.start(allow_expired=settings.allow_expired_release)
    where = embedded.here()
    log.info(f"Docker Engine {embedded.version(answer)} is running in {where.shown()}")
    console.pairs({name: embedded.environment(where)[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG")})


@boundary.task()
def stop(_context: "Context") -> None:
    """Stop the embedded engine: no process, mount, bridge or firewall rule of it stays; images do."""
    from dockyard.engine import embedded

    log.info("the embedded engine is stopped" if embedded.stop() else "the embedded engine was not running")


@boundary.task()
def remove(_context: "Context") -> None:
    """Stop the embedded engine and delete its images, volumes and packages."""
    from dockyard.engine import embedded

    where = embedded.here().shown()
    log.info(f"the embedded engine in {where} is removed" if embedded.remove() else f"there is none in {where}")


def describe(found: "Status") -> dict[str, str]:
    """Return the rows that tell a person how the engine is doing."""
    if not found.disk:
        return {"engine": "not installed", "data": str(found.data_root), "start": "invoke engine.start"}
    rows = {
        "engine": _condition(found),
        "process": str(found.pid or "none"),
        "socket": str(found.socket),
        "data": str(found.data_root),
        "disk": console.size(found.disk),
    }
    return {**rows, "containers": str(found.containers)} if found.running else rows


def _condition(found: "Status") -> str:
    if found.running:
        return f"{found.version}, running"
    return "stopped" if found.pid is None else "running, but this user gets no answer (it answers root)"


namespace = Collection("engine", status, start, stop, remove)
