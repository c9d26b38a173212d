"""Which Docker Engine is used, and what is said where none can be."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard import process
from dockyard.engine import client, socket
from dockyard.engine.client import Endpoint, Engine
from dockyard.engine.embedded import lifecycle
from dockyard.errors import CommandError, EngineError
from dockyard.process import Command, Completed
from dockyard.settings import Settings

PLUGINS = [{"Name": "buildx", "Version": "v0.29.1"}, {"Name": "compose", "Version": "2.40.0"}]
BROKEN = [PLUGINS[0], {"Name": "compose", "Err": "exec format error"}]
HEALTHY: dict[str, Any] = {
    "ServerVersion": "28.5.2",
    "NCPU": 4,
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "ClientInfo": {"Plugins": PLUGINS, "Context": "default"},
}
SILENT: dict[str, Any] = {"ServerVersion": "", "ClientInfo": {"Plugins": PLUGINS}}


class Docker:
    """Stands in for the docker command: `info` prints a document, or the CLI fails as it really does."""

    def __init__(self, info: Mapping[str, Any] | None, stderr: str = "") -> None:
        self.info = info
        self.stderr = stderr
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, command: Command, *, check: bool = True) -> Completed:
        """Answer `docker info` as the CLI does: a document on stdout also where no engine answers."""
        self.ran.append(command.argv)
        assert command.argv[:2] == ("docker", "info")
        assert not check
        printed = "" if self.info is None else json.dumps(self.info)
        return Completed(0 if self.info and self.info["ServerVersion"] else 1, printed, self.stderr, 0.1)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every test start on a machine with a docker command and no engine."""
    for name in (
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "DOCKER_TLS",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setattr(process, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(client, "DEFAULT_SOCKET", tmp_path / "docker.sock")


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Docker]:
    """Return a function that puts a stand-in for the docker command in place."""

    def install(info: Mapping[str, Any] | None, stderr: str = "") -> Docker:
        made = Docker(info, stderr)
        monkeypatch.setattr(process, "capture", made)
        return made

    return install


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let the embedded engine start, and return the list of its starts: what each allowed."""
    starts: list[bool] = []

    def start(*, allow_expired: bool) -> dict[str, Any]:
        starts.append(allow_expired)
        return {**HEALTHY, "ServerVersion": "26.1.5+dfsg1"}

    monkeypatch.setattr(lifecycle, "start", start)
    return starts


def quiet(line: str) -> None:
    """Stand in for progress where nothing may be said."""
    raise AssertionError(f"said {line!r}")


def test_a_reachable_engine_is_used(settings: Settings, docker: Callable[..., Docker]) -> None:
    """One look at it is enough, and nothing needs to be said."""
    made = docker(HEALTHY)
    client.DEFAULT_SOCKET.touch()
    found = client.find_engine(settings)
    assert found == Engine("host", "28.5.2", snapshotter=True, cpus=4)
    assert len(made.ran) == 1


def test_without_a_socket_the_command_is_not_even_asked(settings: Settings, own: list[bool], said: list[str]) -> None:
    """On a bare machine the embedded engine is used at once, and one line says so."""
    found = client.find_engine(settings)
    assert found.kind == "embedded"
    assert found.version == "26.1.5"
    assert found.environment["DOCKER_HOST"].startswith("unix://")
    assert said == ["no Docker Engine is reachable: using the embedded one (26.1.5) in ~/.cache/dockyard/engine"]
    assert own == [False]


def test_a_dead_socket_falls_back(settings: Settings, docker: Callable[..., Docker], own: list[bool]) -> None:
    """A socket file that an engine left behind does not keep the embedded one from being used."""
    docker(SILENT, "Cannot connect to the Docker daemon at unix:///x.")
    client.DEFAULT_SOCKET.touch()
    assert client.find_engine(settings).kind == "embedded"


def test_an_expired_release_is_allowed_by_the_setting(settings: Settings, own: list[bool]) -> None:
    """The setting reaches the embedded engine."""
    client.find_engine(replace(settings, allow_expired_release=True))
    assert own == [True]


def test_the_embedded_engine_is_used_when_asked_for(settings: Settings, own: list[bool]) -> None:
    """An engine on the host, however reachable, is then not looked at."""
    client.DEFAULT_SOCKET.touch()
    assert client.find_engine(replace(settings, engine="embedded")).kind == "embedded"


def test_a_users_builder_is_found(settings: Settings, own: list[bool], tmp_path: Path) -> None:
    """The embedded engine's own configuration would hide it."""
    found = client.find_engine(replace(settings, builder="remote"))
    assert found.environment["BUILDX_CONFIG"] == str(tmp_path / ".docker/buildx")


@pytest.mark.parametrize("chosen", [("DOCKER_HOST", "tcp://build.example:2375"), ("DOCKER_CONTEXT", "nope")])
def test_an_engine_that_was_named_is_never_replaced(
    settings: Settings,
    docker: Callable[..., Docker],
    own: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    chosen: tuple[str, str],
) -> None:
    """Who names an engine gets that one or an error that names it."""
    name, value = chosen
    docker(None, f"Failed to initialize: {value}: not found")
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=f"{name}={value}") as caught:
        client.find_engine(settings)
    assert "not found" in caught.value.message
    assert caught.value.hint
    assert own == []


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        ((SILENT, "Cannot connect to the Docker daemon"), "Cannot connect", "DOCKER_HOST"),
        (({**SILENT, "ServerErrors": ["permission denied"]}, ""), "permission denied", "docker group"),
        (({**HEALTHY, "ServerVersion": "20.10.24+dfsg1"}, ""), "too old", "upgrade"),
        (({**HEALTHY, "ClientInfo": {"Plugins": PLUGINS[:1]}}, ""), "no Compose v2", "docker-compose"),
        (({**HEALTHY, "ClientInfo": {"Plugins": None}}, ""), "no buildx and no Compose v2", "docker-buildx"),
        (({**HEALTHY, "ClientInfo": {"Plugins": BROKEN}}, ""), "no Compose", "docker-compose"),
    ],
    ids=["no server", "no permission", "too old", "no compose", "no plugins", "broken plugin"],
)
def test_what_is_missing_is_named(
    settings: Settings, docker: Callable[..., Docker], answer: tuple[Mapping[str, Any], str], said: str, hint: str
) -> None:
    """With engine = "host", the error says what is missing and how to get it."""
    docker(*answer)
    with pytest.raises(EngineError, match=said) as caught:
        client.find_engine(replace(settings, engine="host"))
    assert hint in caught.value.hint


