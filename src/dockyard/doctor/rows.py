"""Judge what was found on a machine: facts in, rows of the doctor's table out (pure)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dockyard import console
from dockyard.engine import client
from dockyard.git import Git

LEAST_DISK, ENOUGH_DISK = 10**9, 5 * 10**9
LEAST_MEMORY, ENOUGH_MEMORY = 512 * 10**6, 2 * 10**9
"""Bytes: below the first nothing works, below the second a build may not."""
DOWNLOAD, UNPACKED = 90 * 10**6, 380 * 10**6
"""Bytes of the embedded engine's packages, as fetched and as unpacked."""
OLDEST_PYTHON = (3, 11)


class State(StrEnum):
    """How a check ended; only a failure makes the doctor exit with 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Row:
    """One line of the table: `fix` says what to do, empty where nothing needs doing."""

    check: str
    state: State
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Embedded:
    """The embedded engine: whether it is there, what `docker info` says where it runs, and why it cannot be used."""

    home: str
    version: str
    unpacked: bool = False
    probe: client.Probe | None = None
    refusal: str = ""
    instead: str = ""


@dataclass(frozen=True)
class Docker:
    """The engines of a machine: `host` is None where nothing points to one, `chosen` how a person named one."""

    wanted: str
    embedded: Embedded
    host: client.Probe | None = None
    chosen: str = ""

    @property
    def kind(self) -> str:
        """The engine that a build would use: host, embedded, or '' where none can be."""
        if self.host and not self.host.wrong:
            return "host"
        return "" if self.wanted == "host" or (self.host and self.chosen) or self.embedded.refusal else "embedded"

    @property
    def info(self) -> Mapping[str, Any]:
        """What that engine says of itself; empty where it does not run."""
        probe = self.embedded.probe if self.kind == "embedded" else self.host
        return probe.info if probe else {}

    @property
    def fetches(self) -> bool:
        """Whether the next build would first fetch the embedded engine's packages."""
        return self.kind == "embedded" and not self.embedded.unpacked


def engine_row(docker: Docker) -> Row:
    """Say which engine would be used."""
    host, own = docker.host, docker.embedded
    if docker.kind == "host":
        return Row(
            "engine", State.OK, f"Docker Engine {client.from_info('host', docker.info).version}{_at(docker.chosen)}"
        )
    trouble = host.wrong if host else ""
    if docker.kind == "":
        hint = host.hint if host and not own.refusal else own.instead
        if docker.chosen or docker.wanted == "host":
            hint = host.hint if host and host.hint else "start it, or set DOCKER_HOST to one that answers"
            return Row("engine", State.FAIL, f"{trouble or 'none is reachable'}{_at(docker.chosen)}", hint)
        why = f"{trouble}; " if trouble else "none is reachable; "
        return Row("engine", State.FAIL, ("" if docker.wanted == "embedded" else why) + own.refusal, hint)
    why = "" if docker.wanted == "embedded" else f" ({trouble or 'no other is reachable'})"
    return _embedded_row(own, why)


def _embedded_row(own: Embedded, why: str) -> Row:
    if own.probe and own.probe.wrong:
        return Row("engine", State.FAIL, f"embedded: {own.probe.wrong}", "invoke engine.stop, then try again")
    if own.probe:
        return Row("engine", State.OK, f"embedded {own.version}, running in {own.home}{why}")
    if own.unpacked:
        return Row("engine", State.OK, f"embedded {own.version}, starts when it is needed{why}")
    takes = f"{console.size(DOWNLOAD)} to fetch, {console.size(UNPACKED)} in {own.home}"
    return Row("engine", State.OK, f"embedded {own.version}, fetched when it is needed: {takes}{why}")


def _at(chosen: str) -> str:
    return f" ({chosen})" if chosen else ""


