"""Find a Docker Engine and talk to it: the only module that imports the Docker SDK."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import apt, process
from dockyard.engine.embedded import install, lifecycle, processes
from dockyard.errors import CommandError, DockyardError, EngineError
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

        address = self.address()
        host = address["DOCKER_HOST"]
        if not host.startswith(("unix://", "tcp://", "http://", "https://")):
            raise EngineError(
                f"the engine at {host} is reached in a way that the Docker SDK cannot use here",
                "forward its socket, for example with ssh -L, and set DOCKER_HOST to the local end",
            )
        try:
            return docker.DockerClient.from_env(environment=address, timeout=SDK_TIMEOUT_SECONDS)
        except docker.errors.DockerException as error:
            raise EngineError(
                f"the Docker Engine at {host} does not answer: {error}", "`invoke doctor` looks at it"
            ) from None

    def ask(self, what: str) -> Any:
        """Return the engine's JSON answer to GET `what` (the Engine API), or None where only the CLI can ask it.

        That is quicker than a process or the SDK. An address of another kind than unix:// is the path of no socket.
        """
        return lifecycle.ask(Path(self.address()["DOCKER_HOST"].removeprefix("unix://")), what)

    def is_local(self) -> bool:
        """Tell whether it listens at a socket of this machine."""
        return self.address()["DOCKER_HOST"].startswith("unix://")

    def address(self) -> dict[str, str]:
        """Return the variables that say where this engine listens, for the docker command and the SDK.

        A context is looked up by the CLI, because the SDK takes the default socket for a wrong one.
        """
        environment = {**os.environ, **self.environment}
        host = environment.get("DOCKER_HOST")
        if not host and context_named(environment):
            return read_context(json.loads(self.run("context", "inspect", timeout=ANSWER_SECONDS).stdout))
        verify = bool(environment.get("DOCKER_TLS_VERIFY"))
        if not host or not (verify or environment.get("DOCKER_TLS")):
            return describe_address(host or f"unix://{DEFAULT_SOCKET}")
        folder = environment.get("DOCKER_CERT_PATH") or environment.get("DOCKER_CONFIG") or "~/.docker"
        return describe_address(host, Path(folder).expanduser(), verify=verify)


@dataclass(frozen=True)
class Probe:
    """What `docker info` says: the engine's own answer, what is wrong with it, and what to do."""

    info: Mapping[str, Any] = field(default_factory=dict)
    wrong: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Search:
    """What was found of the engines: no `probe` where nothing points to one of the host, `chosen` is how it was named.

    `wanted` is the setting `engine`. Of the embedded one, where it was looked at, `own` is what it says of itself where
    it runs, and `refusal` why it cannot be used.
    """

    wanted: str
    chosen: str = ""
    probe: Probe | None = None
    unpacked: bool = False
    own: Probe | None = None
    refusal: DockyardError | None = None

    @property
    def kind(self) -> str:
        """The engine to use: host, embedded, or '' where a person's choice is of no use, or none can be had."""
        if self.probe and not self.probe.wrong:
            return "host"
        return "" if self.wanted == "host" or (self.probe and self.chosen) or self.refusal else "embedded"

    @property
    def info(self) -> Mapping[str, Any]:
        """What that engine says of itself; empty where it does not run."""
        probe = self.own if self.kind == "embedded" else self.probe
        return probe.info if probe else {}

    @property
    def plugins(self) -> Mapping[str, Any]:
        """What the docker command at hand says of itself, whether an engine answers it or not."""
        return self.info or (self.probe.info if self.probe else {})

    @property
    def fetches(self) -> bool:
        """Whether the next build would first fetch the embedded engine's packages."""
        return self.kind == "embedded" and not self.unpacked


def find_engine(
    settings: "Settings", runner: Runner = process, start: Callable[..., dict[str, Any]] = lifecycle.start
) -> Engine:
    """Return the engine the settings ask for; where none is reachable, `start` the embedded one."""
    search = search_host(settings.engine, os.environ, runner=runner)
    probe = search.probe or Probe()
    if search.kind == "host":
        return from_info("host", probe.info)
    if not search.kind:
        raise EngineError(f"{search.chosen}: {probe.wrong}" if search.chosen else probe.wrong, probe.hint)
    if settings.engine == "embedded":
        return _embedded(settings, start)
    why = f"the Docker Engine cannot be used ({probe.wrong})" if probe.wrong else "no Docker Engine is reachable"
    try:
        engine = _embedded(settings, start)
    except EngineError as error:
        raise EngineError(f"{why}, and {error.message}", probe.hint or error.hint) from None
    log.info(f"{why}: using the embedded one ({engine.version}) in {install.here().shown()}")
    return engine


