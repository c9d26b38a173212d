"""Start the embedded engine: fetch it where it is missing, give it a bridge, wait until it answers."""

import errno
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from dockyard import process
from dockyard.engine.embedded import bridge, install, processes
from dockyard.engine.embedded.paths import Place, State, kernel, locked, write_state
from dockyard.engine.embedded.stopping import clean
from dockyard.engine.socket import info
from dockyard.errors import EngineError
from dockyard.process import Command

log = logging.getLogger(__name__)


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


def start(place: Place, *, allow_expired: bool = False) -> dict[str, Any]:
    """Make sure that the engine runs, and return what it says of itself; one process at a time starts it."""
    if answer := info(place.socket):
        return answer
    install.require_host()
    try:
        with locked(place.home.parent):
            return info(place.socket) or _start(place, allow_expired=allow_expired)
    except OSError as error:
        raise _trouble(error, place) from None


def _start(place: Place, *, allow_expired: bool) -> dict[str, Any]:
    clean(place)
    _refuse_rivals(place)
    if not install.is_unpacked(place):
        log.info(
            f"fetching Docker Engine {install.ENGINE_VERSION}, buildx and Compose from Debian packages (about 100 MB)"
        )
        install.unpack(place, allow_expired=allow_expired)
    install.lay_out(place, os.environ)
    log.info("starting the embedded Docker Engine")
    try:
        return _launch(place)
    except BaseException:
        clean(place)
        raise


def _launch(place: Place) -> dict[str, Any]:
    existing = bridge.interfaces()
    name, addresses = bridge.free_name(existing), bridge.choose(bridge.taken())
    if addresses is None:
        raise EngineError("no private network is free for containers: routes take all of them", install.INSTEAD)
    state = before(place, existing, name)
    write_state(place.state, state)
    _make_bridge(name, addresses)
    install.write_settings(place, install.daemon_settings(place, name, addresses, bridge.mtu()))
    place.log.write_bytes(b"")
    dockerd = str(place.root / "usr/sbin/dockerd")
    environment = install.daemon_environment(place, os.environ)
    command = Command((dockerd, "--config-file", str(place.settings)), cwd=Path("/"), env=environment)
    pid = process.detach(command, place.log)
    write_state(place.state, replace(state, pid=pid))
    return _wait(place, pid)


def before(place: Place, interfaces: tuple[str, ...], name: str) -> State:
    """Return what the host is like before the engine changes it."""
    saves = {program: install.firewall(place, f"{program}-save") for program in ("iptables", "ip6tables")}
    return State(
        kernel=kernel(),
        bridge=name,
        interfaces=interfaces,
        firewall={program: done.stdout for program, done in saves.items() if done.ok},
        sysctls={sysctl: text for sysctl in SYSCTLS if (text := read_sysctl(sysctl))},
        absent=tuple(folder for folder in (*FOLDERS, *_control_groups()) if not Path(folder).exists()),
    )


def read_sysctl(name: str) -> str:
    """Return a kernel setting, or '' where this kernel has none of that name."""
    try:
        return (Path("/proc/sys") / name).read_text("ascii").strip()
    except OSError:
        return ""


def _control_groups() -> tuple[str, ...]:
    groups = Path("/sys/fs/cgroup")
    return tuple(str(folder / "docker") for folder in (groups, *groups.glob("*")) if folder.is_dir())


def _make_bridge(name: str, addresses: bridge.Addresses) -> None:
    try:
        bridge.make(name, addresses)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise EngineError(
                "this root may not make a network bridge, as in a container without privileges",
                "run the container with --privileged, or mount a Docker socket into it; else " + install.INSTEAD,
            ) from None
        raise EngineError(f"a network bridge cannot be made: {error.strerror}", install.INSTEAD) from None


def _wait(place: Place, pid: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := info(place.socket, timeout=5):
            return answer
        if not processes.is_alive(pid):
            raise EngineError(
                f"the embedded engine ended while starting:\n{tail(place.log)}", f"whole log: {place.log}"
            )
        time.sleep(0.05)
    late = f"the embedded engine did not answer within {PATIENCE_SECONDS:g} s"
    raise EngineError(f"{late}:\n{tail(place.log)}", f"try again; whole log: {place.log}")


def tail(log: Path) -> str:
    """Return the end of a daemon's log that says most: its errors and last words."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if "level=info" not in line][-8:])


def _refuse_rivals(place: Place) -> None:
    for rival in processes.rivals(processes.running(), place):
        socket = next((word for word in rival.argv if word.startswith("unix://")), "its socket")
        raise EngineError(
            f"another Docker Engine runs here (process {rival.pid}): two would take each other's network away",
            f"use that one by setting DOCKER_HOST to {socket}, or stop it and let the embedded one take over",
        )


def _trouble(error: OSError, place: Place) -> EngineError:
    where = error.filename or place.home
    if error.errno == errno.ENOSPC:
        hint = "free about 2 GB, or set XDG_CACHE_HOME to a folder on a larger disk"
        return EngineError(f"the disk is full: {where}", hint)
    hint = f"set XDG_CACHE_HOME to a folder that can be written, or {install.INSTEAD}"
    return EngineError(f"{where}: {error.strerror}", hint)
