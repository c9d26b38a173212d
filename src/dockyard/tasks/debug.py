"""`invoke debug`: Python's debugger in the development stack."""

import logging
import sys

from invoke.context import Context

from dockyard.tasks.boundary import settings, task

log = logging.getLogger(__name__)


@task(
    help={
        "service": "the service that is meant (default: the project's own)",
        "pid": "the process in its container (default: the one that has no other Python process below it)",
    },
)
def debug(_context: Context, service: str = "", pid: str = "") -> None:
    """Attach Python's debugger to a running service; before Python 3.14, run the service at this terminal instead."""
    from dockyard.engine.client import find_engine
    from dockyard.process import replace
    from dockyard.stack import debug as debugging
    from dockyard.stack.stack import Stack, find_files
    from dockyard.tasks.stack import number

    number_of = number(pid, "--pid", 2**22) if pid else None
    chosen = settings()
    files = find_files(chosen.root, production=False)
    stack = Stack(chosen, find_engine(chosen), files)
    found = debugging.look(stack, service)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if found.attachable:
        replace(debugging.attach(stack, found, number_of, terminal=terminal))
    version = ".".join(map(str, found.version))
    log.info(f"Python {version} lets no debugger into a running process, 3.14 is the first that does")
    published = [port for _, port, _ in found.container.addresses]
    stack = Stack(chosen, stack.engine, files, published[0] if published else None)
    debugging.foreground(stack, found.container, terminal=terminal)
