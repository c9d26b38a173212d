"""Give the user that tests run as a line in /etc/passwd where an image has none: `pwd.getpwuid` fails without one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard.files import make_folder

USER = "65532"
NAME = "nonroot"


@dataclass(frozen=True)
class Accounts:
    """The texts of /etc/passwd and /etc/group in some container."""

    passwd: str
    group: str


Look = Callable[[tuple[str, ...]], Accounts | None]
"""Starts a container of an image with more options of `docker run`; returns its accounts, None where it cannot."""


def name_user(look: Look, folder: Path) -> tuple[str, ...]:
    """Return the options of `docker run` that give the user of the tests a name; none where it has one already.

    None either where the mounts do not show in a container: an engine elsewhere does not see this machine's files.
    """
    held = look(())
    wanted = held and add_user(held)
    if not wanted:
        return ()
    make_folder(folder)
    mounts = []
    for name, text in (("passwd", wanted.passwd), ("group", wanted.group)):
        file = folder / name
        file.write_text(text, "utf-8")
        file.chmod(0o644)
        mounts.append(f"--mount=type=bind,source={file.absolute()},target=/etc/{name},readonly")
    return tuple(mounts) if look(tuple(mounts)) == wanted else ()


def add_user(held: Accounts) -> Accounts | None:
    """Return accounts with the user of the tests and its group, None where the user's number has a line (pure)."""
    if _has_number(held.passwd):
        return None
    passwd = _append(held.passwd, f"{NAME}:x:{USER}:{USER}:{NAME}:/tmp:/sbin/nologin")
    return Accounts(passwd, held.group if _has_number(held.group) else _append(held.group, f"{NAME}:x:{USER}:"))


def parse_accounts(answer: Any) -> Accounts | None:
    """Return what the probe `accounts` says, None where that is no answer (pure)."""
    if not isinstance(answer, dict) or not all(isinstance(answer.get(key), str) for key in ("passwd", "group")):
        return None
    return Accounts(answer["passwd"], answer["group"])


def _has_number(text: str) -> bool:
    return any(line.split(":")[2:3] == [USER] for line in text.splitlines())


def _append(text: str, line: str) -> str:
    return "".join(f"{each}\n" for each in (*text.splitlines(), line))