def search_host(
    wanted: str, environment: Mapping[str, str], seconds: float = ANSWER_SECONDS, runner: Runner = process
) -> Search:
    """Look for the host's engine as the setting `engine` wants it, without starting any."""
    if wanted == "embedded":
        return Search(wanted)
    named = (f"{name}={environment[name]}" for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if environment.get(name))
    chosen = next(named, "")
    if wanted == "auto" and not (chosen or DEFAULT_SOCKET.exists() or context_named(environment)):
        return Search(wanted)
    return Search(wanted, chosen, ask_docker(seconds=seconds, runner=runner))


def look_at_engines(wanted: str, environment: Mapping[str, str], seconds: float) -> Search:
    """Return what there is to know of the host's engine and the embedded one, without starting any."""
    found = search_host(wanted, environment, seconds)
    if found.kind != "embedded":
        return found
    where = install.here(environment)
    try:
        install.require_host()
        found = replace(found, unpacked=install.is_unpacked(where))
        if processes.daemon(processes.running(), where):
            ours = install.client_environment(where, environment)
            return replace(found, own=ask_docker(environment=ours, seconds=seconds))
        if not found.unpacked:
            apt.mirror()
        lifecycle.refuse_rivals(processes.rivals(processes.running(), where))
    except DockyardError as error:
        return replace(found, refusal=error)
    return found


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


def read_context(inspected: Any) -> dict[str, str]:
    """Return the variables that say where the context in the output of `docker context inspect` leads (pure)."""
    context = inspected[0]
    endpoint = context["Endpoints"]["docker"]
    has_files = "docker" in (context.get("TLSMaterial") or {})
    folder = Path(context["Storage"]["TLSPath"]) / "docker" if has_files else None
    return describe_address(endpoint["Host"], folder, verify=not endpoint.get("SkipTLSVerify", False))


def describe_address(host: str, certificates: Path | None = None, *, verify: bool = False) -> dict[str, str]:
    """Return the variables that lead to an engine, for TLS with the folder of its certificates (pure)."""
    tls = "1" if certificates else ""
    return {
        "DOCKER_HOST": host,
        "DOCKER_CERT_PATH": str(certificates or ""),
        "DOCKER_TLS": tls,
        "DOCKER_TLS_VERIFY": tls if verify else "",
    }


def judge(info: Mapping[str, Any], complaint: str = "") -> Probe:
    """Return what is wrong with an engine and its CLI, from what `docker info` prints to stdout and stderr."""
    if info.get("ServerErrors") or not info.get("ServerVersion"):
        said = "; ".join(info.get("ServerErrors") or [complaint.strip() or "no Docker Engine answers"])
        denied = "permission denied" in said
        hint = "add this user to the docker group, or use sudo" if denied else "start the engine, or set DOCKER_HOST"
        return Probe(info, said, hint)
    version = str(info["ServerVersion"])
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_ENGINE:
        wrong = f"the Docker Engine is {version}: its BuildKit is too old, 23.0 is the oldest that works"
        return Probe(info, wrong, "upgrade the engine, for example to Debian 13's docker.io")
    missing = tuple(missing_plugins(info))
    if missing:
        wrong = f"the Docker CLI has no {' and no '.join(name for name, _ in missing)}"
        return Probe(info, wrong, f"install {' and '.join(package for _, package in missing)}")
    return Probe(info)


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
        wrong = (done.stderr or done.stdout).strip() or "docker info says nothing"
        return Probe(wrong=wrong, hint="correct or unset DOCKER_HOST and DOCKER_CONTEXT")


def _embedded(settings: "Settings", start: Callable[..., dict[str, Any]]) -> Engine:
    info = start(allow_expired=settings.allow_expired_release)
    where = install.here()
    install.link_credentials(where, os.environ)
    environment = install.client_environment(where)
    if settings.builder:
        # The embedded engine's own DOCKER_CONFIG hides the builders that the user made.
        users = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
        environment["BUILDX_CONFIG"] = os.environ.get("BUILDX_CONFIG") or str(users / "buildx")
    return from_info("embedded", info, environment)
