"""Find a Docker Engine and talk to it: the only module that imports the Docker SDK."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import process
from dockyard.engine import socket as ask
from dockyard.engine.embedded import install, lifecycle
from dockyard.errors import CommandError, EngineError
from dockyard.process import Command, Completed, Runner

if TYPE_CHECKING:
    import docker

    from dockyard.settings import Settings

log = logging.getLogger(__name__)

DEFAULT_SOCKET = Path("/var/run/docker.sock")
SDK_TIMEOUT_SECONDS = 60
ANSWER_SECONDS = 20
OLDEST_ENGINE = (23, 0)
"""The first engine whose BuildKit knows here-documents and `COPY --link` without fetching a frontend."""


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens: a DOCKER_HOST address, and for TLS the folder of its certificates."""

    host: str
    certificates: Path | None = None
    verify: bool = True


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that answers, with the CLI, buildx and Compose that drive it.

    `environment` is what every command for it needs (DOCKER_HOST, DOCKER_CONFIG, PATH …); `snapshotter`
    says whether it keeps images in containerd's store, which attestations and `rewrite-timestamp` need.
    """

    kind: str
    version: str
    snapshotter: bool
    cpus: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    runner: Runner = field(default=process, repr=False, compare=False)

    def command(self, *argv: str, **options: Any) -> Command:
        """Return the `docker …` command that talks to this engine; options are those of Command."""
        env = {**self.environment, **options.pop("env", {})}
        return Command(("docker", *argv), env=env, **options)

    def run(self, *argv: str, **options: Any) -> Completed:
        """Run `docker …` and keep what it prints; raise CommandError where it fails."""
        return self.runner.capture(self.command(*argv, **options))

    def attempt(self, *argv: str, **options: Any) -> Completed:
        """Run `docker …` and return how it ended, well or not."""
        return self.runner.capture(self.command(*argv, **options), check=False)

    def inspect_image(self, reference: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image, None where it has none; its Id is the digest it goes by."""
        done = self.attempt("image", "inspect", reference)
        if done.ok:
            return dict(json.loads(done.stdout)[0])
        if "no such image" in done.stderr.lower():
            return None
        raise EngineError(
            f"the engine cannot say what {reference} is: {done.stderr.strip()}", "`invoke doctor` looks at the engine"
        )

    def client(self) -> "docker.DockerClient":
        """Return an SDK client for this engine; each of its calls has a minute."""
        import docker
        import docker.errors

        endpoint = self.endpoint()
        if not endpoint.host.startswith(("unix://", "tcp://", "http://", "https://")):
            raise EngineError(
                f"the engine at {endpoint.host} is reached in a way that the Docker SDK cannot use here",
                "forward its socket, for example with ssh -L, and set DOCKER_HOST to the local end",
            )
        try:
            return docker.DockerClient(base_url=endpoint.host, tls=certificates(endpoint), timeout=SDK_TIMEOUT_SECONDS)
        except docker.errors.DockerException as error:
            raise EngineError(
                f"the Docker Engine at {endpoint.host} does not answer: {error}", "`invoke doctor` looks at it"
            ) from None

    def ask(self, what: str) -> Any:
        """Return the engine's JSON answer to GET `what` (the Engine API), or None where only the CLI can ask it.

        That is quicker than a process or the SDK.
        """
        path = self.socket()
        return path and ask.ask(path, what)

    def socket(self) -> Path | None:
        """Return the local socket at which this engine answers, None where only the CLI reaches it."""
        environment = {**os.environ, **self.environment}
        if context_named(environment) and not environment.get("DOCKER_HOST"):
            return None
        host = self.endpoint().host
        return Path(host.removeprefix("unix://")) if host.startswith("unix://") else None

    def endpoint(self) -> Endpoint:
        """Return where this engine listens; a context is looked up by the CLI, because the SDK ignores a wrong one."""
        environment = {**os.environ, **self.environment}
        if environment.get("DOCKER_HOST"):
            return from_environment(environment)
        if not context_named(environment):
            return Endpoint(f"unix://{DEFAULT_SOCKET}")
        done = self.run("context", "inspect", timeout=ANSWER_SECONDS)
        return from_context(json.loads(done.stdout))


