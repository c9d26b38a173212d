"""`invoke doctor`, `engine.status`, `.start`, `.stop` and `.remove`: this machine, and the embedded engine on it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke.collection import Collection

from dockyard import console
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.doctor import Row
    from dockyard.engine.embedded.lifecycle import Status


@task()
def status(json: bool = False) -> None:
    """Show whether the embedded engine runs, where it is and what it uses."""
    from dockyard.engine.embedded import lifecycle

    found = lifecycle.status()
    if json:
        console.as_json(found)
    else:
        console.pairs(describe(found))


@task()
def start() -> None:
    """Start the embedded engine, fetching its packages where they are missing."""
    from dockyard.engine.embedded import install, lifecycle

    chosen = settings()
    answer = lifecycle.start(allow_expired=chosen.allow_expired_release)
    where = install.here()
    console.log.info(f"Docker Engine {lifecycle.version(answer)} is running in {where.shown()}")
    console.pairs({name: install.client_environment(where)[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG")})


@task()
def stop() -> None:
    """Stop the embedded engine: no process, mount, bridge or firewall rule of it stays; images do."""
    from dockyard.engine.embedded import lifecycle

    console.log.info("the embedded engine is stopped" if lifecycle.stop() else "the embedded engine was not running")


@task()
def remove() -> None:
    """Stop the embedded engine and delete its images, volumes and packages."""
    from dockyard.engine.embedded import install, lifecycle

    where = install.here().shown()
    console.log.info(
        f"the embedded engine in {where} is removed" if lifecycle.stop(delete=True) else f"there is none in {where}"
    )


def describe(found: "Status") -> dict[str, str]:
    """Return the rows that tell a person how the engine is doing."""
    if not found.disk:
        return {"engine": "not installed", "data": str(found.data_root), "start": "invoke engine.start"}
    stopped = "stopped" if found.pid is None else "running, but this user gets no answer (it answers root)"
    rows = {
        "engine": f"{found.version}, running" if found.running else stopped,
        "process": str(found.pid or "none"),
        "socket": str(found.socket),
        "data": str(found.data_root),
        "disk": console.size(found.disk),
    }
    return {**rows, "containers": str(found.containers)} if found.running else rows


engine = Collection("engine", status, start, stop, remove)


@task()
def doctor(json: bool = False) -> None:
    """Check everything the pipeline needs, and say how to mend what is missing; exits with 1 if a check fails."""
    from dockyard.doctor import LIMIT, examine
    from dockyard.errors import DockyardError

    chosen = settings()
    with console.status(f"looking at this machine, {LIMIT:g} s at most"):
        rows = examine(chosen, os.environ)
    failed = sum(row.state == "fail" for row in rows)
    if json:
        console.as_json({"ok": not failed, "checks": rows})
    else:
        print_rows(rows)
    if failed:
        raise DockyardError(f"{failed} of {len(rows)} checks failed", "each row that failed says what to do")


def print_rows(rows: "Sequence[Row]") -> None:
    """Print the table, each row that is not well with its fix below, and a last line that sums up."""
    cells = [(row.check, row.state, f"{row.found}\n→ {row.fix}" if row.fix else row.found) for row in rows]
    console.table(("check", "state", "found"), cells, styles={"ok": "green", "warn": "bold yellow", "fail": "bold red"})
    warned = sum(row.state == "warn" for row in rows)
    if not any(row.state == "fail" for row in rows):
        console.log.info(f"{len(rows)} checks, {warned or 'no'} warning{'s'[: warned != 1]}: ready to build")
