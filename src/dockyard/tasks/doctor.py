"""`invoke doctor`: check everything that the pipeline needs."""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dockyard import console
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from invoke.context import Context

    from dockyard.doctor.model import Row

log = logging.getLogger(__name__)


@task(help={"json": "print JSON, for machines"})
def doctor(_context: "Context", json: bool = False) -> None:
    """Check everything the pipeline needs, and say how to mend what is missing; exits with 1 if a check fails."""
    from dockyard.doctor import checks
    from dockyard.errors import DockyardError

    chosen = settings()
    with console.status(f"looking at this machine, {checks.LIMIT:g} s at most"):
        rows = checks.examine(chosen, os.environ)
    failed = sum(row.state == "fail" for row in rows)
    if json:
        console.as_json({"ok": not failed, "checks": [vars(row) for row in rows]})
    else:
        show(rows)
    if failed:
        raise DockyardError(f"{failed} of {len(rows)} checks failed", "each row that failed says what to do")


def show(rows: "Sequence[Row]") -> None:
    """Print the table, each row that is not well with its fix below, and a last line that sums up."""
    cells = [(row.check, row.state, f"{row.found}\n→ {row.fix}" if row.fix else row.found) for row in rows]
    console.table(("check", "state", "found"), cells, styles={"ok": "green", "warn": "bold yellow", "fail": "bold red"})
    warned = sum(row.state == "warn" for row in rows)
    if not any(row.state == "fail" for row in rows):
        log.info(f"{len(rows)} checks, {warned or 'no'} warning{'s'[: warned != 1]}: ready to build")