@dataclass(frozen=True)
class Probe:
    """What `docker info` says: the engine's own answer, whether one is there, what is wrong, and what to do."""

    info: Mapping[str, Any] = field(default_factory=dict)
    reachable: bool = False
    wrong: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Search:
    """What was found of the host's engine: no `probe` where nothing points to one, `chosen` is how a person named one.

    `wanted` is the setting `engine`.
    """

    wanted: str
    chosen: str = ""
    probe: Probe | None = None

    @property
    def kind(self) -> str:
        """The engine to use: host, embedded, or '' where a person's choice is of no use."""
        if self.probe and not self.probe.wrong:
            return "host"
        return "" if self.wanted == "host" or (self.probe and self.chosen) else "embedded"


def find_engine(
    settings: "Settings", runner: Runner = process, start: Callable[..., dict[str, Any]] = lifecycle.start
) -> Engine:
    """Return the engine the settings ask for; where none is reachable, `start` the embedded one."""
    search = search_host(settings.engine, os.environ, runner=runner)
    probe = search.probe or Probe()
    if search.kind == "host":
        return from_info("host", probe.info)
    if search.kind == "embedded":
        why = (
            f"the Docker Engine cannot be used ({probe.wrong})" if probe.reachable else "no Docker Engine is reachable"
        )
        try:
            engine = _embedded(settings, start)
        except EngineError as error:
            if settings.engine == "embedded":
                raise
            raise EngineError(f"{why}, and {error.message}", probe.hint if probe.reachable else error.hint) from None
        if settings.engine != "embedded":
            log.info(f"{why}: using the embedded one ({engine.version}) in {install.here().shown()}")
        return engine
    if search.chosen:
        hint = probe.hint or f"correct or unset {search.chosen.partition('=')[0]}"
        raise EngineError(f"{search.chosen}: {probe.wrong}", hint)
    raise EngineError(probe.wrong, probe.hint)


def search_host(
    wanted: str, environment: Mapping[str, str], seconds: float = ANSWER_SECONDS, runner: Runner = process
) -> Search:
    """Look for the host's engine as the setting `engine` wants it, without starting any."""
    chosen = explicit(environment) if wanted != "embedded" else ""
    if wanted == "embedded" or (
        wanted == "auto" and not chosen and not DEFAULT_SOCKET.exists() and not context_named(environment)
    ):
        return Search(wanted)
    return Search(wanted, chosen, ask_docker(seconds=seconds, runner=runner))


