"""Bring Python's own debugger to a service of the development stack.

From 3.14 on, Python lets a debugger into a running process (PEP 768), and nothing is restarted. An older one has
to be at the terminal from the start: the service stops, and runs in the foreground until that ends.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dockyard.engine.inside import probe
from dockyard.errors import DockyardError, UsageError
from dockyard.image.names import PRODUCTION, Variant, local_name
from dockyard.process import Command, capture, stream
from dockyard.stack import shell
from dockyard.stack.compose import Container
from dockyard.stack.stack import Stack

log = logging.getLogger(__name__)


FIRST_TO_ATTACH = (3, 14)
AS_ROOT = ("--user=0", "--privileged")
"""The kernel lets nobody else into a process where it is set up strictly (Yama), be it one's own."""


@dataclass(frozen=True)
class Process:
    """A Python process of a container, by the numbers that it has in there."""

    pid: int
    parent: int
    command: str


@dataclass(frozen=True)
class Debuggee:
    """A container, the version of its Python, and the processes that run on it."""

    container: Container
    version: tuple[int, int]
    processes: tuple[Process, ...]

    @property
    def attachable(self) -> bool:
        """Whether its Python lets a debugger in."""
        return self.version >= FIRST_TO_ATTACH


def look(stack: Stack, service: str) -> Debuggee:
    """Return what could be debugged in a running service of the development stack."""
    container = shell.running(stack, service)
    if container.image == local_name(stack.settings, Variant(PRODUCTION, stack.settings.python)):
        raise DockyardError(
            f"{container.service} runs the production image: a debugger would hold up whoever uses it",
            "`invoke up` brings the development stack; `invoke shell` looks around beside this one",
        )
    done = capture(stack.engine.command("exec", *AS_ROOT, container.id, "python", *probe("processes")), check=False)
    if not done.ok:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise DockyardError(
            f"there is no Python to ask in {container.service}: {said}",
            "name the service that is a Python program with --service",
        )
    said = json.loads(done.stdout)
    version = (int(said["version"][0]), int(said["version"][1]))
    return Debuggee(container, version, tuple(Process(*row) for row in said["processes"]))


def attach(stack: Stack, found: Debuggee, pid: int | None, *, terminal: bool) -> Command:
    """Return the command that attaches the debugger to a running process."""
    process = chosen(found.processes, pid)
    attached = ("--interactive", "--tty") if terminal else ("--interactive",)
    argv = (found.container.id, "python", "-m", "pdb", "-p", str(process.pid))
    return stack.engine.command("exec", *attached, *AS_ROOT, *argv)


def chosen(processes: Sequence[Process], pid: int | None) -> Process:
    """Return the process that is meant: the named one, else the one that has no other below it (pure).

    Servers have a process that only watches the others: a reloader, a master of workers.
    """
    parents = {process.parent for process in processes}
    candidates = [one for one in processes if one.pid == pid or (pid is None and one.pid not in parents)]
    if len(candidates) == 1:
        return candidates[0]
    listed = "; ".join(f"{one.pid} {one.command}" for one in processes) or "none"
    if pid is not None:
        raise UsageError(f"there is no Python process {pid} in the service", f"there are: {listed}")
    raise UsageError("which process is meant?", f"name one with --pid; there are: {listed}")


def foreground(stack: Stack, container: Container, *, terminal: bool) -> None:
    """Run a service at this terminal until it ends, then let it run by itself again."""
    service = container.service
    log.info(f"{service} stops, and runs here: `breakpoint()` in its source opens the debugger, Ctrl-C ends it")
    capture(stack.by_name("stop", service))
    words = ("run", "--rm", "--service-ports", "--use-aliases", *(() if terminal else ("--no-TTY",)), service)
    try:
        stream(stack.by_files(*words), check=False)
    finally:
        capture(stack.by_name("start", service))
        log.info(f"{service} runs by itself again")
