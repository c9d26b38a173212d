"""The published ports of a stack: taken ones and who holds them, free ones, and where a stack is reached."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.stack import ports
from dockyard.stack.compose import Container, Model, Port, Service
from tests.scripted_docker import Docker

RUNNING = Container("1", "shop-web-1", "web", "shop:production", "running", addresses=(("127.0.0.1", 8000, 8000),))


@pytest.fixture
def listening() -> Iterator[int]:
    """Yield a port of 127.0.0.1 on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def publishing(port: int) -> Model:
    """Return a stack that publishes at a port of 127.0.0.1."""
    return Model((Service("web", "shop:production", ports=(Port("127.0.0.1", port),)),))


@pytest.mark.parametrize(
    ("containers", "holder", "hint"),
    [
        ("other-web-1 other\nx \n", "the container other-web-1 of the stack other", "stop it, or publish"),
        ("lonely \n", "the container lonely", "stop it, or publish"),
        ("", "another program", "`ss -ltnp sport = :{port}` names it: stop it, or publish"),
    ],
)
def test_port_in_use(listening: int, containers: str, holder: str, hint: str) -> None:
    """The error names port and holder, and the tip a port that is free."""
    docker = Docker()
    docker.says["ps"] = containers
    with pytest.raises(DockyardError) as caught:
        ports.require_free_ports(docker.engine, publishing(listening), ())
    assert caught.value.message == f"port {listening} of 127.0.0.1 is in use by {holder}"
    assert caught.value.hint.startswith(hint.format(port=listening))
    free = int(caught.value.hint.rpartition("--port ")[2].rstrip("`"))
    assert not ports.is_taken("127.0.0.1", free)


def test_port_of_the_stack_itself(listening: int) -> None:
    """The port that the running stack publishes is its own."""
    own = replace(RUNNING, addresses=(("127.0.0.1", listening, 8000),))
    ports.require_free_ports(Docker().engine, publishing(listening), (own,))


def test_port_of_an_engine_elsewhere(listening: int) -> None:
    """This machine's ports say nothing about those of an engine on another one."""
    elsewhere = Engine("host", "28", True, environment={"DOCKER_HOST": "tcp://192.0.2.1:2376"})
    ports.require_free_ports(elsewhere, publishing(listening), ())


def test_taken(listening: int) -> None:
    """A port with a listener is taken, for its own address and for every address."""
    assert ports.is_taken("127.0.0.1", listening)
    assert ports.is_taken("", listening)
    assert not ports.is_taken("127.0.0.2", listening)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_taken_where_it_cannot_be_told(host: str) -> None:
    """An address that this machine does not have is the engine's to refuse."""
    assert not ports.is_taken(host, 8000)


def test_find_free_port(listening: int) -> None:
    """The next free port is above the taken one, and the last port has none above it."""
    free = ports.find_free_port("127.0.0.1", listening)
    assert free is not None
    assert free > listening
    assert ports.find_free_port("127.0.0.1", 65535) is None


def test_addresses() -> None:
    """Ports that speak HTTP inside are shown as URLs of this machine, once for both families."""
    web = replace(RUNNING, addresses=(("0.0.0.0", 80, 8000), ("::", 80, 8000), ("::1", 81, 8000)))
    database = Container("3", "shop-db-1", "db", "postgres", "running", addresses=(("127.0.0.1", 5432, 5432),))
    assert ports.format_addresses(web, (8000,)) == ("http://127.0.0.1:80", "http://[::1]:81")
    assert ports.format_addresses(database, (8000,)) == ("127.0.0.1:5432",)
    assert ports.format_addresses(replace(RUNNING, addresses=()), (8000,)) == ()


@pytest.mark.parametrize(("address", "health"), [("unix:///x", "healthy"), ("tcp://192.0.2.1:2376", "")])
def test_who_is_not_asked(address: str, health: str) -> None:
    """A health check vouches for what speaks no HTTP, and the ports of an engine elsewhere are out of reach."""
    database = replace(RUNNING, health=health, addresses=(("127.0.0.1", 5432, 5432),))
    engine = Engine("host", "28", True, environment={"DOCKER_HOST": address})
    assert ports.find_silent(engine, (database,), (8000,)) is None