def explicit(environment: Mapping[str, str]) -> str:
    """Return the variable by which a person chose an engine, as NAME=value, or ''."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if environment.get(name):
            return f"{name}={environment[name]}"
    return ""


def context_named(environment: Mapping[str, str]) -> str:
    """Return the context that the CLI would use, or '' for the default one."""
    name = environment.get("DOCKER_CONTEXT", "")
    if not name:
        file = Path(environment.get("DOCKER_CONFIG") or "~/.docker").expanduser() / "config.json"
        try:
            name = json.loads(file.read_text("utf-8")).get("currentContext", "")
        except (OSError, ValueError, AttributeError):
            return ""
    return "" if name == "default" else str(name)


def from_environment(environment: Mapping[str, str]) -> Endpoint:
    """Return the endpoint that DOCKER_HOST and its companions describe."""
    host, verify = environment["DOCKER_HOST"], bool(environment.get("DOCKER_TLS_VERIFY"))
    if not verify and not environment.get("DOCKER_TLS"):
        return Endpoint(host)
    folder = environment.get("DOCKER_CERT_PATH") or environment.get("DOCKER_CONFIG") or "~/.docker"
    return Endpoint(host, Path(folder).expanduser(), verify)


def from_context(inspected: Any) -> Endpoint:
    """Return the endpoint in the output of `docker context inspect`."""
    context = inspected[0]
    endpoint = context["Endpoints"]["docker"]
    has_files = "docker" in (context.get("TLSMaterial") or {})
    folder = Path(context["Storage"]["TLSPath"]) / "docker" if has_files else None
    return Endpoint(endpoint["Host"], folder, not endpoint.get("SkipTLSVerify", False))


def judge(info: Mapping[str, Any], complaint: str = "") -> Probe:
    """Return what is wrong with an engine and its CLI, from what `docker info` prints to stdout and stderr."""
    if info.get("ServerErrors") or not info.get("ServerVersion"):
        said = "; ".join(info.get("ServerErrors") or [complaint.strip() or "no Docker Engine answers"])
        denied = "permission denied" in said
        hint = "add this user to the docker group, or use sudo" if denied else "start the engine, or set DOCKER_HOST"
        return Probe(info, denied, said, hint)
    version = str(info["ServerVersion"])
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_ENGINE:
        wrong = f"the Docker Engine is {version}: its BuildKit is too old, 23.0 is the oldest that works"
        return Probe(info, True, wrong, "upgrade the engine, for example to Debian 13's docker.io")
    missing = tuple(missing_plugins(info))
    if missing:
        wrong = f"the Docker CLI has no {' and no '.join(name for name, _ in missing)}"
        return Probe(info, True, wrong, f"install {' and '.join(package for _, package in missing)}")
    return Probe(info, True)


def missing_plugins(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the CLI lacks, and the packages that have it by Debian's and by Docker's names."""
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or ()
    working = (plugin for plugin in plugins if not plugin.get("Err"))
    found = {plugin.get("Name"): str(plugin.get("Version", "")).lstrip("v") for plugin in working}
    if "buildx" not in found:
        yield "buildx", "docker-buildx (docker-buildx-plugin from Docker's own repository)"
    if "compose" not in found or found["compose"].startswith("1."):
        yield "Compose v2", "docker-compose 2 or newer (docker-compose-plugin from Docker's own repository)"


def from_info(kind: str, info: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Engine:
    """Return the engine that describes itself so."""
    status = {pair[0]: pair[1] for pair in info.get("DriverStatus") or () if len(pair) == 2}
    return Engine(
        kind=kind,
        version=lifecycle.version(info),
        snapshotter=status.get("driver-type", "").startswith("io.containerd.snapshotter"),
        cpus=int(info.get("NCPU") or 1),
        environment=environment or {},
    )


def ask_docker(
    environment: Mapping[str, str] | None = None, seconds: float = ANSWER_SECONDS, runner: Runner = process
) -> Probe:
    """Return what `docker info` says in an environment with these changes; an engine that hangs is told as that."""
    if not environment and runner.which("docker") is None:
        hint = "install docker-cli, docker-buildx, docker-compose"
        return Probe(wrong="the docker command is not installed", hint=hint)
    command = Command(("docker", "info", "--format", "{{json .}}"), env=environment or {}, timeout=seconds)
    try:
        done = runner.capture(command, check=False)
        return judge(json.loads(done.stdout), done.stderr)
    except CommandError as error:
        return Probe(wrong=error.message.partition(":")[0], hint=error.hint or "restart the engine")
    except ValueError:
        return Probe(wrong=(done.stderr or done.stdout).strip() or "docker info says nothing")


def _embedded(settings: "Settings", start: Callable[..., dict[str, Any]]) -> Engine:
    info = start(allow_expired=settings.allow_expired_release)
    environment = install.environment(install.here())
    if settings.builder:
        # The embedded engine's own DOCKER_CONFIG hides the builders that the user made.
        users = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
        environment["BUILDX_CONFIG"] = os.environ.get("BUILDX_CONFIG") or str(users / "buildx")
    return from_info("embedded", info, environment)


def certificates(endpoint: Endpoint) -> Any:
    """Return the SDK's TLS settings for an endpoint, or False for one without TLS."""
    if endpoint.certificates is None:
        return False
    from docker.tls import TLSConfig

    authority, certificate, key = (endpoint.certificates / name for name in ("ca.pem", "cert.pem", "key.pem"))
    pair = (str(certificate), str(key)) if certificate.is_file() and key.is_file() else None
    return TLSConfig(pair, str(authority) if authority.is_file() else None, verify=endpoint.verify)
