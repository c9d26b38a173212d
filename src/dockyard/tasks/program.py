"""`dockyard`, the program: every task without a tasks.py, with the exit codes of docs/reference/exit-codes.md."""

import sys
from collections.abc import Callable

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from dockyard import __version__, console
from dockyard.errors import ExitCode
from dockyard.tasks.boundary import leave_quietly


class Dockyard(Program):
    """Invoke's program over Dockyard's own tasks, which tells a wrong command line as every other error."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Read the options before the task names."""
        told_as_usage(lambda: Program.parse_core(self, argv))

    def parse_tasks(self) -> None:
        """Read the task names and their options."""
        told_as_usage(lambda: Program.parse_tasks(self))

    def parse_cleanup(self) -> None:
        """Answer --help and --list, which may name what is not there."""
        told_as_usage(lambda: Program.parse_cleanup(self))


def told_as_usage(step: Callable[[], None]) -> None:
    """Do one step of the command line; what cannot be read ends with the code for a wrong usage."""
    try:
        step()
    except ParseError as error:
        console.error(str(error).rstrip("!"), "`dockyard --list` shows every task, `dockyard --help TASK` its options")
        raise Exit(code=int(ExitCode.USAGE)) from None


def make_program() -> Dockyard:
    """Return the program; a project's own tasks.py is not read: `invoke` does that."""
    from dockyard.tasks import namespace

    return Dockyard(version=__version__, namespace=namespace, name="Dockyard", binary="dockyard")


def run() -> None:
    """Run the program on the command line of this process."""
    try:
        make_program().run(sys.argv)
    except BrokenPipeError:  # Invoke itself prints --list and --help
        leave_quietly()
