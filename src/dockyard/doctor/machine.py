"""What a check of the doctor is given and gives; the checks of the engine and of the machine that it runs on."""

import functools
import os
import platform
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import apt, console, files, process
from dockyard.engine import client
from dockyard.engine.embedded import install, processes
from dockyard.engine.embedded.install import place
from dockyard.errors import DockyardError
from dockyard.process import Command, Runner
from dockyard.stack.prepare import is_taken

if TYPE_CHECKING:
    from dockyard.settings import Settings


NETWORK_SECONDS = 5.0


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
class Engines:
    """The engines of a machine: what the search for the host's gave, and the embedded one."""

    search: client.Search
    embedded: Embedded

    @property
    def kind(self) -> str:
        """The engine that a build would use: host, embedded, or '' where none can be."""
        return "" if self.search.kind == "embedded" and self.embedded.refusal else self.search.kind

    @property
    def info(self) -> Mapping[str, Any]:
        """What that engine says of itself; empty where it does not run."""
        probe = self.embedded.probe if self.kind == "embedded" else self.search.probe
        return probe.info if probe else {}

    @property
    def plugins(self) -> Mapping[str, Any]:
        """What the docker command at hand says of itself, whether an engine answers it or not."""
        return self.info or (self.search.probe.info if self.search.probe else {})

    @property
    def fetches(self) -> bool:
        """Whether the next build would first fetch the embedded engine's packages."""
        return self.kind == "embedded" and not self.embedded.unpacked


class Once:
    """A fact that several checks need: the first one gathers it, the others wait for it."""

    def __init__(self, gather: Callable[[], Engines]) -> None:
        self._gather = functools.cache(gather)
        self._lock = threading.Lock()

    def __call__(self) -> Engines:
        """Return the fact."""
        with self._lock:
            return self._gather()


@dataclass(frozen=True)
class Machine:
    """What is looked at: the project's settings, the environment, the engines once they were asked; and with what."""

    settings: "Settings"
    environment: Mapping[str, str]
    engines: Once
    runner: Runner = field(default=process)
    is_taken: Callable[[str, int], bool] = field(default=is_taken)
    node: Callable[[], str] = field(default=platform.node)
    mirror: Callable[[], apt.Mirror] = field(default=apt.mirror)
    codename: Callable[[], str] = field(default=apt.codename)

    def docker(self) -> dict[str, str] | None:
        """Return the environment in which the docker command works, or None where there is none yet."""
        engines = self.engines()
        if engines.kind != "embedded":
            return {} if self.runner.which("docker") else None
        if not engines.embedded.unpacked:
            return None
        return install.client_environment(place(self.environment), self.environment.get("PATH", ""))


Check = Callable[[Machine], Iterable[Row]]


LEAST_DISK, ENOUGH_DISK = 10**9, 5 * 10**9
LEAST_MEMORY, ENOUGH_MEMORY = 512 * 10**6, 2 * 10**9
"""Bytes: below the first nothing works, below the second a build may not."""
DOWNLOAD, UNPACKED = 90 * 10**6, 380 * 10**6
"""Bytes of the embedded engine's packages, as fetched and as unpacked."""
ENGINE_SECONDS = 4.0


def look_at_engines(settings: "Settings", environment: Mapping[str, str]) -> Engines:
    """Return what there is to know of the host's engine and the embedded one, without starting any."""
    search = client.search_host(settings.engine, environment, ENGINE_SECONDS)
    usual = Embedded("", install.ENGINE_VERSION)
    return Engines(search, look_at_embedded(environment) if search.kind == "embedded" else usual)


def look_at_embedded(environment: Mapping[str, str]) -> Embedded:
    """Return whether the embedded engine runs, is unpacked, or could not be used here."""
    where = place(environment)
    known = Embedded(where.shown(), install.ENGINE_VERSION)
    try:
        install.require_host()
        known = replace(known, unpacked=install.is_unpacked(where))
        if processes.daemon(processes.running(), where):
            ours = install.client_environment(where, environment.get("PATH", ""))
            return replace(known, probe=client.ask_docker(environment=ours, seconds=ENGINE_SECONDS))
        if not known.unpacked:
            apt.mirror()
        rivals = processes.rivals(processes.running(), where)
    except DockyardError as error:
        return replace(known, refusal=error.message, instead=error.hint)
    if rivals:
        other = f"the embedded engine cannot run beside another dockerd (process {rivals[0].pid})"
        return replace(known, refusal=other, instead="set DOCKER_HOST to that engine, or stop it")
    return known


def check_engine(machine: Machine) -> Iterable[Row]:
    """Engine, buildx, Compose and the image store."""
    engines = machine.engines()
    yield engine_row(engines)
    yield from plugin_rows(engines)
    yield store_row(engines)


