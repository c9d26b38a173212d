"""Say which pins are behind: what an upgrade of all locks would give now, and nothing is written."""

import dataclasses
import logging
from typing import TYPE_CHECKING

from dockyard import console
from dockyard.locks.plan import Wish

if TYPE_CHECKING:
    from dockyard.locks.lock import Outcome
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


def outdated(settings: "Settings", *, as_json: bool) -> None:
    """Print the newest version that each Python and the inputs allow, for every pin that is another."""
    from dockyard.engine import client
    from dockyard.locks import lock, show

    outcome = lock.make(
        settings,
        Wish(everything=True),
        find_engine=lambda: client.find_engine(settings),
    )
    found = behind(outcome)
    if as_json:
        console.as_json(
            [
                {"package": each.package, "locked": each.before, "newest": each.after, "step": each.step}
                | {"locks": each.locks}
                for each in found.changes
            ]
        )
    elif found.changes:
        console.table(("package", "locked", "newest", "step", "locks"), [row[:5] for row in show.rows(settings, found)])
    log.info(summary(found))


def behind(outcome: "Outcome") -> "Outcome":
    """Return an outcome with those changes only that replace a pin: what an upgrade adds or drops is not outdated."""
    return dataclasses.replace(outcome, changes=tuple(each for each in outcome.changes if each.before and each.after))


def summary(outcome: "Outcome") -> str:
    """Return the last line, which says what newest means here."""
    count = len({each.package for each in outcome.changes})
    said = f"{count} package{'' if count == 1 else 's'} behind" if count else "no package is behind"
    tip = "; `invoke lock --upgrade` takes the newest" if count else ""
    return f"{said} what the .in files and each Python allow{tip}"
