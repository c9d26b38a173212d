"""A second private engine beside the one in use, of any Debian release: other data, other network, gone with its user.

Two engines in one network would take each other's bridge and firewall rules away. So a keeper, a process of its own,
enters a new network namespace, has slirp4netns carry its connections out as an ordinary program makes them, and runs
the engine there with the pipeline's own code: nothing of the host's network changes. The keeper ends when its standard
input does. Whoever asked for the engine may finish, fail, be interrupted or be killed: the engine goes in each case.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from dockyard import apt
from dockyard.engine import client as engine
from dockyard.engine.client import Engine
from dockyard.engine.embedded import install, lifecycle
from dockyard.engine.embedded.install import Place
from tests.integration.debian_packages import provide_packages

ROOT = Path(__file__).parents[2]
NEW_NETWORK = 0x40000000
GLIB = {"bookworm": "libglib2.0-0"}
"""A library of slirp4netns, which was renamed when Debian's times became 64 bits wide."""


def provide_engine() -> Path:
    """Return a folder with an engine: that of the user's own, or one unpacked for tests."""
    users = install.here()
    return users.root if install.is_unpacked(users) else provide_packages(*install.wanted(apt.codename()))


def provide_carrier() -> Path:
    """Return a folder with slirp4netns and its libraries, as the host's own release has them."""
    host = apt.codename()
    names = ("slirp4netns", "libslirp0", "libseccomp2", GLIB.get(host, "libglib2.0-0t64"))
    return provide_packages(*(f"{name}/{host}" for name in names))


@contextlib.contextmanager
def running(root: Path, slirp: Path) -> Iterator[Engine]:
    """Run the engine that is unpacked in `root` on an empty data root, and yield it."""
    home = Path(tempfile.mkdtemp(prefix="dockyard-second-")) / "engine"
    argv = (sys.executable, "-m", "tests.integration.second_engine", str(root), str(slirp), str(home))
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as keeper,
    ):
        try:
            said = (keeper.stdout or sys.stdin).readline()
            assert said, f"the second engine did not start:\n{words(log)}"
            client = install.client_environment(place(home))
            yield engine.from_info("embedded", json.loads(said), client)
        finally:
            keeper.communicate()
            assert keeper.returncode == 0, f"the second engine was not removed from {home}:\n{words(log)}"


def place(home: Path) -> Place:
    """Return the place of an engine that lives in a folder."""
    return Place(home, install.run_folder(home))


def main(arguments: list[str]) -> int:
    """Keep an engine until standard input ends, then remove it and the folder around its home."""
    root, slirp, home = map(Path, arguments)
    where = place(home)
    home.mkdir()
    where.root.symlink_to(root)
    where.recipe.write_text(install.recipe(apt.codename()), "utf-8")
    with ThreadPoolExecutor(1, initializer=leave_network) as inside:
        thread = inside.submit(threading.get_native_id).result()
        with carried(slirp, f"/proc/{os.getpid()}/task/{thread}/ns/net"):
            try:
                info = inside.submit(lifecycle.start, where).result()
                sys.stdout.write(json.dumps(info) + "\n")
                sys.stdout.flush()
                sys.stdin.read()
            finally:
                inside.submit(lifecycle.stop, where, delete=True).result()
                home.parent.rmdir()
    return 0


def leave_network() -> None:
    """Move this thread, and what it starts, into a network that has nothing but a loopback."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace can be made here: {os.strerror(number)}")


@contextlib.contextmanager
def carried(slirp: Path, network: str) -> Iterator[None]:
    """Carry the connections of a network namespace out through ours while this lasts; nobody can outlive us at it."""
    told, ready = os.pipe()
    ended, alive = os.pipe()
    options = ("--configure", "--disable-host-loopback", "--netns-type=path", f"--ready-fd={ready}")
    with subprocess.Popen(
        (str(slirp / "usr/bin/slirp4netns"), *options, f"--exit-fd={ended}", network, "tap0"),
        env={**os.environ, "LD_LIBRARY_PATH": str(next(slirp.glob("usr/lib/*-linux-gnu*")))},
        pass_fds=(ready, ended),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    ):
        os.close(ready)
        os.close(ended)
        try:
            assert os.read(told, 1), "slirp4netns did not start"
            yield
        finally:
            os.close(told)
            os.close(alive)


def words(log: IO[bytes]) -> str:
    """Return what a keeper has said."""
    log.seek(0)
    return log.read().decode("utf-8", "replace")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