def plugin_rows(docker: Docker) -> Iterator[Row]:
    """Say which buildx and Compose there are."""
    waiting = docker.kind == "embedded" and not docker.embedded.probe
    info = docker.info or (docker.host.info if docker.host else {})
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or ()
    versions = {str(plugin.get("Name")): str(plugin.get("Version", "")).lstrip("v") for plugin in plugins}
    missing = dict(client.missing_plugins(info))
    for check, name in (("buildx", "buildx"), ("Compose v2", "compose")):
        if waiting:
            yield Row(check, State.OK, "comes with the embedded engine")
        elif check in missing:
            yield Row(check, State.FAIL, "the docker command has none", f"install {missing[check]}")
        else:
            yield Row(check, State.OK, versions.get(name, ""))


def store_row(docker: Docker) -> Row:
    """Say whether containerd keeps the images, and what follows."""
    if not docker.kind:
        return Row("image store", State.WARN, "not asked: there is no engine", "see the row of the engine")
    if not docker.info:
        return Row("image store", State.OK, "containerd's, once the embedded engine runs")
    if client.from_info(docker.kind, docker.info).snapshotter:
        return Row("image store", State.OK, "containerd's: attestations and several platforms work")
    return Row(
        "image store",
        State.WARN,
        "Docker's own: no attestations, no images for several platforms, and digests only once pushed",
        'put {"features": {"containerd-snapshotter": true}} into the engine\'s daemon.json and restart it',
    )


def builder_row(name: str, trouble: str) -> Row:
    """Say whether the buildx builder of the settings is there."""
    if trouble:
        return Row("builder", State.FAIL, f"{name}: {trouble}", "`docker buildx ls` shows which there are")
    return Row("builder", State.OK, name)


@dataclass(frozen=True)
class Disk:
    """One place that fills up: free bytes on the file system `device` that holds it; `wrong` if it cannot be asked."""

    use: str
    path: str
    free: int = 0
    device: int = 0
    wrong: str = ""


def disk_rows(disks: Sequence[Disk]) -> Iterator[Row]:
    """Say how much room is left, with one row for each file system."""
    for disk in disks:
        if disk.wrong:
            yield Row(
                "disk", State.FAIL, f"{disk.use}: {disk.path}: {disk.wrong}", "set XDG_CACHE_HOME to another folder"
            )
    good = [disk for disk in disks if not disk.wrong]
    for device in dict.fromkeys(disk.device for disk in good):
        here = [disk for disk in good if disk.device == device]
        free = min(disk.free for disk in here)
        found = f"{console.size(free)} free for {', '.join(f'{disk.use} ({disk.path})' for disk in here)}"
        advice = f"free at least {console.size(ENOUGH_DISK)}: `docker system prune`, or another XDG_CACHE_HOME"
        yield _at_least("disk", free, (LEAST_DISK, ENOUGH_DISK), found, advice)


def memory_row(total: int, available: int) -> Row:
    """Say how much memory there is, in bytes; `available` is 0 for an engine on another machine."""
    left = (
        f"{console.size(available)} available of {console.size(total)}"
        if available
        else f"{console.size(total)} in all"
    )
    advice = "end other programs, or use an engine on a larger machine (DOCKER_HOST)"
    return _at_least("memory", available or total, (LEAST_MEMORY, ENOUGH_MEMORY), left, advice)


def _at_least(check: str, amount: int, limits: tuple[int, int], found: str, advice: str) -> Row:
    least, enough = limits
    if amount >= enough:
        return Row(check, State.OK, found)
    return Row(check, State.FAIL if amount < least else State.WARN, found, advice)


def cpu_row(count: int) -> Row:
    """Say how many processors the engine has."""
    if count > 1:
        return Row("CPUs", State.OK, str(count))
    return Row("CPUs", State.WARN, "1: several Pythons are built and tested one after another", "use a larger machine")


@dataclass(frozen=True)
class Bases:
    """Where base images come from: `digest` or `reason` is a registry's answer, both empty where none was asked."""

    mode: str
    reference: str
    digest: str = ""
    reason: str = ""
    unpackaged: tuple[str, ...] = ()