def engine_row(engines: Engines) -> Row:
    """Say which engine would be used."""
    search, own = engines.search, engines.embedded
    named = f" ({search.chosen})" if search.chosen else ""
    if engines.kind == "host":
        return Row("engine", State.OK, f"Docker Engine {client.from_info('host', engines.info).version}{named}")
    trouble = search.probe.wrong if search.probe else ""
    if not search.kind:
        hint = (search.probe.hint if search.probe else "") or "start it, or set DOCKER_HOST to one that answers"
        return Row("engine", State.FAIL, f"{trouble or 'none is reachable'}{named}", hint)
    if own.refusal:
        why = "" if search.wanted == "embedded" else f"{trouble or 'none is reachable'}; "
        return Row("engine", State.FAIL, why + own.refusal, own.instead)
    if own.probe and own.probe.wrong:
        return Row("engine", State.FAIL, f"embedded: {own.probe.wrong}", "invoke engine.stop, then try again")
    if own.probe:
        found = f"running in {own.home}"
    elif own.unpacked:
        found = "starts when it is needed"
    else:
        takes = f"{console.size(DOWNLOAD)} to fetch, {console.size(UNPACKED)} in {own.home}"
        found = f"fetched when it is needed: {takes}"
    why = "" if search.wanted == "embedded" else f" ({trouble or 'no other is reachable'})"
    return Row("engine", State.OK, f"embedded {own.version}, {found}{why}")


def plugin_rows(engines: Engines) -> Iterator[Row]:
    """Say which buildx and Compose there are."""
    waiting = engines.kind == "embedded" and not engines.embedded.probe
    info = engines.plugins
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


def store_row(engines: Engines) -> Row:
    """Say whether containerd keeps the images, and what follows."""
    if not engines.kind:
        return Row("image store", State.WARN, "not asked: there is no engine", "see the row of the engine")
    if not engines.info:
        return Row("image store", State.OK, "containerd's, once the embedded engine runs")
    if client.from_info(engines.kind, engines.info).snapshotter:
        return Row("image store", State.OK, "containerd's: attestations and several platforms work")
    return Row(
        "image store",
        State.WARN,
        "Docker's own: no attestations, no images for several platforms, and digests only once pushed",
        'put {"features": {"containerd-snapshotter": true}} into the engine\'s daemon.json and restart it',
    )


def check_builder(machine: Machine) -> Iterable[Row]:
    """Look for the buildx builder that the settings name, if they do."""
    name, changes = machine.settings.builder, machine.docker() if machine.settings.builder else None
    if not name or changes is None:
        return
    command = Command(("docker", "buildx", "inspect", name), env=changes, timeout=NETWORK_SECONDS)
    done = machine.runner.capture(command, check=False)
    if done.ok:
        yield Row("builder", State.OK, name)
    else:
        trouble = (done.stderr.strip().splitlines() or ["it is not there"])[-1]
        yield Row("builder", State.FAIL, f"{name}: {trouble}", "`docker buildx ls` shows which there are")


@dataclass(frozen=True)
class Disk:
    """One place that fills up: free bytes on the file system `device` that holds it; `wrong` if it cannot be asked."""

    use: str
    path: str
    free: int = 0
    device: int = 0
    wrong: str = ""


def check_disk(machine: Machine) -> Iterable[Row]:
    """Room for the engine's data, base images and temporary files."""
    engines = machine.engines()
    data = engines.info.get("DockerRootDir") or (place(machine.environment).data if engines.kind == "embedded" else "")
    folders = {"the cache": files.folder(machine.environment), "temporary files": Path(tempfile.gettempdir())}
    if data and runs_here(machine):
        folders = {"the engine": Path(data), **folders}
    yield from disk_rows([measure(use, path) for use, path in folders.items()])


def measure(use: str, path: Path) -> Disk:
    """Return the room below a folder that may not exist yet."""
    there = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), Path("/"))
    try:
        found = os.statvfs(there)
        device = there.stat().st_dev
    except OSError as error:
        return Disk(use, str(path), wrong=error.strerror or "cannot be looked at")
    if there != path and not os.access(there, os.W_OK):
        return Disk(use, str(path), wrong=f"{there} cannot be written")
    return Disk(use, str(path), found.f_bavail * found.f_frsize, device)


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


def runs_here(machine: Machine) -> bool:
    """Tell whether the engine runs on this machine: its disk and memory are ours then."""
    engines = machine.engines()
    if engines.kind != "host":
        return True
    chosen = machine.environment.get("DOCKER_HOST", "")
    return chosen.startswith("unix://") if chosen else engines.info.get("Name") in (None, machine.node())


def check_memory(machine: Machine) -> Iterable[Row]:
    """Memory and processors of the engine's machine."""
    info = machine.engines().info
    text = Path("/proc/meminfo").read_text("ascii") if Path("/proc/meminfo").exists() else ""
    here = {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total = int(info.get("MemTotal") or here.get("MemTotal", 0))
    if total:
        yield memory_row(total, here.get("MemAvailable", 0) if runs_here(machine) else 0)
    count = int(info.get("NCPU") or os.cpu_count() or 1)
    if count > 1:
        yield Row("CPUs", State.OK, str(count))
    else:
        found = "1: several Pythons are built and tested one after another"
        yield Row("CPUs", State.WARN, found, "use a larger machine")


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
