# ruff: noqa: PTH113, PTH120, PTH123
# Importing pathlib would take a third of the hook's time.
"""Read the few settings that a check of locks needs, without loading all that reads them with care.

Whatever is not plainly right here is left to dockyard.settings, which is slower and explains itself.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dockyard.settings import Settings

FILE = "pyproject.toml"


class Asked(NamedTuple):
    """What a check needs to know: the project's folder, and for what and by what its locks are made."""

    root: str
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]
    resolver: str
    hashes: str = "all"


def read(folder: str, environment: Mapping[str, str]) -> Asked:
    """Return what the settings of the project around a folder ask; raise SettingsError as dockyard.settings does."""
    if not any(name.startswith("DOCKYARD_") for name in environment):
        asked = _plain(folder)
        if asked is not None:
            return asked
    from pathlib import Path

    from dockyard.settings import load

    return of(load(Path(folder), environment))


def of(settings: "Settings") -> Asked:
    """Return what a check needs of all settings."""
    return Asked(str(settings.root), settings.pythons, settings.platforms, settings.resolver, settings.hashes)


def _plain(folder: str) -> Asked | None:
    import tomllib

    root = _root(folder)
    try:
        with open(f"{root}/{FILE}", "rb") as file:
            table: Any = tomllib.load(file)["tool"]["dockyard"]
        pythons, platforms = table["pythons"], table.get("platforms", [])
        resolver, hashes = table.get("resolver", "pip-tools"), table.get("hashes", "all")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    right = _texts(pythons) and pythons and _texts(platforms) and resolver in ("pip-tools", "uv")
    right = right and (hashes == "all" or (hashes == "platform" and platforms))
    return Asked(root, tuple(pythons), tuple(platforms), resolver, hashes) if right else None


def _root(folder: str) -> str:
    while not os.path.isfile(f"{folder}/{FILE}") and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