def base_row(bases: Bases) -> Row:
    """Say whether base images can be had; without a registry, Debian packages make them unless the settings forbid."""
    lacking = f"; Debian packages make none for Python {', '.join(bases.unpackaged)}" if bases.unpackaged else ""
    if bases.mode == "debian":
        state = State.WARN if lacking else State.OK
        return Row(
            "base images", state, f"from Debian packages{lacking}", 'base = "auto" asks a registry' if lacking else ""
        )
    if bases.digest:
        return Row("base images", State.OK, f"the registry has {bases.reference}")
    if not bases.reason:
        after = "" if bases.mode == "registry" else ", and takes Debian packages where none answers" + lacking
        return Row("base images", State.OK, f"the first build asks a registry{after}")
    if bases.mode == "registry":
        advice = 'check the network and the proxy, or set base = "auto" to use Debian packages instead'
        return Row("base images", State.FAIL, bases.reason, advice)
    found = f"the registry does not answer, so Debian packages are used ({bases.reason}){lacking}"
    return Row("base images", State.WARN, found, 'nothing needs doing; base = "debian" asks no registry')


@dataclass(frozen=True)
class Index:
    """How pip fared with the index of the host's configuration: `output` is what `pip index versions -vv` said."""

    named: bool
    returncode: int
    output: str


PIP_TROUBLE = (
    (r"SSL|CERTIFICATE_VERIFY_FAILED", "its TLS certificate is not trusted", "set SSL_CERT_FILE to your CA bundle"),
    (r"\b40[137]\b", "it refuses access", "put the user and password into pip's configuration: `pip config edit`"),
    (r"ProxyError|[Pp]roxy", "the proxy on the way to it cannot be used", "correct or unset HTTPS_PROXY"),
    (r"\b404\b", "it has no page for pip: the address may be wrong", "`pip config list` shows the address"),
    (r"[Tt]imed? ?out", "it does not answer in time", "check the network and the proxy (HTTPS_PROXY)"),
    (r"resol|Name or service|nodename", "its name is not found", "check the network, the proxy and `pip config list`"),
    (r"refused", "nothing listens there", "check the proxy (HTTPS_PROXY) and `pip config list`"),
)
"""Signs in what pip says of an index, what they mean, and what to do."""


def index_row(index: Index) -> Row:
    """Say whether the package index answers."""
    which = "the index of pip's configuration" if index.named else "pip's default index"
    skipped = re.findall(r"Could not fetch URL \S+: (.*)", index.output)
    if index.returncode == 0 and not skipped:
        return Row("package index", State.OK, f"{which} answers")
    said = "\n".join(skipped) or index.output
    for sign, meaning, advice in PIP_TROUBLE:
        if re.search(sign, said):
            return Row("package index", State.FAIL, f"{which}: {meaning}", advice)
    last = (said.strip().splitlines() or ["pip says nothing"])[-1]
    return Row("package index", State.FAIL, f"{which}: {last[:160]}", "`pip index versions pip -vv` shows more")


@dataclass(frozen=True)
class Mirror:
    """The apt mirror: `needed` now, or only perhaps; `wrong` and `fix` where it cannot be used."""

    uri: str
    needed: bool
    wrong: str = ""
    fix: str = ""


def mirror_row(mirror: Mirror) -> Row:
    """Say whether the Debian mirror of the host's apt sources answers."""
    if not mirror.wrong:
        return Row("apt mirror", State.OK, f"{mirror.uri} answers")
    found = f"{mirror.uri}: {mirror.wrong}" if mirror.uri else mirror.wrong
    advice = mirror.fix or "check the network and apt's proxy settings"
    return Row("apt mirror", State.FAIL if mirror.needed else State.WARN, found, advice)


@dataclass(frozen=True)
class Certificates:
    """The CA bundle: how many certificates it holds, which of them expired; `absent` variables name no file."""

    path: str = ""
    count: int = 0
    expired: tuple[str, ...] = ()
    wrong: str = ""
    absent: tuple[str, ...] = ()


