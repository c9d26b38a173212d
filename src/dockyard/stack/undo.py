"""Take back what a start of a stack has made when it fails: what was there before stays as it was."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dockyard.process import Command, capture
from dockyard.stack.compose import Container, complaint

if TYPE_CHECKING:
    from dockyard.stack.stack import Stack

log = logging.getLogger(__name__)


@contextlib.contextmanager
def undo_on_failure(stack: "Stack", before: tuple[Container, ...]) -> Iterator[None]:
    """Do the block; where it ends with an error or an interrupt, take back what came since `before`."""
    volumes = stack.volumes()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            log.info("interrupted: taking down what was started")
        _undo(stack, before, volumes)
        raise


def _undo(stack: "Stack", before: tuple[Container, ...], volumes: frozenset[str]) -> None:
    """Bring back what was before: no container, network or volume that was not there, none running that was not."""
    if not before:
        commands = [stack.by_name("down", "--remove-orphans")]
    else:
        now = stack.containers()
        known, ran = {one.id for one in before}, {one.id for one in before if one.running}
        new = [one.id for one in now if one.id not in known]
        woken = [one.id for one in now if one.id in known - ran]
        commands = [
            *([stack.engine.command("rm", "--force", *new)] if new else []),
            *([stack.engine.command("stop", *woken)] if woken else []),
        ]
        log.info("the stack was there before: what still runs of it was left as it is")
    for command in commands:
        _tidy(command)
    added = sorted(stack.volumes() - volumes)
    if added:
        _tidy(stack.engine.command("volume", "rm", *added))


def _tidy(command: Command) -> None:
    done = capture(command, check=False)
    if not done.ok:
        log.info(f"not all of it could be removed: {complaint(done.stderr)}; `invoke down` tries again")
