"""Where services are deployed to: each [tool.dockyard.deploy.NAME] as a frozen value."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dockyard.errors import SettingsError, UsageError
from dockyard.settings import Settings, suggest_nearest

Check = Callable[[Any], str]
"""Says what is wrong with a value, or nothing."""


def _one_of(*allowed: str) -> Check:
    return lambda value: "" if value in allowed else f"must be one of {', '.join(allowed)}"


def _matching(pattern: str, wanted: str) -> Check:
    def check(value: Any) -> str:
        return "" if isinstance(value, str) and re.fullmatch(pattern, value) else f"must be {wanted}"

    return check


def _between(lowest: int, highest: int) -> Check:
    def check(value: Any) -> str:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and lowest <= value <= highest else f"must be a whole number from {lowest} to {highest}"

    return check


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _words(pattern: str, wanted: str) -> Check:
    def check(value: Any) -> str:
        fine = isinstance(value, list) and all(isinstance(one, str) and re.fullmatch(pattern, one) for one in value)
        return "" if fine else f"must be a list of {wanted}"

    return check


def _variables(value: Any) -> str:
    if not isinstance(value, dict):
        return 'must be a table of variables, such as { LEVEL = "info" }'
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            return f"{name} is no name for an environment variable"
        if not isinstance(text, str):
            return f"{name} must be a string"
    return ""


def _hosts(value: Any) -> str:
    if not isinstance(value, dict):
        return 'must be a table of services, such as { postgres = "db.shop.example" }'
    wrong = [name for name, host in value.items() if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", str(host))]
    return f"{wrong[0]} must be the name of a host" if wrong else ""


def _kinds_of_volumes(value: Any) -> str:
    if isinstance(value, dict) and all(kind in {"claim", "shared", "scratch"} for kind in value.values()):
        return ""
    return 'must be a table of volumes, such as { data = "claim" }: claim, shared or scratch'


def _key(check: Check, **default: Any) -> Any:
    return field(metadata={"check": check}, **default)


@dataclass(frozen=True)
class Destination:
    """One place to deploy to. Empty `cpus` and `memory` leave the limits as the Compose files have them.

    `host` is an address as DOCKER_HOST takes it, `context` one of Docker's or of kubectl's by its name; with neither,
    the engine is the one that builds. `secrets` are names that the destination knows, `key` is the public key that
    an image has to be signed by. `drain` and `timeout` are in seconds.
    """

    name: str
    kind: str = _key(_one_of("swarm", "kubernetes", "compose"))
    host: str = _key(_matching(r"|(ssh|tcp|unix|http|https)://\S+", "an address such as ssh://user@host"), default="")
    context: str = _key(_matching(r"|[A-Za-z0-9][\w.+@/:-]*", "the name of a context"), default="")
    namespace: str = _key(_matching(r"|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "the name of a namespace"), default="")
    replicas: int = _key(_between(1, 1000), default=2)
    max_replicas: int = _key(_between(1, 10_000), default=0)
    cpus: str = _key(_matching(r"|[0-9]+(\.[0-9]+)?", 'a number of CPUs in quotes, such as "0.5"'), default="")
    memory: str = _key(_matching(r"|[0-9]+[kmg]", "an amount of memory such as 256m"), default="")
    environment: Mapping[str, str] = _key(_variables, default_factory=dict)
    secrets: tuple[str, ...] = _key(_words(r"[A-Za-z0-9][\w.-]*", "names of secrets"), default=())
    external: Mapping[str, str] = _key(_hosts, default_factory=dict)
    volumes: Mapping[str, str] = _key(_kinds_of_volumes, default_factory=dict)
    health: str = _key(_matching(r"|/[^\s]*", "the path of a request such as /healthz"), default="")
    folder: str = _key(_matching(r"|/[^\0]*[^/\0]", "an absolute path on the host"), default="")
    domain: str = _key(_matching(r"|[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "a domain such as shop.example"), default="")
    port: int = _key(_between(1, 65535), default=8080)
    front: bool = _key(_flag, default=True)
    order: str = _key(_one_of("start-first", "stop-first"), default="start-first")
    release: tuple[str, ...] = _key(_words(r"[^\0]+", "words of a command"), default=())
    drain: int = _key(_between(0, 600), default=5)
    timeout: int = _key(_between(10, 86_400), default=300)
    verified: bool = _key(_flag, default=False)
    key: str = _key(_matching(r"[^\0]*", "the file of a public key"), default="")


KEYS = {item.name: item for item in dataclasses.fields(Destination) if item.name != "name"}


def read_destinations(settings: Settings) -> dict[str, Destination]:
    """Return every destination by its name; raise SettingsError naming table, key and value."""
    return {name: _read(name, table) for name, table in settings.deploy.items()}


def select_destination(settings: Settings, name: str = "") -> Destination:
    """Return the destination of a name, or the only one; raise where that is none."""
    found = read_destinations(settings)
    if not found:
        raise SettingsError(
            "pyproject.toml names no destination",
            'write [tool.dockyard.deploy.production] with kind = "swarm", "kubernetes" or "compose"',
        )
    if not name and len(found) > 1:
        raise UsageError(f"there are {len(found)} destinations: {', '.join(found)}", "choose one: --to NAME")
    if name and name not in found:
        raise UsageError(f"there is no destination {name!r}", suggest_nearest(name, found))
    return found[name or next(iter(found))]


def _read(name: str, table: Mapping[str, Any]) -> Destination:
    where = f"pyproject.toml: [tool.dockyard.deploy.{name}]"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise SettingsError(f"{where}: the name of a destination has lower case letters, digits, - and _ alone")
    for key, value in table.items():
        if key not in KEYS:
            raise SettingsError(f"{where} {key}: there is no such key", suggest_nearest(key, KEYS))
        if wrong := KEYS[key].metadata["check"](value):
            raise SettingsError(f"{where} {key} = {value!r}: {wrong}")
    if "kind" not in table:
        raise SettingsError(f"{where} kind is missing", 'write kind = "swarm", "kubernetes" or "compose"')
    if table.get("host") and table.get("context"):
        raise SettingsError(f"{where} has both a host and a context", "leave one of them out")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Destination(name, **values)