def certificates_row(found: Certificates) -> Row:
    """Say which certificates the host trusts."""
    if found.absent:
        named = " and ".join(found.absent)
        return Row("CA bundle", State.FAIL, f"{named}: there is no such file", "correct the variable, or unset it")
    if not found.path:
        advice = "install ca-certificates, or set SSL_CERT_FILE where a proxy inspects TLS"
        return Row("CA bundle", State.WARN, "this host has none: builds trust what the base image trusts", advice)
    if found.wrong or not found.count:
        wrong = found.wrong or "holds no certificate"
        return Row(
            "CA bundle",
            State.FAIL,
            f"{found.path}: {wrong}",
            "put PEM certificates there, or name another file in SSL_CERT_FILE",
        )
    text = f"{found.path}: {found.count} certificate{'s'[: found.count != 1]}"
    # Distributions keep some that are over: what matters is a bundle that is old as a whole, or a company's own.
    if 2 * len(found.expired) < found.count:
        return Row("CA bundle", State.OK, f"{text}, {len(found.expired)} expired" if found.expired else text)
    text += f", expired: {', '.join(found.expired[:3])}{' …' if len(found.expired) > 3 else ''}"
    return Row("CA bundle", State.WARN, text, "renew it: `apt-get install ca-certificates`, or ask who made it")


@dataclass(frozen=True)
class Repository:
    """What git says: no `git` where there is no commit, or why git gives no answer."""

    git: Git | None = None
    installed: bool = True
    said: str = ""


def git_row(repository: Repository) -> Row:
    """Say which commit images would be named after."""
    git = repository.git
    if not repository.installed:
        return Row("git", State.WARN, "not installed: images get no tag and no date from a commit", "install git")
    if "dubious ownership" in repository.said:
        advice = re.search(r"git config --global --add safe\.directory .*", repository.said)
        return Row("git", State.WARN, "the repository belongs to another user", advice[0] if advice else "chown it")
    if git is None:
        what = "no commit yet" if not repository.said else "no repository here"
        return Row("git", State.WARN, f"{what}: images get no tag and no date", "`git init` and a first commit")
    found = f"{git.commit[:12]}{f', {git.tag}' if git.tag else ''}"
    if git.dirty:
        found += ", with changes that are not committed: images are marked dirty"
    if git.branch is None:
        return Row("git", State.WARN, f"detached head at {found}", "`git switch BRANCH`, unless this is a CI job")
    return Row("git", State.OK, f"{git.branch} at {found}")


def lock_row(problems: Sequence[tuple[str, int, str, str]]) -> Row:
    """Say whether the locks agree with their inputs; a problem is path, line, message and what mends it."""
    if not problems:
        return Row("locks", State.OK, "all agree with requirements/*.in")
    path, line, message, mend = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Row("locks", State.FAIL, f"{path}:{line}: {message}{more}", mend)


def port_row(port: int, *, held: bool, ours: bool = False) -> Row:
    """Say whether a port of the development stack is free."""
    if ours:
        return Row(f"port {port}", State.OK, "this project's own stack has it")
    if not held:
        return Row(f"port {port}", State.OK, "free")
    found = "another program has it: `invoke up` will not start"
    return Row(f"port {port}", State.WARN, found, f"`ss -ltnp sport = :{port}` names it: end it, or change ports")


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs us: `own` if it is the project's .venv."""

    version: tuple[int, ...] = field(default=(0, 0, 0))
    prefix: str = ""
    own: bool = False


def python_row(python: Interpreter) -> Row:
    """Say whether this Python will do."""
    version = ".".join(map(str, python.version))
    if python.version[:2] < OLDEST_PYTHON:
        return Row("Python", State.FAIL, f"{version} is too old", "use Python 3.11 or newer")
    if not python.own:
        found = f"{version} in {python.prefix}, not the project's .venv"
        return Row("Python", State.WARN, found, "./bootstrap makes .venv from the hashed lock")
    return Row("Python", State.OK, f"{version} in .venv")


def hook_row(*, installed: bool) -> Row:
    """Say whether pre-commit runs at each commit: a matter of taste."""
    return Row("pre-commit", State.OK, "installed" if installed else "not installed: `pre-commit install` would")
