"""Start the embedded engine, stop it, and put the host back as it was: processes, mounts, bridges, firewall, settings.

Starting fetches what is missing, gives the engine a bridge and waits until it answers.
"""

import contextlib
import functools
import http.client
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard import apt, process
from dockyard.engine.embedded import install, network, processes
from dockyard.engine.embedded.install import Place, State, kernel, locked, read_state
from dockyard.errors import EngineError
from dockyard.files import disk_errors, unmount, write_atomically
from dockyard.process import Command, Completed

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
PATIENCE_SECONDS = 90.0
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
FOLDERS = ("/opt/containerd", "/run/containerd", "/run/docker", "/run/runc", "/etc/docker")
"""Folders that the daemon or its helpers make outside their own, however they are configured."""


@dataclass(frozen=True)
class Status:
    """How the embedded engine is doing; `disk` in bytes, 0 where nothing was unpacked yet."""

    running: bool
    version: str
    pid: int | None
    socket: Path
    data_root: Path
    disk: int
    containers: int


def ask(path: Path, what: str, *, timeout: float = 10.0) -> Any:
    """Return an engine's JSON answer to GET `what` at its socket, or None where none answers within `timeout` seconds.

    The Docker SDK takes longer to import than the answer takes.
    """
    if not path.exists():
        return None
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError), socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(timeout)
        opened.connect(str(path))
        connection = http.client.HTTPConnection("docker")
        connection.sock = opened
        connection.request("GET", what)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return body if answer.status == http.client.OK else None
    return None


def start(place: Place | None = None, *, allow_expired: bool = False) -> dict[str, Any]:
    """Make sure that the engine runs, and return its own description (the API's /info); one process starts it."""
    place = place or install.here()
    if answer := ask(place.socket, "/info"):
        return dict(answer)
    install.require_host()
    with disk_errors(), locked(place.home.parent):
        return ask(place.socket, "/info") or _start(place, allow_expired=allow_expired)


def _start(place: Place, *, allow_expired: bool) -> dict[str, Any]:
    clean(place)
    refuse_rivals(processes.rivals(processes.running(), place))
    if not install.is_unpacked(place):
        log.info(
            f"fetching Docker Engine {install.ENGINE_VERSION}, buildx and Compose from Debian packages (about 100 MB)"
        )
        install.unpack(place, apt.codename(), functools.partial(apt.unpack, allow_expired=allow_expired))
    install.lay_out(place)
    log.info("starting the embedded Docker Engine")
    try:
        return _launch(place)
    except BaseException:
        clean(place)
        raise


def _launch(place: Place) -> dict[str, Any]:
    existing = network.list_interfaces()
    name, addresses = network.free_name(existing), network.choose_addresses(network.list_taken())
    write_atomically(place.state, json.dumps(before(place, existing, name)._asdict(), indent=2))
    try:
        network.make_bridge(name, addresses)
    except OSError as error:
        raise explain_no_bridge(error) from None
    limit = install.cache_limit(shutil.disk_usage(place.data).free)
    settings = install.daemon_settings(place, name, addresses, cache=limit, mtu=network.mtu())
    write_atomically(place.settings, json.dumps(settings, indent=2))
    place.log.write_bytes(b"")
    dockerd = str(place.root / "usr/sbin/dockerd")
    environment = install.daemon_environment(place, os.environ)
    command = Command((dockerd, "--config-file", str(place.settings)), cwd=Path("/"), env=environment)
    return _wait(place, process.detach(command, place.log))


def before(place: Place, interfaces: tuple[str, ...], name: str) -> State:
    """Return what the host is like before the engine changes it."""
    top = Path("/sys/fs/cgroup")
    groups = [folder / "docker" for folder in (top, *top.glob("*")) if folder.is_dir()]
    saves = {program: install.firewall(place, f"{program}-save") for program in ("iptables", "ip6tables")}
    return State(
        kernel=kernel(),
        bridge=name,
        interfaces=interfaces,
        firewall={program: done.stdout for program, done in saves.items() if done.ok},
        sysctls={sysctl: text for sysctl in SYSCTLS if (text := read_sysctl(sysctl))},
        absent=tuple(str(folder) for folder in (*map(Path, FOLDERS), *groups) if not folder.exists()),
    )


def read_sysctl(name: str) -> str:
    """Return a kernel setting, or '' where this kernel has none of that name."""
    return network.read_text(f"/proc/sys/{name}").strip()


def explain_no_bridge(error: OSError) -> EngineError:
    """Return the error that tells why there is no network for containers (pure)."""
    hint = "a container needs --privileged for that, or a Docker socket mounted into it; else " + network.INSTEAD
    return EngineError(f"a network bridge for the embedded engine cannot be made: {error.strerror}", hint)


