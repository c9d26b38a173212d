"""Look at everything that the pipeline needs of this machine, side by side and within a time limit."""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockyard.bases.parallel import end_children
from dockyard.doctor import engine, network, project
from dockyard.doctor.model import Check, Machine, Once, Row, State
from dockyard.errors import DockyardError

if TYPE_CHECKING:
    from dockyard.settings import Settings

LIMIT = 10.0
"""Seconds after which the doctor stops waiting."""


def examine(settings: "Settings", environment: Mapping[str, str]) -> tuple[Row, ...]:
    """Return every row of the table, in the order of CHECKS."""
    return run_checks(
        CHECKS, Machine(settings, environment, Once(lambda: engine.look_at_engines(settings, environment)))
    )


def run_checks(checks: Mapping[str, Check], machine: Machine, limit: float = LIMIT) -> tuple[Row, ...]:
    """Run checks side by side; one that fails or does not end within `limit` seconds becomes a failing row."""
    done: queue.SimpleQueue[tuple[str, tuple[Row, ...]]] = queue.SimpleQueue()

    def work(name: str, check: Check) -> None:
        done.put((name, survive(name, check, machine)))

    # Daemon threads: one that hangs on the network must not keep the doctor from going home.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in checks.items()]
    for thread in threads:
        thread.start()
    rows: dict[str, tuple[Row, ...]] = {}
    over = time.monotonic() + limit
    try:
        with contextlib.suppress(queue.Empty):
            while len(rows) < len(checks):
                name, rows[name] = done.get(timeout=max(0.0, over - time.monotonic()))
    finally:
        end_children({thread.native_id for thread in threads if thread.is_alive() and thread.native_id})
    late = f"no answer within {limit:g} s"
    return tuple(
        row for name in checks for row in rows.get(name, (Row(name, State.FAIL, late, "check the network, try again"),))
    )


def survive(name: str, check: Check, machine: Machine) -> tuple[Row, ...]:
    """Return a check's rows; whatever it raises becomes a failing row."""
    try:
        return tuple(check(machine))
    except DockyardError as error:
        return (Row(name, State.FAIL, error.message, error.hint),)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the other rows with it
        return (Row(name, State.FAIL, f"the check itself broke: {error!r}", "please report it as a bug"),)


CHECKS: Mapping[str, Check] = {
    "engine": engine.check_engine,
    "builder": engine.check_builder,
    "disk": engine.check_disk,
    "memory": engine.check_memory,
    "base images": network.check_bases,
    "registry": network.check_registry,
    "package index": network.check_index,
    "apt mirror": network.check_mirror,
    "CA bundle": network.check_certificates,
    "git": project.check_git,
    "locks": project.check_locks,
    "ports": project.check_ports,
    "Python": project.check_python,
    "pre-commit": project.check_hook,
}
"""Every check, in the order of the table: what has most often to be mended comes first."""
