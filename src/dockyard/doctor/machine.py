"""What a check of the doctor is given and gives; the checks of the engine and of the machine that it runs on."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import apt, console, files, process
from dockyard.engine import client
from dockyard.engine.embedded import install, lifecycle, processes
from dockyard.errors import DockyardError
from dockyard.process import Command, Runner
from dockyard.stack.ports import is_taken

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
class Engines:
    """The engines of a machine: what the search for the host's gave, and what there is of the embedded one.

    `home` is its folder, `own` what `docker info` says where it runs, `refusal` why it cannot be used.
    """

    search: client.Search
    home: str = ""
    unpacked: bool = False
    own: client.Probe | None = None
    refusal: DockyardError | None = None

    @property
    def kind(self) -> str:
        """The engine that a build would use: host, embedded, or '' where none can be."""
        return "" if self.search.kind == "embedded" and self.refusal else self.search.kind

    @property
    def info(self) -> Mapping[str, Any]:
        """What that engine says of itself; empty where it does not run."""
        probe = self.own if self.kind == "embedded" else self.search.probe
        return probe.info if probe else {}

    @property
    def plugins(self) -> Mapping[str, Any]:
        """What the docker command at hand says of itself, whether an engine answers it or not."""
        return self.info or (self.search.probe.info if self.search.probe else {})

    @property
    def fetches(self) -> bool:
        """Whether the next build would first fetch the embedded engine's packages."""
        return self.kind == "embedded" and not self.unpacked


@dataclass(frozen=True)
class Machine:
    """What is looked at: the project's settings, the environment, the engines once they were asked; and with what."""

    settings: "Settings"
    environment: Mapping[str, str]
    engines: Callable[[], Engines]
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
        if not engines.unpacked:
            return None
        return install.client_environment(install.here(self.environment), self.environment)


Check = Callable[[Machine], Iterable[Row]]


LEAST_DISK, ENOUGH_DISK = 10**9, 5 * 10**9
LEAST_MEMORY, ENOUGH_MEMORY = 512 * 10**6, 2 * 10**9
"""Bytes: below the first nothing works, below the second a build may not."""
DOWNLOAD, UNPACKED = 90 * 10**6, 380 * 10**6
"""Bytes of the embedded engine's packages, as fetched and as unpacked."""
ENGINE_SECONDS = 4.0


def look_at_engines(settings: "Settings", environment: Mapping[str, str]) -> Engines:
    """Return what there is to know of the host's engine and the embedded one, without starting any."""
    where = install.here(environment)
    found = Engines(client.search_host(settings.engine, environment, ENGINE_SECONDS), where.shown())
    if found.search.kind != "embedded":
        return found
    try:
        install.require_host()
        found = replace(found, unpacked=install.is_unpacked(where))
        if processes.daemon(processes.running(), where):
            ours = install.client_environment(where, environment)
            return replace(found, own=client.ask_docker(environment=ours, seconds=ENGINE_SECONDS))
        if not found.unpacked:
            apt.mirror()
        lifecycle.refuse_rivals(processes.rivals(processes.running(), where))
    except DockyardError as error:
        return replace(found, refusal=error)
    return found


def check_engine(machine: Machine) -> Iterable[Row]:
    """Engine, buildx, Compose and the image store."""
    engines = machine.engines()
    yield engine_row(engines)
    yield from plugin_rows(engines)
    yield store_row(engines)


def engine_row(engines: Engines) -> Row:
    """Say which engine would be used."""
    search, own = engines.search, engines.own
    probe, named = search.probe or client.Probe(), f" ({search.chosen})" if search.chosen else ""
    if engines.kind == "host":
        return Row("engine", State.OK, f"Docker Engine {client.from_info('host', engines.info).version}{named}")
    trouble = probe.wrong or "no Docker Engine is reachable"
    if not search.kind:
        hint = probe.hint or "start it, or set DOCKER_HOST to one that answers"
        return Row("engine", State.FAIL, f"{trouble}{named}", hint)
    asked_for = search.wanted == "embedded"
    if engines.refusal:
        why = "" if asked_for else f"{trouble}; "
        return Row("engine", State.FAIL, why + engines.refusal.message, engines.refusal.hint)
    if own and own.wrong:
        return Row("engine", State.FAIL, f"embedded: {own.wrong}", "invoke engine.stop, then try again")
    found = f"running in {engines.home}" if own else "starts when it is needed"
    if engines.fetches and not own:
        takes = f"{console.size(DOWNLOAD)} to fetch, {console.size(UNPACKED)} in {engines.home}"
        found = f"fetched when it is needed: {takes}"
    why = "" if asked_for else f" ({trouble})"
    return Row("engine", State.OK, f"embedded {install.ENGINE_VERSION}, {found}{why}")


def plugin_rows(engines: Engines) -> Iterator[Row]:
    """Say which buildx and Compose there are."""
    waiting = engines.kind == "embedded" and not engines.own
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


def check_disk(machine: Machine) -> Iterable[Row]:
    """Room for the engine's data, base images and temporary files."""
    engines = machine.engines()
    data = engines.info.get("DockerRootDir") or (
        install.here(machine.environment).data if engines.kind == "embedded" else ""
    )
    if data and runs_here(machine):
        yield measure_disk("the engine", Path(data))
    yield measure_disk("the cache", files.folder(machine.environment))
    yield measure_disk("temporary files", Path(tempfile.gettempdir()))


def measure_disk(
    use: str, path: Path, usage: Callable[[Path], int] = lambda there: shutil.disk_usage(there).free
) -> Row:
    """Say how much room is left below a folder that may not exist yet, for what it is used."""
    there = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), Path("/"))
    wrong = "" if there == path or os.access(there, os.W_OK) else f"{there} cannot be written"
    try:
        free = usage(there)
    except OSError as error:
        wrong = error.strerror or "cannot be looked at"
    if wrong:
        return Row("disk", State.FAIL, f"{use}: {path}: {wrong}", "set XDG_CACHE_HOME to another folder")
    advice = f"free at least {console.size(ENOUGH_DISK)}: `docker system prune`, or another XDG_CACHE_HOME"
    return _at_least("disk", free, (LEAST_DISK, ENOUGH_DISK), f"{console.size(free)} free for {use} ({path})", advice)


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
    whole = console.size(total)
    left = f"{console.size(available)} available of {whole}" if available else f"{whole} in all"
    advice = "end other programs, or use an engine on a larger machine (DOCKER_HOST)"
    return _at_least("memory", available or total, (LEAST_MEMORY, ENOUGH_MEMORY), left, advice)


def _at_least(check: str, amount: int, limits: tuple[int, int], found: str, advice: str) -> Row:
    least, enough = limits
    if amount >= enough:
        return Row(check, State.OK, found)
    return Row(check, State.FAIL if amount < least else State.WARN, found, advice)
