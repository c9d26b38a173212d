"""A real registry on loopback: Debian's docker-registry as a process, with TLS, a password and storage of its own."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockyard import apt
from dockyard.errors import DockyardError
from dockyard.process import Command, capture, which

from .debian_packages import provide_packages

USER, PASSWORD = "sailor", "secret"
HTPASSWD = f"{USER}:$2b$04$Knf9mH77g45ymeZa64/4k.ljQyz5KcPOAnh7AvOhZWWxe2wB.5CB6\n"
"""The only form that the registry takes is bcrypt, which Python cannot make by itself."""
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
CA_CONFIG = """\
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
"""
STARTS_WITHIN = 20.0
IN_TMPFS = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True)
class Programs:
    """Where the programs are that these tests need."""

    registry: str
    openssl: str


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Return the registry and openssl: this host's own, or else unpacked from their Debian packages."""
    names = ("docker-registry", "openssl")
    missing = [name for name in names if which(name) is None]
    unpacked = Path()
    if missing:
        try:
            unpacked = provide_packages(*(f"{name}/{apt.codename()}" for name in missing))
        except DockyardError as error:
            pytest.skip(f"{' and '.join(missing)} not installed, and no Debian package to be had: {error.message}")
    return Programs(*(which(name) or str(unpacked / "usr/bin" / name) for name in names))


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder of its own."""

    openssl: str
    folder: Path

    @property
    def certificate(self) -> Path:
        """The certificate to trust."""
        return self.folder / "ca.crt"

    def make(self) -> "Authority":
        """Create the authority's own key and certificate."""
        self.folder.mkdir(parents=True)
        (self.folder / "index.txt").touch()
        (self.folder / "ca.cnf").write_text(CA_CONFIG)
        words = ("-x509", "-days", "2", "-subj", "/CN=Test authority", "-out", "ca.crt", "-keyout", "ca.key")
        extensions = ("-addext", "keyUsage=critical,keyCertSign")
        self._run("req", *NEW_KEY, *words, *extensions)
        return self

    def issue(self, name: str = "IP:127.0.0.1", *, end: str = "20991231235959Z") -> tuple[Path, Path]:
        """Return a certificate for a name, and its key; `end` is when it expires."""
        file = re.sub(r"\W", "-", f"{name}-{end}")
        (self.folder / f"{file}.ext").write_text(f"subjectAltName={name}\n")
        self._run("req", *NEW_KEY, "-new", "-subj", "/CN=registry", "-out", f"{file}.csr", "-keyout", f"{file}.key")
        signer = ("-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-in", f"{file}.csr")
        dates = ("-startdate", "20200101000000Z", "-enddate", end)
        self._run("ca", "-batch", "-notext", *signer, *dates, "-extfile", f"{file}.ext", "-out", f"{file}.crt")
        return self.folder / f"{file}.crt", self.folder / f"{file}.key"

    def _run(self, *arguments: str) -> None:
        capture(Command((self.openssl, *arguments), cwd=self.folder))


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that answers at `host`."""

    host: str
    storage: Path
    process: "subprocess.Popen[bytes]"

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.host.rpartition(":")[2])

    def stop(self) -> None:
        """End the process and wait until it is gone."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def blobs(self) -> list[Path]:
        """Return the files of whatever has been pushed whole."""
        return sorted(self.storage.glob("docker/registry/v2/blobs/*/*/*/data"))


@dataclass(frozen=True)
class Shape:
    """How a registry is set up: no `certificate` means plain HTTP, `mount` holds options of a tmpfs for its storage."""

    certificate: tuple[Path, Path] | None = None
    password: bool = True
    address: str = "127.0.0.1"
    mount: str = ""


@contextmanager
def running(programs: Programs, folder: Path, shape: Shape) -> Iterator[RunningRegistry]:
    """Run a registry on a free port, with everything it writes in `folder`."""
    storage = folder / "storage"
    storage.mkdir(parents=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    (folder / "config.yml").write_text(json.dumps(_config(folder, storage, shape)))
    argv: tuple[str, ...] = (programs.registry, "serve", str(folder / "config.yml"))
    if shape.mount:
        # In a mount namespace of its own: the small disk is gone with the process.
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        argv = ("unshare", "--mount", *user, "sh", "-c", IN_TMPFS, "sh", shape.mount, str(storage), *argv)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    registry = None
    try:
        registry = RunningRegistry(_listening(process, log), storage, process)
        yield registry
    finally:
        RunningRegistry("", storage, process).stop()


def _config(folder: Path, storage: Path, shape: Shape) -> dict[str, object]:
    http: dict[str, object] = {"addr": f"{shape.address}:0", "secret": "test"}
    if shape.certificate:
        http["tls"] = {"certificate": str(shape.certificate[0]), "key": str(shape.certificate[1])}
    auth = {"auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}} if shape.password else {}
    return {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(storage)}}, "http": http, **auth}


def _listening(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the registry says where it listens, and return that."""
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"listening on ([\d.]+:\d+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the registry did not start: {log.read_text()}")


def login(folder: Path, host: str, password: str = PASSWORD) -> Path:
    """Write a config.json with a login, as `docker login` does, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder


@dataclass
class Relay:
    """A TCP relay to a registry that can be slow, or hang up after so many bytes to it, so many times."""

    target: int
    break_after: int = 0
    breaks: int = 0
    pace: float = 0.0
    passed: int = 0
    uploading: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket = field(init=False)

    def __enter__(self) -> "Relay":
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def host(self) -> str:
        """The address to push to."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def settle(self) -> int:
        """Wait until nothing more passes, and return the bytes that did: buffers on the way still drain."""
        while True:
            before = self.passed
            time.sleep(0.7)
            if self.passed == before:
                return before

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        carried = 0
        with suppress(OSError):
            while chunk := source.recv(65536):
                if up:
                    carried += len(chunk)
                    if self.breaks and carried > self.break_after:
                        self.breaks -= 1
                        break
                    self.passed += len(chunk)
                    if self.passed > 1_000_000:
                        self.uploading.set()
                    if self.pace:
                        time.sleep(len(chunk) / self.pace)
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not up:
                end.close()
