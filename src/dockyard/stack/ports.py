"""The ports that a stack publishes: whether one is taken and by whom, which is free, and who answers there."""

import contextlib
import errno
import socket
from collections.abc import Collection, Sequence

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.stack.compose import Container, Model


def require_free_ports(engine: Engine, model: Model, before: Sequence[Container]) -> None:
    """Raise DockyardError naming the holder when a port is taken by anything but the stack itself."""
    own = {published for container in before if container.running for _, published, _ in container.addresses}
    if not engine.is_local():
        return  # it publishes on its own machine, whose ports cannot be seen from here
    for port in model.ports:
        if port.published in own or not is_taken(port.host, port.published):
            continue
        name, project = find_holder(engine, port.published)
        where = f"port {port.published}" + (f" of {port.host}" if port.host else "")
        holder = f"the container {name}" if name else "another program"
        if project:
            holder += f" of the stack {project}"
        free = find_free_port(port.host, port.published)
        ways = f"stop it, or publish at another port{f': `invoke up --port {free}`' if free else ''}"
        names = "" if name else f"`ss -ltnp sport = :{port.published}` names it: "
        raise DockyardError(f"{where} is in use by {holder}", names + ways)


def find_holder(engine: Engine, port: int, seconds: float | None = None) -> tuple[str, str]:
    """Return the container that publishes a port and the stack it is of, each empty where there is none."""
    form = '{{.Names}} {{.Label "com.docker.compose.project"}}'
    listed = engine.attempt("ps", "--filter", f"publish={port}", "--format", form, timeout=seconds)
    name, _, project = (listed.stdout.splitlines() or [""])[0].partition(" ")
    return name, project.strip()


def is_taken(host: str, port: int) -> bool:
    """Return whether a program listens where `host` (empty: everywhere) would be bound; never raises."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        # With this option a port that only lingers after a connection counts as free, as it does for the engine.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def answers(host: str, port: int, request: bytes = b"", seconds: float = 0.3) -> bool:
    """Tell whether a program takes connections at a published port, and says something to a request; never raises.

    The engine's own proxy does so at once, and hangs up where nothing listens behind it, as a server does whose
    application fails.
    """
    with contextlib.suppress(OSError), socket.create_connection((host, port), seconds) as there:
        try:
            there.sendall(request)
            return bool(there.recv(1))
        except TimeoutError:
            return True  # it waits for us to speak first, as servers of HTTP do
    return False


def find_free_port(host: str, port: int, tries: int = 100) -> int | None:
    """Return the first free port after `port`, or None where none of the next `tries` is."""
    following = range(port + 1, min(port + 1 + tries, 65536))
    return next((candidate for candidate in following if not is_taken(host, candidate)), None)


def format_addresses(container: Container, web: Collection[int]) -> tuple[str, ...]:
    """Return where a container is reached from this machine; ports inside that are in `web` speak HTTP."""
    found: dict[str, None] = {}
    for host, published, target in container.addresses:
        here = local_host(host)
        address = f"[{here}]:{published}" if ":" in here else f"{here}:{published}"
        found[f"http://{address}" if target in web else address] = None
    return tuple(found)


def local_host(host: str) -> str:
    """Return the address of this machine at which a port is reached that is published at `host`."""
    return "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - not bound


def find_silent(engine: Engine, containers: Sequence[Container], web: Collection[int]) -> tuple[Container, int] | None:
    """Return which container does not answer at a port of this machine, and the port; ports inside in `web` speak HTTP.

    A health check asks inside of the container: it knows nothing of a server that listens there alone, and one that
    asks the port knows nothing of an application that fails at each request.
    """
    if not engine.is_local():
        return None  # it publishes on its own machine, whose ports cannot be reached from here
    for one in containers:
        for host, published, inside in one.addresses if one.running else ():
            speaks_http = inside in web
            # The first request may import and connect first; a hang-up after that is no answer either.
            asked = (b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", 5.0) if speaks_http else (b"", 0.3)
            if (speaks_http or not one.health) and not answers(local_host(host), published, *asked):
                return one, published
    return None
