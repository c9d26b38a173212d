"""Where the embedded engine lives, and how its packages are unpacked and laid out there."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dockyard import apt, process
from dockyard.engine.embedded.network import INSTEAD, USUAL_MTU, Addresses
from dockyard.errors import EngineError
from dockyard.files import cache_folder, write_atomically
from dockyard.process import Command

LONGEST_SOCKET = 107
LONGEST_BELOW_RUN = len("/exec/containerd/containerd.sock.ttrpc")


class _Below:
    """A path below one of the two folders of an engine."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name

    def __get__(self, place: "Place", _owner: object = None) -> Path:
        return Path(getattr(place, self.folder)) / self.name


@dataclass(frozen=True)
class Place:
    """The folders of one embedded engine: `home` in the user's cache, `run` for sockets and mounts."""

    home: Path
    run: Path

    root = _Below("home", "root")  # the unpacked packages
    links = _Below("home", "bin")  # programs under the names of Debian's alternatives; first on PATH
    data = _Below("home", "data")  # images, containers and volumes
    config = _Below("home", "config")  # the DOCKER_CONFIG folder of commands for this engine
    settings = _Below("home", "daemon.json")  # the daemon's own; its path is how we know our daemon among others
    log = _Below("home", "engine.log")  # what the daemon said since its last start
    state = _Below("home", "state.json")  # what `stop` needs to put the host back
    recipe = _Below("home", "recipe")  # which packages were unpacked
    socket = _Below("run", "docker.sock")
    extensions = _Below("run", "xtables")  # a link to iptables' extensions: iptables cuts a longer path off
    exec_root = _Below("run", "exec")  # sockets and mounts of running containers

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
        return re.sub(rf"^{re.escape(str(Path.home()))}/", "~/", str(self.home))


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """Return where the embedded engine of this user's cache lives, whether it exists or not."""
    home = cache_folder(environment).resolve() / "engine"
    return Place(home, run_folder(home))


def run_folder(home: Path) -> Path:
    """Return the folder for sockets: below `home`, or a short one where a socket's path would be too long."""
    below = home / "run"
    if len(str(below)) + LONGEST_BELOW_RUN <= LONGEST_SOCKET:
        return below
    return Path("/run") / f"dockyard-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


class State(NamedTuple):
    """The host as it was when the engine was started; written before anything is changed."""

    kernel: str
    bridge: str
    interfaces: Sequence[str] = ()
    firewall: Mapping[str, str] = {}
    sysctls: Mapping[str, str] = {}
    absent: Sequence[str] = ()


def read_state(file: Path) -> State | None:
    """Return the recorded state, or None where there is none or it cannot be understood."""
    try:
        known = json.loads(file.read_text("utf-8"))
        return State(**{name: known[name] for name in State._fields})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def kernel() -> str:
    """Return an identity of this boot and of our network in it: what is gone with another needs no undoing here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {Path('/proc/thread-self/ns/net').readlink()}"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change what is in `folder`; the folder itself is the lock, so no file is left."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


ENGINE_RELEASE = "trixie"
ENGINE_VERSION = "26.1.5"
ENGINE = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
HOST = (
    "runc",
    "libseccomp2",
    "tini",
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "libxtables12",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libmnl0",
)
"""What is taken from the host's own release: Debian 13's runc needs a newer C library than Debian 12 has."""
OLDEST_GLIBC = (2, 34)
NOT_FOR_THE_DAEMON = (
    "DOCKER_CERT_PATH",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
)
"""Variables that are meant for clients or for the process that started us, and that dockerd would obey."""
PLUGINS = ("docker-buildx", "docker-compose")


def require_host() -> None:
    """Raise EngineError, with what to do instead, where the embedded engine cannot run."""
    judge_host(sys.platform, os.geteuid(), " ".join(platform.libc_ver()).strip() or "another C library")


def judge_host(system: str, user: int, library: str) -> None:
    """Raise EngineError for a host on which the embedded engine cannot run (pure)."""
    if system != "linux":
        raise EngineError("the embedded engine runs on Linux only", INSTEAD)
    if user != 0:
        raise EngineError(
            "the embedded engine needs root, and this user is not root",
            "run the same command with sudo, or " + INSTEAD,
        )
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", library)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GLIBC:
        raise EngineError(f"the embedded engine needs glibc 2.34 or newer; this system has {library}", INSTEAD)


def wanted(host: str, release: str = ENGINE_RELEASE) -> tuple[str, ...]:
    """Return the packages of an engine for a host of this Debian release (pure)."""
    return (*(f"{name}/{release}" for name in ENGINE), *(f"{name}/{host}" for name in HOST))


def recipe(host: str) -> str:
    """Return the text that changes when other packages are wanted (pure)."""
    return "".join(f"{package}\n" for package in wanted(host))


def is_unpacked(place: Place, host: str = "") -> bool:
    """Tell whether the packages that this version of Dockyard wants for a host, by default this one, are there."""
    try:
        return place.recipe.read_text("utf-8") == recipe(host or apt.codename()) and place.root.is_dir()
    except OSError:
        return False


def unpack(place: Place, host: str, fetch: Callable[[tuple[str, ...], Path], None]) -> None:
    """Fetch and unpack the engine's packages for a host of this Debian release."""
    place.home.mkdir(parents=True, exist_ok=True)
    place.recipe.unlink(missing_ok=True)
    fetch(wanted(host), place.root)
    write_atomically(place.recipe, recipe(host))