def _wait(place: Place, pid: int, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    while processes.is_alive(pid) and time.monotonic() < deadline:
        if answer := ask(place.socket, "/info", timeout=5):
            return dict(answer)
        time.sleep(0.05)
    trouble = f"did not answer within {patience:g} s" if processes.is_alive(pid) else "ended while starting"
    raise EngineError(f"the embedded engine {trouble}:\n{tail(place.log)}", f"whole log: {place.log}")


def tail(log: Path) -> str:
    """Return the end of a daemon's log that says most: its errors and last words."""
    lines = network.read_text(log).splitlines()
    return "\n".join([line for line in lines if "level=info" not in line][-8:])


def refuse_rivals(rivals: Iterable[processes.Process]) -> None:
    """Raise EngineError for another engine in this network (pure)."""
    for rival in rivals:
        where = next((word for word in rival.argv if word.startswith("unix://")), "its socket")
        raise EngineError(
            f"another Docker Engine runs here (process {rival.pid}): two would take each other's network away",
            f"use that one by setting DOCKER_HOST to {where}, or stop it and let the embedded one take over",
        )


def stop(place: Place | None = None, *, delete: bool = False) -> bool:
    """Stop the engine, or clean up after one that was killed, and on wish `delete` all that it ever stored.

    Return whether there was anything to do.
    """
    place = place or install.here()
    if not os.path.lexists(place.home) and not place.run.exists():
        return False
    if delete and place.home.is_symlink():
        hint = "delete the link and what it points to yourself"
        raise EngineError(f"{place.home} is a link: nothing outside the cache is deleted", hint)
    if os.geteuid() != 0:
        raise EngineError(f"the embedded engine in {place.shown()} runs as root, and this user is not root", "use sudo")
    with locked(place.home.parent):
        found = clean(place)
        if delete and place.home.exists():
            shutil.rmtree(place.home)
    return found or delete


def clean(place: Place) -> bool:
    """End the engine's processes and undo its changes to the host; return whether any were left."""
    state = read_state(place.state)
    sockets = tuple(shim_sockets(place.exec_root))
    found = _end_processes(place) or state is not None
    unmount((place.home, place.run))
    for file in sockets:
        file.unlink(missing_ok=True)
    if state is not None and state.kernel == kernel():
        restore(place, state)
    if place.run.exists():
        shutil.rmtree(place.run)
    place.state.unlink(missing_ok=True)
    return found


def restore(place: Place, state: State, firewall: Callable[..., Completed] = install.firewall) -> None:
    """Undo what the engine changed in the kernel; while another engine runs, only what is ours alone."""
    shared = bool(processes.rivals(processes.running(), place))
    made = {state.bridge, *network.read_bridges(place.data / "network/files/local-kv.db")} - set(state.interfaces)
    for program, saved in state.firewall.items():
        now = firewall(place, f"{program}-save").stdout
        script = network.undo_rules(saved, now, frozenset(made), shared=shared)
        if script:
            done = firewall(place, f"{program}-restore", "--noflush", script=script)
            if not done.ok:
                said = done.stderr.strip()
                raise EngineError(
                    f"firewall rules of the embedded engine remain: {said}", "run invoke engine.stop again"
                )
    for name in made.intersection(network.list_interfaces()):
        network.delete_bridge(name)
    if shared:
        return
    for sysctl, value in state.sysctls.items():
        if read_sysctl(sysctl) != value:
            with contextlib.suppress(OSError):
                (Path("/proc/sys") / sysctl).write_text(value, "ascii")
    for folder in state.absent:
        for inner, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(inner).rmdir()


def shim_sockets(exec_root: Path) -> Iterator[Path]:
    """Yield the sockets of running containers, which containerd keeps outside its own folders."""
    for file in exec_root.glob("containerd/daemon/io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            if found := re.fullmatch(r"unix://(/run/containerd/s/[0-9a-f]{64})", file.read_text("ascii").strip()):
                yield Path(found[1])


def _end_processes(
    place: Place,
    grace: float = GRACE_SECONDS,
    find: Callable[[Place], tuple[int | None, set[int]]] = processes.find_all,
) -> bool:
    daemon, found = find(place)
    if daemon is not None:
        processes.end(daemon, patience=grace)
    deadline = time.monotonic() + grace
    while left := find(place)[1]:
        if time.monotonic() > deadline:
            hint = "a disk or network that they wait for may hang"
            raise EngineError(f"processes of the embedded engine do not end: {sorted(left)}", hint)
        processes.kill(left)
        time.sleep(0.05)
    return bool(found)


def status() -> Status:
    """Return how the engine is doing, without changing anything."""
    where = install.here()
    answer = ask(where.socket, "/info") or {}
    return Status(
        running=bool(answer),
        version=version(answer),
        pid=processes.daemon(processes.running(), where),
        socket=where.socket,
        data_root=where.data,
        disk=disk_used(where.home),
        containers=int(answer.get("Containers", 0)),
    )


def version(answer: Mapping[str, Any]) -> str:
    """Return the engine's version without Debian's additions: 26.1.5+dfsg1 is 26.1.5."""
    return str(answer.get("ServerVersion", "")).partition("+")[0]


def disk_used(folder: Path) -> int:
    """Return the bytes on disk below a folder, without what other file systems are mounted there."""
    if not folder.exists():
        return 0
    command = Command(("du", "--summarize", "--one-file-system", "--block-size=1", str(folder)))
    return int(process.capture(command, check=False).stdout.partition("\t")[0] or 0)
