"""A private index whose password is in the host's keyring: locks and images are made, and nothing holds it."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Request
from dockyard.locks import compile as compiling
from dockyard.locks.compile import make_locks
from dockyard.locks.plan import Wish
from dockyard.process import Command, capture
from dockyard.settings import Settings

from .package_index import PASSWORD, USER, Index, serving
from .registry_process import Authority, Programs
from .test_locks import INPUTS, RESOLVERS, Yard, stocked, tools, yard

__all__ = ["tools", "yard"]

# An index that is named by an IP address, as here, makes pip's newer way with certificates fail.
DOCKERFILE = """\
ARG PYTHON_VERSION=3.13
FROM python:${PYTHON_VERSION}-slim AS production
ARG PYTHON_VERSION
RUN --mount=type=bind,source=requirements/${PYTHON_VERSION}/production.txt,target=/tmp/lock.txt \\
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \\
    --mount=type=secret,id=pip,target=/etc/pip.conf \\
    --mount=type=secret,id=netrc,target=/root/.netrc \\
    --mount=type=secret,id=INDEX_USER \\
    INDEX_USER="$(cat /run/secrets/INDEX_USER 2>/dev/null)" \\
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt python -m pip install --use-deprecated=legacy-certs \\
    --no-cache-dir --no-compile --no-deps --require-hashes --target /packages -r /tmp/lock.txt
"""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a real keyring with a backend that keeps its passwords in a file; return the folder of its program."""
    venv = tmp_path_factory.mktemp("keyring")
    capture(Command((sys.executable, "-m", "venv", "--without-pip", str(venv))))
    pip = (sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--quiet", "--no-compile")
    capture(Command((*pip, "keyring", "keyrings.alt")))
    return venv / "bin"


@pytest.fixture
def private(
    programs: Programs, engine: Engine, keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Index]:
    """Serve an index that containers reach, with a private authority, and keep its password in the keyring."""
    gateway = capture(
        engine.command("network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}")
    ).stdout.strip()
    authority = Authority(programs.openssl, tmp_path / "authority").make()
    both = tmp_path / "both.pem"
    system = os.environ.get("SSL_CERT_FILE")
    both.write_text(authority.certificate.read_text() + (Path(system).read_text() if system else ""))
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    monkeypatch.setenv("PATH", f"{keyring}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("INDEX_USER", USER)
    monkeypatch.setattr(compiling, "TIMEOUT", 15)  # here nothing stalls on purpose
    made = stocked()
    made.password = PASSWORD
    with serving(made, authority.issue(f"IP:{gateway}"), gateway) as running:
        netloc = running.address.split("/")[2]
        capture(Command((str(keyring / "keyring"), "set", netloc, USER), input=f"{PASSWORD}\n".encode()))
        running.address = running.address.replace("//", "//${INDEX_USER}@")
        yield running


@contextmanager
def watched() -> Iterator[set[bytes]]:
    """Collect every command line of this machine that holds the password, while the body runs."""
    seen: set[bytes] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):  # the index answers in this very process
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes()
                except OSError:
                    continue
                if PASSWORD.encode() in line or b"p%40ss" in line:
                    seen.add(line)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_lock_takes_the_password_from_the_keyring(
    yard: Yard, private: Index, resolver: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file, no output and no list of processes holds it; the lock repeats the variable of the user."""
    yard.write(private)
    with watched() as seen:
        yard.lock(resolver=resolver)
    assert yard.pins("production")["webapp"].version == "1.1"
    assert not seen
    out = b"".join(yard.tree().values()) + "".join(capfd.readouterr()).encode()
    assert PASSWORD.encode() not in out
    assert b"${INDEX_USER}@" in out


def test_several_pythons_lock_in_parallel(yard: Yard, private: Index) -> None:
    """Every Python that has a base here gets its locks from the private index in one run."""
    both = yard.settings._replace(pythons=(yard.settings.python, "3.11"))
    yard.write(private)
    outcome = make_locks(both, Wish(), yard.engine)
    assert len(outcome.files) == 2 * len(INPUTS)


def user_in_the_lock(_private: Index, _monkeypatch: pytest.MonkeyPatch, _folder: Path) -> str:
    """Leave the address as it is, with a variable for the user."""
    return ""


def user_on_the_host(private: Index, _monkeypatch: pytest.MonkeyPatch, _folder: Path) -> str:
    """Name the index as a mirror of this host, with the user."""
    return private.address.replace("${INDEX_USER}", USER)


def login_in_netrc(private: Index, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Name the index without a user, and keep the login in a netrc."""
    private.address = private.address.replace("${INDEX_USER}@", "")
    host = private.address.split("/")[2].partition(":")[0]
    (folder / "netrc").write_text(f'machine {host} login {USER} password "{PASSWORD}"\n')
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    return ""


@pytest.mark.parametrize("named", [user_in_the_lock, user_on_the_host, login_in_netrc])
def test_a_build_logs_in(  # noqa: PLR0917 - fixtures and parameters
    yard: Yard,
    private: Index,
    unique: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: Callable[[Index, pytest.MonkeyPatch, Path], str],
) -> None:
    """The packages are in the image; no layer, no history, no record and no output holds the password."""
    mirror = named(private, monkeypatch, tmp_path)
    if mirror:
        yard.write_plain()
    else:
        yard.write(private)
    (yard.settings.root / "Dockerfile").write_text(DOCKERFILE)
    wanted: Settings = yard.settings._replace(image=unique, index_url=mirror)
    yard.lock(index_url=mirror)
    with watched() as seen:
        ((built,), _) = build.build_images(wanted, Request(no_cache=True), engine=yard.engine)
    assert not seen
    image = built.references[0]
    listed = capture(yard.engine.command("run", "--rm", image, "find", "/packages", "/root")).stdout
    assert "/packages/webapp.py" in listed
    assert "netrc" not in listed
    archive = tmp_path / "image.tar"
    capture(yard.engine.command("save", "--output", str(archive), image))
    told = capture(yard.engine.command("history", "--no-trunc", image)).stdout + "".join(capfd.readouterr())
    assert PASSWORD not in told
    files = [archive, *(path for path in yard.settings.root.rglob("*") if path.is_file())]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
