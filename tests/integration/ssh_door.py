"""OpenSSH's own server on the loopback, whose logins reach one engine: Debian's package, unpacked, with new keys.

It runs in a mount namespace of its own, where it finds the user and the folder that an installation would have made.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockyard import apt
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.process import Command, capture, which

from .debian_packages import provide_packages

STARTS_WITHIN = 20.0
PACKAGES = ("openssh-server", "openssh-client", "libwrap0")
INSIDE = """\
mount --bind "$1/passwd" /etc/passwd
mkdir -p "$1/run" && mount -t tmpfs tmpfs /run && mkdir /run/sshd
shift
exec "$@"
"""
SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
AuthenticationMethods publickey
StrictModes no
UsePAM no
PidFile none
SetEnv DOCKER_HOST={engine} PATH={path}
"""
CLIENT = """\
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking yes
"""
SHARED = """\
ControlMaster auto
ControlPath {control}
ControlPersist 60
"""
"""What people write into ~/.ssh/config so that many commands share one connection."""


@dataclass
class Door:
    """The way to an engine: `address` is one for DOCKER_HOST, `bin` the folder of an `ssh` that knows the keys."""

    folder: Path
    root: Path
    port: int
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """The address of the engine behind it."""
        return f"ssh://root@127.0.0.1:{self.port}"

    @property
    def bin(self) -> Path:
        """What is to be first on PATH."""
        return self.folder / "bin"

    def open(self) -> None:
        """Start the server, and wait until it listens."""
        daemon = (str(self.root / "usr/sbin/sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config"))
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                ("unshare", "--mount", "sh", "-ec", INSIDE, "sh", str(self.folder), *daemon),
                env={**os.environ, "LD_LIBRARY_PATH": str(next(self.root.glob("usr/lib/*-linux-gnu*")))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + STARTS_WITHIN
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < until, (self.folder / "log").read_text()
            assert self.server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def cut(self) -> None:
        """End the server and every login in the middle of what it does."""
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None
        used = self.folder / "used"
        for number in map(int, used.read_text().split() if used.exists() else ()):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if Path(f"/proc/{number}/comm").read_text() == "ssh\n":
                    os.kill(number, signal.SIGKILL)
        used.unlink(missing_ok=True)
        if self.control.exists():
            capture(Command((str(self.bin / "ssh"), "-O", "exit", "any")), check=False)

    @property
    def control(self) -> Path:
        """Where a shared connection is; in a folder of the test, its name would be too long."""
        return Path(f"/tmp/dockyard-ssh-{self.port}")


@contextlib.contextmanager
def leading_to(engine: Engine, folder: Path, *, shared: bool = False) -> Iterator[Door]:
    """Yield an open door to an engine; skip the test where Debian's package cannot be had.

    Logins have a connection each, or share one.
    """
    try:
        root = provide_packages(*(f"{name}/{apt.codename()}" for name in PACKAGES))
    except DockyardError as error:
        pytest.skip(f"no openssh-server to be had: {error.message}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        door = Door(folder, root, free.getsockname()[1])
    for name in ("host", "key"):
        capture(Command((str(root / "usr/bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))))
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{door.port} {kind} {key}\n")
    facts = {"folder": folder, "port": door.port, "engine": engine.environment["DOCKER_HOST"]}
    path = engine.environment["PATH"]
    (folder / "sshd_config").write_text(SERVER.format(**facts, path=path))
    client = CLIENT + (SHARED if shared else "")
    (folder / "ssh_config").write_text(client.format(**facts, control=door.control))
    users = Path("/etc/passwd").read_text()
    (folder / "passwd").write_text(f"{users.rstrip()}\nsshd:x:64999:65534::/run/sshd:/usr/sbin/nologin\n")
    door.bin.mkdir()
    program = which("ssh") or str(root / "usr/bin/ssh")
    script = f'#!/bin/sh\necho $$ >>{folder}/used\nexec {program} -F {folder}/ssh_config "$@"\n'
    (door.bin / "ssh").write_text(script)
    (door.bin / "ssh").chmod(0o755)
    door.open()
    try:
        yield door
    finally:
        door.cut()
