"""The door between Invoke and the pipeline: tasks whose errors are told once, in one form."""

import errno
import functools
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import task as invoke_task

from dockyard import __version__, console
from dockyard.errors import DockyardError, ExitCode

if TYPE_CHECKING:
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

OF_THE_MACHINE = {
    errno.ENOSPC: "free some disk space, then run it again: `invoke doctor` shows how much is left",
    errno.EDQUOT: "your disk quota is used up: free some space, then run it again",
    errno.EROFS: "the file system can only be read: run this in a folder that can be written",
    errno.EACCES: "check who owns it: a command that was once run as another user may have made it",
}
"""Errors of the operating system that are no bug of ours, and what to do about each."""


def task(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make an Invoke task behind the error boundary; takes what `invoke.task` takes.

    Only text and flags belong in a signature: Invoke turns a bad number into a traceback.
    """

    def wrap(body: Callable[..., None]) -> Any:
        return invoke_task(**options)(boundary(body))

    return wrap


def boundary(body: Callable[..., None]) -> Callable[..., None]:
    """Return `body` with every exception translated to a message and an exit code."""

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> None:
        from dockyard.process import ending_as_interrupt  # `invoke --list` starts no program

        console.show_progress()
        try:
            with ending_as_interrupt():
                body(*args, **kwargs)
        except DockyardError as error:
            console.error(error.message, error.hint)
            raise Exit(code=int(error.code)) from None
        except KeyboardInterrupt:
            log.info("\ninterrupted: nothing half-made was kept")
            raise Exit(code=int(ExitCode.INTERRUPTED)) from None
        except BrokenPipeError:
            leave_quietly()
            raise Exit(code=int(ExitCode.OK)) from None
        except Exit:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: nothing may reach the person as a traceback
            raise Exit(code=int(_unexpected(error))) from None

    return run


def leave_quietly() -> None:
    """Point stdout elsewhere where the reader of our output has left (`| head`), so that no word is said of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> ExitCode:
    """Tell of an error that nobody foresaw: trouble with the machine's files as such, anything else as our bug."""
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        console.error(f"{error.strerror}: {error.filename or 'while writing a file'}", OF_THE_MACHINE[error.errno])
        return ExitCode.FAILED
    console.error(f"this is a bug in Dockyard {__version__}: {error!r}", f"please report it; {save_traceback(error)}")
    return ExitCode.BUG


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


def settings(environment: Mapping[str, str] | None = None) -> "Settings":
    """Return the settings of the project in the current folder."""
    from dockyard.settings import load

    return load(Path.cwd(), os.environ if environment is None else environment)
