"""Which Docker Engine is used, and what is said where none can be."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine import client
from dockyard.engine.client import Engine
from dockyard.errors import CommandError, EngineError
from dockyard.process import Completed
from dockyard.settings import Settings
from tests.scripted_docker import Docker

PLUGINS = [{"Name": "buildx", "Version": "v0.29.1"}, {"Name": "compose", "Version": "2.40.0"}]
BROKEN = [PLUGINS[0], {"Name": "compose", "Err": "exec format error"}]
HEALTHY: dict[str, Any] = {
    "ServerVersion": "28.5.2",
    "NCPU": 4,
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "ClientInfo": {"Plugins": PLUGINS, "Context": "default"},
}
SILENT: dict[str, Any] = {"ServerVersion": "", "ClientInfo": {"Plugins": PLUGINS}}


class Host(Docker):
    """A machine with a docker command, whose `info` prints a document, or fails as it really does."""

    def __init__(self, info: Mapping[str, Any] | None = None, stderr: str = "") -> None:
        super().__init__()
        printed = "" if info is None else json.dumps(info)
        self.says["info"] = Completed(0 if info and info["ServerVersion"] else 1, printed, stderr, 0.1)
        self.starts: list[bool] = []
        self.refusal: EngineError | None = None

    def start(self, *, allow_expired: bool) -> dict[str, Any]:
        """Start the embedded engine."""
        if self.refusal:
            raise self.refusal
        self.starts.append(allow_expired)
        return {**HEALTHY, "ServerVersion": "26.1.5+dfsg1"}

    def find(self, settings: Settings, **changes: Any) -> Engine:
        """Find an engine here."""
        return client.find_engine(settings._replace(**changes), self, self.start)


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
    monkeypatch.setattr(client, "DEFAULT_SOCKET", tmp_path / "docker.sock")


def test_a_reachable_engine_is_used(settings: Settings) -> None:
    """One look at it is enough, and nothing needs to be said."""
    host = Host(HEALTHY)
    client.DEFAULT_SOCKET.touch()
    assert host.find(settings) == Engine("host", "28.5.2", snapshotter=True, cpus=4)
    assert [command.argv[:2] for command in host.asked] == [("docker", "info")]


def test_without_a_socket_the_command_is_not_even_asked(settings: Settings, said: list[str]) -> None:
    """On a bare machine the embedded engine is used at once, and one line says so."""
    host = Host()
    found = host.find(settings)
    assert found.kind == "embedded"
    assert found.version == "26.1.5"
    assert found.environment["DOCKER_HOST"].startswith("unix://")
    assert said == ["no Docker Engine is reachable: using the embedded one (26.1.5) in ~/.cache/dockyard/engine"]
    assert (host.starts, host.asked) == ([False], [])


def test_a_dead_socket_falls_back(settings: Settings) -> None:
    """A socket file that an engine left behind does not keep the embedded one from being used."""
    client.DEFAULT_SOCKET.touch()
    assert Host(SILENT, "Cannot connect to the Docker daemon at unix:///x.").find(settings).kind == "embedded"


def test_an_expired_release_is_allowed_by_the_setting(settings: Settings) -> None:
    """The setting reaches the embedded engine."""
    host = Host()
    host.find(settings, allow_expired_release=True)
    assert host.starts == [True]


def test_the_embedded_engine_is_used_when_asked_for(settings: Settings) -> None:
    """An engine on the host, however reachable, is then not looked at."""
    client.DEFAULT_SOCKET.touch()
    assert Host(HEALTHY).find(settings, engine="embedded").kind == "embedded"


def test_a_users_builder_is_found(settings: Settings, tmp_path: Path) -> None:
    """The embedded engine's own configuration would hide it."""
    found = Host().find(settings, builder="remote")
    assert found.environment["BUILDX_CONFIG"] == str(tmp_path / ".docker/buildx")


@pytest.mark.parametrize("chosen", [("DOCKER_HOST", "tcp://build.example:2375"), ("DOCKER_CONTEXT", "nope")])
def test_an_engine_that_was_named_is_never_replaced(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    chosen: tuple[str, str],
) -> None:
    """Who names an engine gets that one or an error that names it."""
    name, value = chosen
    host = Host(None, f"Failed to initialize: {value}: not found")
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=f"{name}={value}") as caught:
        host.find(settings)
    assert "not found" in caught.value.message
    assert caught.value.hint
    assert host.starts == []


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
    settings: Settings, answer: tuple[Mapping[str, Any], str], said: str, hint: str
) -> None:
    """With engine = "host", the error says what is missing and how to get it."""
    with pytest.raises(EngineError, match=said) as caught:
        Host(*answer).find(settings, engine="host")
    assert hint in caught.value.hint


