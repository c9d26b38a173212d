"""How a registry is reached: by the engine's rules, with the engine's or the user's login and certificates."""

import contextlib
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests.utils

from dockyard.host import ca_bundle
from dockyard.registry.client import Registry, parse_reference
from dockyard.registry.content import Repository
from dockyard.registry.errors import Kind, RegistryError
from dockyard.registry.login import config_folders, find_login
from dockyard.registry.transport import Access, extra_certificates

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What the engine's configuration says of a registry: `key` is what its login is filed under."""

    api: str
    key: str
    insecure: bool = False
    plain: bool = False


def select_rules(info: Mapping[str, Any], host: str, resolve: Callable[[str], Sequence[str]]) -> Rules:
    """Return how an engine treats a registry, from the engine's own description of itself (pure).

    Engines hold loopback for insecure without being told. Plain HTTP is allowed there, as it is common for
    a registry on trial; a certificate that is shown is checked all the same.
    """
    config = info.get("RegistryConfig") or {}
    indexes = config.get("IndexConfigs") or {}
    index = indexes.get(host) or {}
    if index.get("Official") or not host:
        address = str(info.get("IndexServerAddress") or "")
        return Rules(urlsplit(address).netloc, address)
    if index and not index.get("Secure", True):
        return Rules(host, host, insecure=True, plain=True)
    networks = [ipaddress.ip_network(text) for text in config.get("InsecureRegistryCIDRs") or ()]
    addresses = [ipaddress.ip_address(text) for text in resolve(urlsplit(f"//{host}").hostname or "")]
    matching = [network for network in networks if any(address in network for address in addresses)]
    return Rules(host, host, any(not network.is_loopback for network in matching), bool(matching))


def resolve_host(name: str) -> tuple[str, ...]:
    """Return the addresses of a host, none where it has none."""
    with contextlib.suppress(OSError):
        return tuple({str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(name, None)})
    return ()


def find_access(engine: "Engine", info: Mapping[str, Any], host: str) -> Access:
    """Return how to reach a registry, as an engine that describes itself with `info` would reach it."""
    environment: dict[str, str] = {**os.environ, **engine.environment}
    known = select_rules(info, host, resolve_host)
    home = Path(environment.get("HOME", "~")).expanduser()
    bundle = ca_bundle(environment) or Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    extra = extra_certificates(host, (Path("/etc/docker/certs.d"), home / ".config/docker/certs.d"))
    login = find_login(known.key, config_folders(engine.environment, os.environ), engine.environment)
    if known.insecure:
        log.info(f"{host} is among the engine's insecure registries: its certificate is not checked")
    return Access(host or known.api, known.api, bundle, extra, login, insecure=known.insecure, plain=known.plain)


def reach_registry(engine: "Engine", info: Mapping[str, Any], host: str) -> Registry:
    """Return a registry as an engine that describes itself with `info` would reach it; nothing is asked yet."""
    return Registry(find_access(engine, info, host))


def is_remote(info: Mapping[str, Any]) -> bool:
    """Tell whether an engine that describes itself so runs on another machine, which may reach what we cannot."""
    return info.get("Name") != socket.gethostname()


@contextlib.contextmanager
def open_repository(engine: "Engine", name: str) -> Iterator[Repository]:
    """Yield a repository of a registry that answers; raise RegistryError where it cannot be asked."""
    reference = parse_reference(name)
    with contextlib.closing(engine.client()) as client:
        info = client.info()
    with reach_registry(engine, info, reference.host) as registry:
        try:
            registry.connect()
        except RegistryError as error:
            if error.kind is Kind.UNREACHABLE and is_remote(info):
                log.info("the engine is a remote one: it may reach registries that this machine cannot")
            raise
        yield Repository(registry, reference.repository)
