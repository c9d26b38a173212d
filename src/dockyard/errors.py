"""The errors that Dockyard raises: each says what happened, what to do next, and the exit code."""

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple


class ExitCode(IntEnum):
    """What a Dockyard command says to the shell when it ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BUG = 3
    INTERRUPTED = 130


class DockyardError(Exception):
    """Something a person can act on: `message` says what is wrong and where, `hint` what to do next."""

    code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DockyardError):
    """The command line asks for something that does not exist or does not go together."""

    code = ExitCode.USAGE


class SettingsError(DockyardError):
    """A value in pyproject.toml or the environment cannot be used."""

    code = ExitCode.USAGE


class EngineError(DockyardError):
    """No Docker Engine can be reached or started."""


class CommandError(DockyardError):
    """A program that Dockyard ran ended with an error; `output` is the end of what it said."""

    def __init__(self, message: str, hint: str = "", *, returncode: int = 1, output: str = "") -> None:
        super().__init__(message, hint)
        self.returncode = returncode
        self.output = output


class ChangesPending(DockyardError):
    """A dry run or a check found work to do; like pip-tools' dry run, it exits with 1."""


class Sign(NamedTuple):
    """What a pattern in a program's output means and what to do; {0}, {1} … in both are the pattern's groups.

    It counts in the last `reach` lines alone, or anywhere where that is 0.
    """

    pattern: str
    message: str
    hint: str = ""
    reach: int = 0


def read_signs(signs: Iterable[Sign], said: str) -> Sign | None:
    """Return the first of some signs that is in what a program said, in whatever case, with its blanks filled in."""
    lines = said.rstrip().splitlines()
    for sign in signs:
        found = re.search(sign.pattern, "\n".join(lines[-sign.reach :]), re.IGNORECASE | re.MULTILINE)
        if found:
            groups = found.groups(default="")
            return sign._replace(message=sign.message.format(*groups).strip(), hint=sign.hint.format(*groups))
    return None


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception and everything that it was made from: requests and urllib3 hide it in four places."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if not any(one is other for other in found):
            found.append(one)
            inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
            waiting += [item for item in inner if isinstance(item, BaseException)]
    return found


def name_cause(causes: Sequence[BaseException]) -> str:
    """Return the words of the innermost cause, the operating system's where it has said something."""
    words = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return words[-1] if words else str(causes[-1])
