"""Where services are deployed to: each [tool.dockyard.deploy.NAME] as a frozen value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from dockyard.errors import SettingsError, UsageError
from dockyard.settings import (
    Origin,
    Parser,
    Settings,
    check_variable,
    list_parsers,
    match_choice,
    match_list,
    match_number,
    match_table,
    match_text,
    parse_flag,
    parse_port,
    suggest_nearest,
)

HOST = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"


def _host(_name: str, text: str) -> str:
    return "" if re.fullmatch(HOST, text) else "must be the name of a host"


def _volume(_name: str, text: str) -> str:
    return "" if text in {"claim", "shared", "scratch"} else "must be claim, shared or scratch"


def _text(pattern: str, wanted: str) -> Parser:
    return match_text(pattern, wanted, empty=True)


_SECRETS = match_list(match_text(r"[A-Za-z0-9][\w.-]*", "the name of a secret"), empty=True)
_RELEASE = match_list(match_text(r"[^\0]+", "a word of a command"), empty=True, repeated=True)


@dataclass(frozen=True)
class Destination:
    """One place to deploy to. Empty `cpus` and `memory` leave the limits as the Compose files have them.

    `host` is an address as DOCKER_HOST takes it, `context` one of Docker's or of kubectl's by its name; with neither,
    the engine is the one that builds. `secrets` are names that the destination knows, `key` is the public key that
    an image has to be signed by. `drain` and `timeout` are in seconds.
    """

    name: str
    kind: Annotated[str, match_choice("swarm", "kubernetes", "compose")]
    host: Annotated[str, _text(r"(ssh|tcp|unix|http|https)://\S+", "an address such as ssh://user@host")] = ""
    context: Annotated[str, _text(r"[A-Za-z0-9][\w.+@/:-]*", "the name of a context")] = ""
    namespace: Annotated[str, _text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "the name of a namespace")] = ""
    replicas: Annotated[int, match_number(1, 1000)] = 2
    max_replicas: Annotated[int, match_number(1, 10_000)] = 0
    cpus: Annotated[str, _text(r"[0-9]+(\.[0-9]+)?", 'a number of CPUs in quotes, such as "0.5"')] = ""
    memory: Annotated[str, _text(r"[0-9]+[kmg]", "an amount of memory such as 256m")] = ""
    environment: Annotated[Mapping[str, str], match_table(check_variable)] = field(default_factory=dict)
    secrets: Annotated[tuple[str, ...], _SECRETS] = ()
    external: Annotated[Mapping[str, str], match_table(_host)] = field(default_factory=dict)
    volumes: Annotated[Mapping[str, str], match_table(_volume)] = field(default_factory=dict)
    health: Annotated[str, _text(r"/[^\s]*", "the path of a request such as /healthz")] = ""
    folder: Annotated[str, _text(r"/[^\0]*[^/\0]", "an absolute path on the host")] = ""
    domain: Annotated[str, _text(HOST, "a domain such as shop.example")] = ""
    port: Annotated[int, parse_port] = 8080
    front: Annotated[bool, parse_flag] = True
    order: Annotated[str, match_choice("start-first", "stop-first")] = "start-first"
    release: Annotated[tuple[str, ...], _RELEASE] = ()
    drain: Annotated[int, match_number(0, 600)] = 5
    timeout: Annotated[int, match_number(10, 86_400)] = 300
    verified: Annotated[bool, parse_flag] = False
    key: Annotated[str, _text(r"[^\0]+", "the file of a public key")] = ""


KEYS = list_parsers(Destination)


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
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise SettingsError(f"{where} {key}: there is no such key", suggest_nearest(key, KEYS))
        origin = Origin("pyproject.toml", key, value, f"tool.dockyard.deploy.{name}")
        values[key] = KEYS[key](value, origin)
    if "kind" not in table:
        raise SettingsError(f"{where} kind is missing", 'write kind = "swarm", "kubernetes" or "compose"')
    if table.get("host") and table.get("context"):
        raise SettingsError(f"{where} has both a host and a context", "leave one of them out")
    return Destination(name, **values)