def test_no_docker_command_is_named(settings: Settings) -> None:
    """A socket alone is not enough: buildx and Compose are programs of the CLI."""
    host = Host()
    host.programs.clear()
    with pytest.raises(EngineError, match="docker command is not installed"):
        host.find(settings, engine="host")


def test_an_engine_that_hangs_is_an_error(settings: Settings) -> None:
    """A server that accepts and never answers does not make us wait for ever."""
    host = Host()
    host.says["info"] = CommandError("docker did not finish within 20 s")
    with pytest.raises(EngineError, match="did not finish"):
        host.find(settings, engine="host")
    assert host.asked[0].timeout


def test_why_the_embedded_engine_is_used_is_said(settings: Settings, said: list[str]) -> None:
    """An engine that answers but cannot be used is not the same as none."""
    client.DEFAULT_SOCKET.touch()
    Host({**HEALTHY, "ClientInfo": {"Plugins": []}}).find(settings)
    assert "no buildx" in said[0]


def test_both_reasons_are_told_when_nothing_works(settings: Settings) -> None:
    """No engine on the host, and none of our own: the error has both, and a next step."""
    host = Host()
    host.refusal = EngineError("the embedded engine needs root", "use sudo")
    with pytest.raises(
        EngineError, match="no Docker Engine is reachable, and the embedded engine needs root"
    ) as caught:
        host.find(settings)
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


def variables(host: str, folder: str = "", tls: str = "", verify: str = "") -> dict[str, str]:
    """Return what leads the docker command and the SDK to an engine."""
    return {"DOCKER_HOST": host, "DOCKER_CERT_PATH": folder, "DOCKER_TLS": tls, "DOCKER_TLS_VERIFY": verify}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DOCKER_HOST": "unix:///x.sock"}, variables("unix:///x.sock")),
        ({"DOCKER_HOST": "tcp://h:2375", "DOCKER_CERT_PATH": "/certs"}, variables("tcp://h:2375")),
        (
            {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"},
            variables("tcp://h:2376", "/certs", "1", "1"),
        ),
        (
            {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS": "1", "DOCKER_CONFIG": "/config"},
            variables("tcp://h:2376", "/config", "1"),
        ),
    ],
    ids=["plain", "files without TLS", "verified", "unverified"],
)
def test_where_an_engine_of_the_environment_listens(environment: dict[str, str], expected: dict[str, str]) -> None:
    """The CLI's variables for TLS hold for the SDK as well."""
    assert Engine("host", "28.5.2", snapshotter=True, environment=environment).address() == expected


@pytest.mark.parametrize(
    ("material", "skip", "expected"),
    [
        ({}, False, variables("tcp://h:2376")),
        ({"docker": ["ca.pem"]}, False, variables("tcp://h:2376", "/meta/tls/1/docker", "1", "1")),
        ({"docker": ["ca.pem"]}, True, variables("tcp://h:2376", "/meta/tls/1/docker", "1")),
    ],
    ids=["no certificates", "certificates", "unverified"],
)
def test_where_an_engine_of_a_context_listens(material: dict[str, Any], skip: bool, expected: dict[str, str]) -> None:
    """The CLI is asked what the context means; certificates lie where it says."""
    host = Host()
    endpoint = {"Host": "tcp://h:2376", "SkipTLSVerify": skip}
    inspected = {"Endpoints": {"docker": endpoint}, "TLSMaterial": material, "Storage": {"TLSPath": "/meta/tls/1"}}
    host.says["context"] = json.dumps([{"Name": "remote", **inspected}])
    environment = {"DOCKER_CONTEXT": "remote"}
    assert Engine("host", "28.5.2", snapshotter=True, environment=environment, runner=host).address() == expected


def test_an_endpoint_that_the_sdk_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would need another library for ssh."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@build.example")
    with pytest.raises(EngineError, match="ssh://"):
        Engine("host", "28.5.2", snapshotter=True).client()


@pytest.mark.parametrize(
    ("host", "local"), [("", True), ("unix:///x.sock", True), ("tcp://h:2375", False), ("ssh://h", False)]
)
def test_an_engine_elsewhere_is_told_from_one_here(host: str, local: bool) -> None:
    """Only the ports and the socket of one here can be looked at; the CLI asks the others."""
    found = Engine("host", "28.5", snapshotter=True, environment={"DOCKER_HOST": host})
    assert found.is_local() is local
    assert found.ask("/info") is None


def test_commands_carry_the_engines_environment() -> None:
    """What a caller adds wins over what the engine brings."""
    found = Engine("embedded", "26.1.5", snapshotter=True, environment={"DOCKER_HOST": "unix:///x", "PATH": "/a"})
    command = found.command("ps", "--all", env={"PATH": "/b"}, timeout=5)
    assert command.argv == ("docker", "ps", "--all")
    assert command.env == {"DOCKER_HOST": "unix:///x", "PATH": "/b"}
    assert command.timeout == 5
    assert os.environ.get("DOCKER_HOST") is None
