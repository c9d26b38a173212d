"""Stop the embedded engine and put the host back as it was: processes, mounts, bridges, firewall, settings."""

import contextlib
import ctypes
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dockyard.engine.embedded import bridge, firewall, install, processes
from dockyard.engine.embedded.paths import Place, State, kernel, locked, read_state
from dockyard.errors import EngineError

GRACE_SECONDS = 30.0
DETACH = 2


def stop(place: Place) -> bool:
    """Stop the engine, or clean up after one that was killed; return whether there was anything to do."""
    if not place.home.exists() and not place.run.exists():
        return False
    _require_root(place)
    with locked(place.home.parent):
        return clean(place)


def remove(place: Place) -> bool:
    """Stop the engine and delete all that it ever stored; return whether there was anything."""
    if not os.path.lexists(place.home) and not place.run.exists():
        return False
    _require_root(place)
    if place.home.is_symlink():
        hint = "delete the link and what it points to yourself"
        raise EngineError(f"{place.home} is a link: nothing outside the cache is deleted", hint)
    with locked(place.home.parent):
        clean(place)
        for folder in (place.run, place.home):
            if folder.exists():
                shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            place.home.parent.rmdir()
    return True


def clean(place: Place) -> bool:
    """End the engine's processes and undo its changes to the host; return whether any were left."""
    state = read_state(place.state)
    sockets = tuple(shim_sockets(place.exec_root))
    found = _end_processes(place) or state is not None
    _unmount(place)
    for file in sockets:
        file.unlink(missing_ok=True)
    if state is not None and state.kernel == kernel():
        restore(place, state)
    if place.run.exists():
        shutil.rmtree(place.run)
    place.state.unlink(missing_ok=True)
    return found


def restore(place: Place, state: State) -> None:
    """Undo what the engine changed in the kernel; while another engine runs, only what is ours alone."""
    shared = bool(processes.rivals(processes.running(), place))
    made = {state.bridge, *bridge.recorded(place.data / "network/files/local-kv.db")} - set(state.interfaces)
    for program, saved in state.firewall.items():
        now = install.firewall(place, f"{program}-save").stdout
        script = firewall.undo(firewall.Cleanup(saved, now, frozenset(made), shared))
        if script:
            done = install.firewall(place, f"{program}-restore", "--noflush", script=script)
            if not done.ok:
                said = done.stderr.strip()
                raise EngineError(
                    f"firewall rules of the embedded engine remain: {said}", "run invoke engine.stop again"
                )
    for name in made.intersection(bridge.interfaces()):
        bridge.delete(name)
    if shared:
        return
    for sysctl, value in state.sysctls.items():
        file = Path("/proc/sys") / sysctl
        with contextlib.suppress(OSError):
            if file.read_text("ascii").strip() != value:
                file.write_text(value, "ascii")
    for folder in state.absent:
        _remove_empty(Path(folder))


def shim_sockets(exec_root: Path) -> Iterator[Path]:
    """Yield the sockets of running containers, which containerd keeps outside its own folders."""
    for file in exec_root.glob("containerd/daemon/io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            if found := re.fullmatch(r"unix://(/run/containerd/s/[0-9a-f]{64})", file.read_text("ascii").strip()):
                yield Path(found[1])


def mounts(text: str, folders: Iterable[Path]) -> list[str]:
    """Return the mount points below some folders in the text of a mountinfo file, the innermost first."""
    wanted = tuple(map(str, folders))
    points = [
        re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4])
        for line in text.split("\n")
        if line
    ]
    below = [point for point in points if any(point == folder or point.startswith(f"{folder}/") for folder in wanted)]
    return below[::-1]


def _end_processes(place: Place) -> bool:
    daemon = processes.daemon(processes.running(), place)
    ended = daemon is not None
    if daemon is not None:
        processes.end(daemon, patience=GRACE_SECONDS)
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        running = processes.running()
        left = processes.belonging(running, place) | processes.contained(running, place)
        if not left:
            return ended
        if time.monotonic() > deadline:
            hint = "a disk or network that they wait for may hang"
            raise EngineError(f"processes of the embedded engine do not end: {sorted(left)}", hint)
        ended = True
        processes.kill(left)
        time.sleep(0.05)


def _unmount(place: Place) -> None:
    def remaining() -> list[str]:
        return mounts(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"), (place.home, place.run))

    library = ctypes.CDLL(None, use_errno=True)
    for point in remaining():
        library.umount2(os.fsencode(point), DETACH)
    # Deleting below a mount that stayed would delete what is mounted there.
    if stayed := remaining():
        raise EngineError(f"{stayed[0]} is still mounted", f"run: umount --lazy {stayed[0]}")


def _remove_empty(folder: Path) -> None:
    for inner, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(inner).rmdir()


def _require_root(place: Place) -> None:
    if os.geteuid() != 0:
        raise EngineError(f"the embedded engine in {place.shown()} runs as root, and this user is not root", "use sudo")
