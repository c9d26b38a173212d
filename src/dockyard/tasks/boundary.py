"""The door between Invoke and the pipeline: tasks whose errors are told once, in one form."""

import errno
import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import tasks
from invoke.exceptions import Exit

from dockyard import __version__, console
from dockyard.errors import DockyardError, ExitCode, UsageError

if TYPE_CHECKING:
    from dockyard.settings import Settings

OF_THE_MACHINE = {
    errno.ENOSPC: "free some disk space, then run it again: `invoke doctor` shows how much is left",
    errno.EDQUOT: "your disk quota is used up: free some space, then run it again",
    errno.EROFS: "the file system can only be read: run this in a folder that can be written",
    errno.EACCES: "check who owns it: a command that was once run as another user may have made it",
}
"""Errors of the operating system that are no bug of ours, and what to do about each."""

HELP = {
    "dry_run": "show what would be done",
    "follow": "go on as lines come, until Ctrl-C",
    "force": "push although there are uncommitted changes",
    "json": "print the result as JSON",
    "junit": "write the result to this file as JUnit's XML too, for a CI's test report",
    "python": "the Python whose newest image is meant (default: the settings' python)",
    "sarif": "write the result to this file as SARIF 2.1.0 too, for code scanning",
    "service": "the service that is meant (default: the project's own)",
    "tail": "how many lines of the past to show (default: all)",
    "target": "the target whose newest image is meant (default: production)",
    "timeout": "seconds to wait until every service is ready (default: 120)",
}
"""What an option says where its task says nothing else."""

HELP_OF_SEVERAL = {
    "python": "a supported Python, or `all`; may be given again (default: the settings' python)",
    "tag": "a tag instead of those from git; may be given again",
    "target": "a target of the Dockerfile; may be given again (default: production)",
}
"""The same of options that may be given again."""


def task(*, help: Mapping[str, str] | None = None, **options: Any) -> Callable[[Callable[..., None]], Any]:  # noqa: A002 - Invoke's
    """Make an Invoke task behind the error boundary; takes what `invoke.task` takes, and reads lists off the signature.

    The signature holds the options alone: no task needs Invoke's context. Only text, lists of it and flags belong in
    it: Invoke turns a bad number into a traceback.
    """

    def wrap(body: Callable[..., None]) -> Any:
        @functools.wraps(body)
        def run(_context: object, *args: Any, **kwargs: Any) -> None:
            boundary(body)(*args, **kwargs)

        signature = inspect.signature(body)
        parameters = signature.parameters
        context = inspect.Parameter("_context", inspect.Parameter.POSITIONAL_ONLY)
        vars(run)["__signature__"] = signature.replace(parameters=[context, *parameters.values()])
        several = [name for name, parameter in parameters.items() if "list[" in str(parameter.annotation)]
        known = {**HELP, **{name: HELP_OF_SEVERAL[name] for name in several if name in HELP_OF_SEVERAL}}
        words = {name: known[name] for name in parameters if name in known}
        return tasks.task(iterable=several, help={**words, **(help or {})}, **options)(run)

    return wrap


def boundary(body: Callable[..., None]) -> Callable[..., None]:
    """Return `body` with every exception translated to a message and an exit code."""

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> None:
        from dockyard.process import ending_as_interrupt  # `invoke --list` starts no program

        console.show_progress()
        try:
            with ending_as_interrupt():
                return body(*args, **kwargs)
        except Exit:
            raise
        except DockyardError as error:
            console.error(error.message, error.hint)
            code = error.code
        except KeyboardInterrupt:
            console.log.info("\ninterrupted: nothing half-made was kept")
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            leave_quietly()
            code = ExitCode.OK
        except Exception as error:  # noqa: BLE001 - the boundary: nothing may reach the person as a traceback
            if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
                where = error.filename or "while writing a file"
                console.error(f"{error.strerror}: {where}", OF_THE_MACHINE[error.errno])
                code = ExitCode.FAILED
            else:
                hint = f"please report it; {save_traceback(error)}"
                console.error(f"this is a bug in Dockyard {__version__}: {error!r}", hint)
                code = ExitCode.BUG
        raise Exit(code=int(code))

    return run


def leave_quietly() -> None:
    """Point stdout elsewhere where the reader of our output has left (`| head`), so that no word is said of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def save_traceback(error: BaseException) -> str:
    """Write the traceback of an unexpected error to a file of its own and say where it is."""
    try:
        handle, name = tempfile.mkstemp(prefix="dockyard-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"dockyard {__version__}, Python {sys.version}\nargv: {sys.argv!r}\n\n")
            traceback.print_exception(error, file=file)
    except OSError as trouble:
        return f"its traceback could not be saved: {trouble}"
    return f"the traceback is in {name}"


def settings() -> "Settings":
    """Return the settings of the project in the current folder."""
    from dockyard.settings import load

    return load(Path.cwd(), os.environ)


def parse_number(text: str, option: str, highest: int, *, lowest: int = 1) -> int | None:
    """Return an option's whole number, None where it was not given; raise UsageError where it is none, or too far."""
    if not text:
        return None
    if text.isascii() and text.isdecimal() and lowest <= int(text[:12]) <= highest:
        return int(text)
    raise UsageError(f"{option} {text}: must be a whole number from {lowest} to {highest}")


def print_lines(lines: Iterable[str]) -> None:
    """Print what a program says, each line as it comes."""
    for line in lines:
        # Compose erases the terminal's line before each of its own, where there is no terminal too.
        print(line.removeprefix("\x1b[2K"), flush=True)
