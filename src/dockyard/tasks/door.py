"""The door between Invoke and the pipeline: tasks whose errors are told once, in one form."""

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import task as invoke_task
from invoke.exceptions import Exit

from dockyard import __version__, report
from dockyard.errors import DockyardError, ExitCode

if TYPE_CHECKING:
    from dockyard.settings import Settings


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
        try:
            body(*args, **kwargs)
        except DockyardError as error:
            report.error(error.message, error.hint)
            raise Exit(code=int(error.code)) from None
        except KeyboardInterrupt:
            report.say("\ninterrupted: nothing half-made was kept")
            raise Exit(code=int(ExitCode.INTERRUPTED)) from None
        except BrokenPipeError:
            # The reader of our output has left (`| head`): point stdout elsewhere so that the exit is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=int(ExitCode.OK)) from None
        except Exit:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: nothing may reach the person as a traceback
            saved = save_traceback(error)
            report.error(f"this is a bug in Dockyard {__version__}: {error!r}", f"the traceback is in {saved}; please report it")
            raise Exit(code=int(ExitCode.BUG)) from None

    return run


def save_traceback(error: BaseException) -> Path:
    """Write the traceback of an unexpected error to a file of its own and return the path."""
    handle, name = tempfile.mkstemp(prefix="dockyard-", suffix=".log", text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"dockyard {__version__}, Python {sys.version}\nargv: {sys.argv!r}\n\n")
        traceback.print_exception(error, file=file)
    return Path(name)


def settings(environment: Mapping[str, str] | None = None) -> "Settings":
    """Return the settings of the project in the current folder."""
    from dockyard.settings import load

    return load(Path.cwd(), os.environ if environment is None else environment)
