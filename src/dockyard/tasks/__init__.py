"""Dockyard's Invoke tasks: a project's tasks.py imports `namespace` as `ns`; `dockyard`, the program, needs none.

The program ends with the exit codes of docs/reference/exit-codes.md.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from dockyard import __version__, console
from dockyard.errors import ExitCode
from dockyard.tasks import base, build, deploy, init, lock, machine, publish, stack, verify
from dockyard.tasks.boundary import leave_quietly

deployments = Collection("deploy", deploy.status, deploy.logs, deploy.history)
deployments.add_task(deploy.deploy, name="run", default=True)

namespace = Collection(
    init.init,
    build.build,
    build.tag,
    publish.push,
    verify.verify,
    verify.reproduce,
    publish.inspect,
    publish.release,
    stack.debug,
    lock.lock,
    verify.audit,
    build.report,
    machine.doctor,
    stack.up,
    stack.down,
    stack.ps,
    stack.logs,
    stack.shell,
    stack.restart,
    deploy.rollback,
    deploy.manifests,
    deployments,
    machine.engine,
    Collection.from_module(base, "base"),
)


def tell_as_usage(step: Callable[..., None]) -> Callable[..., None]:
    """Return a step of Invoke's program; what it cannot read ends like every other error, with the code for usage."""

    @functools.wraps(step)
    def told(*arguments: Any) -> None:
        try:
            step(*arguments)
        except ParseError as error:
            hint = "`dockyard --list` shows every task, `dockyard --help TASK` its options"
            console.error(str(error).rstrip("!"), hint)
            raise Exit(code=int(ExitCode.USAGE)) from None

    return told


class Dockyard(Program):
    """Invoke's program: it reads the options before the task names, those behind them, then what asks for help."""

    parse_core = tell_as_usage(Program.parse_core)
    parse_tasks = tell_as_usage(Program.parse_tasks)
    parse_cleanup = tell_as_usage(Program.parse_cleanup)


def make_program() -> Dockyard:
    """Return the program; a project's own tasks.py is not read: `invoke` does that."""
    return Dockyard(version=__version__, namespace=namespace, name="Dockyard", binary="dockyard")


def run() -> None:
    """Run the program on the command line of this process."""
    try:
        make_program().run(sys.argv)
    except BrokenPipeError:  # Invoke itself prints --list and --help
        leave_quietly()
