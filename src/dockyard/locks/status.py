"""Locks: which exist, whether they are stale, and how they are made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dockyard.locks.check import Problem
    from dockyard.settings import Settings


def path(settings: "Settings", python: str, purpose: str) -> "Path":
    """Return the file that holds the lock of a purpose for a Python."""
    from dockyard.locks.check import lock_path

    return settings.root / lock_path(python, purpose)


def purposes(settings: "Settings") -> tuple[str, ...]:
    """Return the purposes of a project: the name of every .in file directly in its requirements folder."""
    from dockyard.locks import check as verify

    return verify.purposes(str(settings.root))


def check(settings: "Settings") -> "tuple[Problem, ...]":
    """Return everything that is wrong with the locks and their inputs, offline; empty means that all is well."""
    from dockyard.locks import check as verify
    from dockyard.locks import options

    return verify.check(options.of(settings))