def test_no_docker_command_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket alone is not enough: buildx and Compose are programs of the CLI."""
    monkeypatch.setattr(process, "which", lambda _program: None)
    with pytest.raises(EngineError, match="docker command is not installed"):
        client.find_engine(replace(settings, engine="host"))


def test_an_engine_that_hangs_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers does not make us wait for ever."""

    def hang(command: Command, *, check: bool = True) -> Completed:
        assert command.timeout
        raise CommandError("docker did not finish within 20 s")

    monkeypatch.setattr(process, "capture", hang)
    with pytest.raises(EngineError, match="did not finish"):
        client.find_engine(replace(settings, engine="host"))


def test_why_the_embedded_engine_is_used_is_said(
    settings: Settings, docker: Callable[..., Docker], own: list[bool], said: list[str]
) -> None:
    """An engine that answers but cannot be used is not the same as none."""
    docker({**HEALTHY, "ClientInfo": {"Plugins": []}})
    client.DEFAULT_SOCKET.touch()
    client.find_engine(settings)
    assert "no buildx" in said[0]


def test_both_reasons_are_told_when_nothing_works(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine on the host, and none of our own: the error has both, and a next step."""

    def refuse(**_: object) -> None:
        raise EngineError("the embedded engine needs root", "use sudo")

    monkeypatch.setattr(lifecycle, "start", refuse)
    with pytest.raises(
        EngineError, match="no Docker Engine is reachable, and the embedded engine needs root"
    ) as caught:
        client.find_engine(settings)
    assert caught.value.hint == "use sudo"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"currentContext": "remote"}', "remote"),
        ('{"currentContext": "default"}', ""),
        ("{}", ""),
        ("[", ""),
        ("[]", ""),
    ],
)
def test_the_current_context_is_read(tmp_path: Path, content: str, expected: str) -> None:
    """A broken file of the user's is the CLI's to complain about."""
    (tmp_path / "config.json").write_text(content, "utf-8")
    assert client.context_named({"DOCKER_CONFIG": str(tmp_path)}) == expected
    assert client.context_named({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "mine"}) == "mine"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DOCKER_HOST": "unix:///x.sock"}, Endpoint("unix:///x.sock")),
        (
            {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"},
            Endpoint("tcp://h:2376", Path("/certs")),
        ),
        (
            {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS": "1", "DOCKER_CONFIG": "/config"},
            Endpoint("tcp://h:2376", Path("/config"), verify=False),
        ),
    ],
    ids=["plain", "verified", "unverified"],
)
def test_an_endpoint_from_the_environment(environment: dict[str, str], expected: Endpoint) -> None:
    """The CLI's variables for TLS hold for the SDK as well."""
    assert client.from_environment(environment) == expected


@pytest.mark.parametrize(
    ("material", "expected"),
    [({}, Endpoint("tcp://h:2376")), ({"docker": ["ca.pem"]}, Endpoint("tcp://h:2376", Path("/meta/tls/1/docker")))],
    ids=["no certificates", "certificates"],
)
def test_an_endpoint_from_a_context(material: dict[str, Any], expected: Endpoint) -> None:
    """Certificates lie where `docker context inspect` says."""
    inspected = [
        {
            "Name": "remote",
            "Endpoints": {"docker": {"Host": "tcp://h:2376", "SkipTLSVerify": False}},
            "TLSMaterial": material,
            "Storage": {"TLSPath": "/meta/tls/1"},
        }
    ]
    assert client.from_context(inspected) == expected


def test_an_endpoint_that_the_sdk_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would need another library for ssh."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@build.example")
    with pytest.raises(EngineError, match="ssh://"):
        Engine("host", "28.5.2", snapshotter=True).client()


