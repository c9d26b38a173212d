# ruff: noqa: PTH109, PTH113, PTH120, PTH123
# Importing pathlib would take a third of the hook's time.
"""The pre-commit hook: check the locks of the project around the current folder, and import almost nothing."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from dockyard.errors import DockyardError
from dockyard.locks.check import LockSettings, find_problems, select_lock_settings


def main() -> int:
    """Print each problem with file and line, and return the exit code."""
    try:
        problems = find_problems(read_lock_settings(os.getcwd(), os.environ))
    except DockyardError as error:
        sys.stderr.write(f"ERROR {error.message}\n" + (f"TIP   {error.hint}\n" if error.hint else ""))
        return int(error.code)
    for problem in problems:
        sys.stdout.write(f"{problem.path}:{problem.line}: {problem.message}\n")
    if problems:
        sys.stderr.write(f"TIP   to mend: {'; '.join(dict.fromkeys(problem.mend for problem in problems))}\n")
    return int(bool(problems))


def read_lock_settings(folder: str, environment: Mapping[str, str]) -> LockSettings:
    """Return what the settings of the project around a folder ask; raise SettingsError as dockyard.settings does."""
    if not any(name.startswith("DOCKYARD_") for name in environment):
        asked = _plain(folder)
        if asked is not None:
            return asked
    from pathlib import Path

    from dockyard.settings import load

    return select_lock_settings(load(Path(folder), environment))


def _plain(folder: str) -> LockSettings | None:
    import tomllib

    root = _root(folder)
    try:
        with open(f"{root}/pyproject.toml", "rb") as file:
            table: Any = tomllib.load(file)["tool"]["dockyard"]
        pythons, platforms = table["pythons"], table.get("platforms", [])
        resolver, hashes = table.get("resolver", "pip-tools"), table.get("hashes", "all")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    right = _texts(pythons) and pythons and _texts(platforms) and resolver in ("pip-tools", "uv")
    right = right and (hashes == "all" or (hashes == "platform" and platforms))
    return LockSettings(root, tuple(pythons), tuple(platforms), resolver, hashes) if right else None


def _root(folder: str) -> str:
    while not os.path.isfile(f"{folder}/pyproject.toml") and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def run() -> None:
    """Run the hook as a program; taking the interpreter apart in good order would take a tenth of its time."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
