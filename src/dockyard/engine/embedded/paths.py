"""Where the embedded engine lives, and what was true of the host before it started."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dockyard.files import write_atomically

LONGEST_SOCKET = 107
LONGEST_BELOW_RUN = len("/exec/containerd/containerd.sock.ttrpc")


@dataclass(frozen=True)
class Place:
    """The folders of one embedded engine: `home` in the user's cache, `run` for sockets and mounts."""

    home: Path
    run: Path

    @property
    def root(self) -> Path:
        """The unpacked packages."""
        return self.home / "root"

    @property
    def links(self) -> Path:
        """Programs under the names that Debian's alternatives would give them; first on PATH."""
        return self.home / "bin"

    @property
    def data(self) -> Path:
        """Images, containers and volumes."""
        return self.home / "data"

    @property
    def config(self) -> Path:
        """The DOCKER_CONFIG folder of commands for this engine."""
        return self.home / "config"

    @property
    def settings(self) -> Path:
        """The daemon's own settings; its path is how we know our daemon among others."""
        return self.home / "daemon.json"

    @property
    def log(self) -> Path:
        """What the daemon said since its last start."""
        return self.home / "engine.log"

    @property
    def state(self) -> Path:
        """What `stop` needs to put the host back."""
        return self.home / "state.json"

    @property
    def recipe(self) -> Path:
        """Which packages were unpacked."""
        return self.home / "recipe"

    @property
    def socket(self) -> Path:
        """Where the engine listens."""
        return self.run / "docker.sock"

    @property
    def extensions(self) -> Path:
        """A link to iptables' extensions: iptables cuts a longer path off."""
        return self.run / "xtables"

    @property
    def exec_root(self) -> Path:
        """Where the daemon keeps sockets and mounts of running containers."""
        return self.run / "exec"

    @property
    def programs(self) -> str:
        """The folders to put before PATH."""
        return os.pathsep.join((str(self.links), str(self.root / "usr/sbin"), str(self.root / "usr/bin")))

    @property
    def libraries(self) -> Path:
        """The folder of the unpacked shared libraries, named after the machine's architecture."""
        return next(iter(sorted(self.root.glob("usr/lib/*-linux-gnu*"))), self.root / "usr/lib")

    def shown(self) -> str:
        """Return the home folder as a person writes it."""
        user = str(Path.home())
        text = str(self.home)
        return f"~{text[len(user) :]}" if text.startswith(f"{user}/") else text


def place(environment: Mapping[str, str]) -> Place:
    """Return where the embedded engine of this user's cache lives, whether it exists or not."""
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    if not cache.is_absolute():
        cache = Path("~/.cache").expanduser()
    home = cache.resolve() / "dockyard" / "engine"
    return Place(home, run_folder(home))


def run_folder(home: Path) -> Path:
    """Return the folder for sockets: below `home`, or a short one where a socket's path would be too long."""
    below = home / "run"
    if len(str(below)) + LONGEST_BELOW_RUN <= LONGEST_SOCKET:
        return below
    return Path("/run") / f"dockyard-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class State:
    """The host as it was when the engine was started; written before anything is changed."""

    kernel: str
    bridge: str = ""
    pid: int = 0
    interfaces: tuple[str, ...] = ()
    firewall: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def read_state(file: Path) -> State | None:
    """Return the recorded state, or None where there is none or it cannot be understood."""
    try:
        known: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return State(**{**known, "interfaces": tuple(known["interfaces"]), "absent": tuple(known["absent"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(file: Path, state: State) -> None:
    """Record a state atomically."""
    write_atomically(file, json.dumps(asdict(state), indent=2))


def kernel() -> str:
    """Return an identity of this boot and of our network in it: what is gone with another needs no undoing here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {Path('/proc/thread-self/ns/net').readlink()}"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change what is in `folder`; the folder itself is the lock, so no file is left."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Another process may have removed the folder, and a third one made it anew, while we waited.
            if _still_there(handle, folder):
                yield
                return
        finally:
            os.close(handle)


def _still_there(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
