"""Ask the host's keyring for the password of a package index, as pip and uv do.

The keyring's own command line is asked: its name and a user go there, and the password comes back on standard
output, so that it stands in no list of processes.
"""

import importlib.util
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from dockyard.errors import CommandError, DockyardError

SECONDS = 30.0
"""A keyring that is locked may ask its owner; one that waits for longer is given up."""


def password(address: str, user: str) -> str:
    """Return a user's password for an index whose address holds no login; nothing where there is none."""
    from dockyard.process import Command, capture

    program = _program()
    for service in services(address) if program and user else ():
        command = Command((*program, "get", service, user), env={"PYTHONIOENCODING": "utf-8"}, timeout=SECONDS)
        try:
            done = capture(command, check=False)
        except CommandError as error:
            raise DockyardError(error.message, "unlock the keyring, or keep the login in ~/.netrc") from None
        if done.ok and (found := done.stdout.rstrip("\r\n")):
            return found
    return ""


def services(address: str) -> Iterator[str]:
    """Yield the names under which an index may be kept: as pip asks, as it is written, and its host and port."""
    yield address.rstrip("/") + "/"
    if not address.endswith("/"):
        yield address
    yield urlsplit(address).netloc


def _program() -> tuple[str, ...]:
    from dockyard.process import which

    if found := which("keyring"):
        return (found,)
    return (sys.executable, "-m", "keyring") if importlib.util.find_spec("keyring") else ()