def test_certificates_of_an_endpoint_are_used(tmp_path: Path) -> None:
    """Whichever of the three files are there are given to the SDK; the paths are the CLI's."""
    assert client.certificates(Endpoint("tcp://h:2376")) is False
    (tmp_path / "ca.pem").touch()
    made = client.certificates(Endpoint("tcp://h:2376", tmp_path))
    assert made.ca_cert == str(tmp_path / "ca.pem")
    assert not made.cert
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    made = client.certificates(Endpoint("tcp://h:2376", tmp_path, verify=False))
    assert made.cert == (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert made.verify is False


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"DOCKER_HOST": "unix:///x.sock"}, "/x.sock"),
        ({}, "docker.sock"),
        ({"DOCKER_CONTEXT": "remote"}, ""),
        ({"DOCKER_HOST": "tcp://h:2375"}, ""),
        ({"DOCKER_HOST": "ssh://h"}, ""),
    ],
)
def test_only_a_local_socket_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], path: str
) -> None:
    """Everything else is reached in ways that only the CLI knows."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(socket, "ask", lambda asked, what: [str(asked), what])
    found = Engine("host", "28.5", snapshotter=True, environment=environment)
    assert found.ask("/info") == ([str(tmp_path / path), "/info"] if path else None)


def test_commands_carry_the_engines_environment() -> None:
    """What a caller adds wins over what the engine brings."""
    found = Engine("embedded", "26.1.5", snapshotter=True, environment={"DOCKER_HOST": "unix:///x", "PATH": "/a"})
    command = found.command("ps", "--all", env={"PATH": "/b"}, timeout=5)
    assert command.argv == ("docker", "ps", "--all")
    assert command.env == {"DOCKER_HOST": "unix:///x", "PATH": "/b"}
    assert command.timeout == 5
    assert os.environ.get("DOCKER_HOST") is None