def lay_out(place: Place) -> None:
    """Make the links and folders around the packages; harmless when they are there already."""
    for folder in (place.links, place.data, place.config / "cli-plugins", place.run):
        folder.mkdir(parents=True, exist_ok=True)
    place.data.chmod(0o710)
    place.run.chmod(0o755)
    _link(place.links / "docker-init", place.root / "usr/bin/tini-static")
    for plugin in PLUGINS:
        _link(place.config / "cli-plugins" / plugin, place.root / "usr/libexec/docker/cli-plugins" / plugin)
    for kind in ("nft", "legacy"):  # what the kernel of a machine can do
        for program, suffix in itertools.product(("iptables", "ip6tables"), ("", "-save", "-restore")):
            _link(place.links / f"{program}{suffix}", place.root / "usr/sbin" / f"xtables-{kind}-multi")
        if firewall(place, "iptables-save").ok:
            break


def firewall(place: Place, *argv: str, script: str = "") -> process.Completed:
    """Run one of the unpacked iptables programs; `script` is its input."""
    place.run.mkdir(parents=True, exist_ok=True)
    _link(place.extensions, place.libraries / "xtables")
    words = (str(place.links / argv[0]), *argv[1:])
    environment = daemon_environment(place, os.environ)
    return process.capture(Command(words, env=environment, input=script.encode(), timeout=30), check=False)


def link_credentials(place: Place, environment: Mapping[str, str]) -> None:
    """Let commands for this engine use what the user's own `docker login` saved."""
    users = Path(environment.get("DOCKER_CONFIG") or "~/.docker").expanduser().absolute() / "config.json"
    link = place.config / "config.json"
    if users != link and users.is_file() and (link.is_symlink() or not link.exists()):
        _link(link, users)


def daemon_environment(place: Place, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes to the environment that the daemon runs with: proxies and the CA bundle pass through."""
    path = filter(None, (place.programs, environment.get("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin"))
    ours = {
        "PATH": os.pathsep.join(path),
        "TMPDIR": str(place.run),  # what a killed engine leaves of its runs goes with it
        "LD_LIBRARY_PATH": str(place.libraries),
        "XTABLES_LIBDIR": str(place.extensions),
    }
    return {**dict.fromkeys(NOT_FOR_THE_DAEMON), **ours}


def client_environment(place: Place, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what a command needs to talk to this engine; an empty variable counts as unset for the CLI."""
    return {
        "DOCKER_HOST": f"unix://{place.socket}",
        "DOCKER_CONTEXT": "",
        "DOCKER_TLS": "",
        "DOCKER_TLS_VERIFY": "",
        "DOCKER_CONFIG": str(place.config),
        "PATH": os.pathsep.join((place.programs, environment.get("PATH", ""))),
    }


def cache_limit(free: int) -> int:
    """Return how many bytes BuildKit's cache may keep where so many are free: a quarter, from 2 to 10 GB (pure).

    BuildKit's own limit is a tenth of the disk, however full that is.
    """
    return min(max(free // 4, 2 * 10**9), 10 * 10**9)


def daemon_settings(
    place: Place, bridge: str, addresses: Addresses, *, cache: int, mtu: int = USUAL_MTU
) -> dict[str, Any]:
    """Return the content of daemon.json; `cache` is BuildKit's limit in bytes."""
    settings: dict[str, Any] = {
        "features": {"containerd-snapshotter": True},
        "bridge": bridge,
        "default-address-pools": [{"base": str(addresses.pool), "size": 24}],
        "data-root": str(place.data),
        "exec-root": str(place.exec_root),
        "pidfile": str(place.run / "docker.pid"),
        "hosts": [f"unix://{place.socket}"],
        "group": "root",
        "init-path": str(place.links / "docker-init"),
        "userland-proxy-path": str(place.root / "usr/sbin/docker-proxy"),
        "builder": {"gc": {"enabled": True, "defaultKeepStorage": str(cache)}},
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }
    if mtu != USUAL_MTU:
        settings["mtu"] = mtu
        settings["default-network-opts"] = {"bridge": {"com.docker.network.driver.mtu": str(mtu)}}
    return settings


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
