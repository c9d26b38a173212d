"""The production image of this repository: hardened, reproducible, and what it does while it is stopped."""

import http.client
import json
import re
import secrets
import shutil
import socket
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dockyard import files as cache
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build
from dockyard.image.build import Built, Request
from dockyard.image.interpreter import STAGE
from dockyard.locks.check import lock_path
from dockyard.payload import install
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.verify import contents, verify
from dockyard.verify.model import Case, Expected, ImageQuery
from dockyard.verify.rules import files

HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp",
    "--user=65532",
)  # fmt: skip
COPIED = ("src", "requirements")
TOKEN = "a-token-of-this-test"
TOOLS = {"sh", "bash", "dash", "busybox", "pip", "pip3", "uv", "uvx", "gcc", "cc", "c++", "g++", "ld", "as", "make"}
TOOLS |= {"apt", "apt-get", "dpkg", "perl", "curl", "wget", "tar", "su", "mount"}


@pytest.fixture(scope="module")
def copy(project: Settings, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Yield a copy of this project outside git, whose images have a name of this module's own."""
    root = tmp_path_factory.mktemp("project")
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "bootstrap", "tasks.py", "noxfile.py"):
        shutil.copy(project.root / name, root)
    for folder in COPIED:
        shutil.copytree(project.root / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    name = f"dockyard-production-{secrets.token_hex(4)}"
    yield project._replace(root=root, image=name)
    remove_images(engine, name)


def remove_images(engine: Engine, name: str) -> None:
    """Take away what was built under a name, if anything was."""
    listing = ("images", "--filter", f"reference={name}", "--format", "{{.Repository}}:{{.Tag}}")
    if found := capture(engine.command(*listing)).stdout.split():
        capture(engine.command("rmi", "--force", *found))


@pytest.fixture(scope="module")
def image(copy: Settings, engine: Engine) -> Built:
    """Return the production image as it comes out of a build with the cache."""
    ((built,), _) = build.build_images(copy, Request(), engine=engine)
    return built


@dataclass(frozen=True)
class Service:
    """A running container of the image, and where it is reached."""

    engine: Engine
    name: str
    host: str
    port: int

    def get(self, path: str) -> Any:
        """Return what it answers, read as JSON."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def state(self) -> Any:
        """Return what the engine knows of the container's state."""
        return json.loads(capture(self.engine.command("inspect", "--format={{json .State}}", self.name)).stdout)

    def health(self) -> str:
        """Return what the image's own health check says."""
        return str(self.state()["Health"]["Status"])


@pytest.fixture
def service(image: Built, engine: Engine, unique: str) -> Service:
    """Return the service, started as the hardest host would start it, when its health check says that it is well."""
    options = ("--detach", f"--name={unique}", "--publish=127.0.0.1::8000", f"--env=LEDGER_TOKEN={TOKEN}")
    capture(engine.command("run", *options, *HARDENED, image.references[0]))
    published = capture(engine.command("port", unique, "8000/tcp")).stdout.strip()
    host, _, port = published.rpartition(":")
    started = Service(engine, unique, host, int(port))
    if not eventually(lambda: started.health() == "healthy"):
        pytest.fail(f"{started.state()}\n{capture(engine.command('logs', unique)).stderr}")
    return started


def eventually(condition: Callable[[], bool], seconds: float = 40) -> bool:
    """Wait until something is so, and return whether it came to that."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def run_record() -> dict[str, Any]:
    """Return a run as it is posted to the ledger."""
    return {
        "schema": "dockyard.run/1",
        "id": secrets.token_hex(16),
        "kind": "build",
        "project": "shop",
        "started": "2026-11-21T01:02:03Z",
        "duration_seconds": 1.5,
        "outcome": "passed",
        "dockyard": "0.1.0",
    }


def test_hardened_service(service: Service) -> None:
    """It answers, is well, writes one JSON object per request, and ends with exit code 0 when asked to."""
    assert service.get("/healthz") == {"status": "ok"}
    assert service.get("/readyz") == {"status": "ok"}
    started = time.monotonic()
    capture(service.engine.command("stop", "--time=30", service.name))
    assert time.monotonic() - started < 15, "it waited for nothing"
    state = service.state()
    assert (state["ExitCode"], state["OOMKilled"], state["Running"]) == (0, False, False)
    logs = capture(service.engine.command("logs", service.name)).stdout.splitlines()
    lines = [json.loads(line) for line in logs]
    assert {("GET", "/healthz", 200), ("GET", "/readyz", 200)} <= {
        (line["method"], line["path"], line["status"]) for line in lines
    }


def test_request_in_flight(service: Service) -> None:
    """A record whose first half was sent before the stop is taken and answered when the second half arrives."""
    record = run_record()
    body = json.dumps(record).encode()
    head = (
        f"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((service.host, service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:40])
        time.sleep(0.5)  # for a worker to take it up: nothing can be seen of that from outside
        capture(service.engine.command("kill", "--signal=TERM", service.name))
        time.sleep(1)
        assert service.state()["Running"], "it did not wait for the request"
        connection.sendall(body[40:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.load(answer)) == (201, record)
    assert capture(service.engine.command("wait", service.name)).stdout.strip() == "0"


def test_what_is_not_in_it(image: Built, engine: Engine, unique: str, tmp_path: Path) -> None:
    """No shell, package manager, compiler or pipeline; what its user may write to is one folder."""
    capture(engine.command("create", f"--name={unique}", image.references[0]))
    archive = tmp_path / "image.tar"
    capture(engine.command("export", f"--output={archive}", unique))
    with tarfile.open(archive) as files:
        members = files.getmembers()
    names = {Path(member.name).name for member in members if not member.isdir()}
    assert "gunicorn" in names
    assert not names & TOOLS
    packages = {Path(member.name).name for member in members if "site-packages" in member.name}
    assert "flask" in packages
    assert not packages & {"pip", "setuptools", "dockyard", "pytest", "invoke", "nox", "uv"}
    # docker adds /dev, /etc/hosts and the like to every container: those are root's.
    assert {member.name.rstrip("/") for member in members if member.uid == 65532} == {"data"}
    absent = capture(engine.command("run", "--rm", *HARDENED, image.references[0], "python", "-m", "pip"), check=False)
    assert (absent.returncode, "No module named pip" in absent.stderr) == (1, True)


def test_one_new_package(copy: Settings, image: Built, engine: Engine, unique: str) -> None:
    """One layer is new, every other is the one that hosts have already; the image still keeps to the policy."""
    lock = copy.root / lock_path(copy.python, "production")
    before = lock.read_text()
    more = (copy.root / lock_path(copy.python, "development")).read_text()
    (added,) = [line for line in install.requirements(more) if line.startswith("iniconfig==")]
    lock.write_text(f"{before}{added}\n")
    try:
        other = copy._replace(image=unique)
        ((changed,), _) = build.build_images(other, Request(), engine=engine)
        found = verify.verify_image(other, ImageQuery(), engine=engine)
    finally:
        lock.write_text(before)
    old, new = (layers(engine, one.references[0]) for one in (image, changed))
    assert len(old) == len(new)
    assert len(set(old) - set(new)) == 1
    assert found.verdict.violations == ()


def layers(engine: Engine, reference: str) -> list[str]:
    """Return the digests of an image's unpacked layers."""
    done = capture(engine.command("image", "inspect", "--format={{json .RootFS.Layers}}", reference))
    return list(json.loads(done.stdout))


def test_the_same_digest_twice(copy: Settings, image: Built, engine: Engine) -> None:
    """Built once more without the cache, every byte of the image is the same, outside git too.

    So it is with the interpreter's layers as they were kept: a build without cache makes them itself.
    """
    assert (kept := kept_layers())
    request = Request(tags=("again",), no_cache=True)
    ((again,), _) = build.build_images(copy, request, engine=engine)
    assert again.cache["cached"] < again.cache["steps"]
    assert (again.digest, again.layers) == (image.digest, image.layers)
    assert kept.items() - kept_layers().items()
    ((anew,), _) = build.build_images(copy, Request(tags=("anew",)), engine=engine)
    assert anew.digest == image.digest
    assert kept_layers().keys() >= kept.keys()
    created = "--format={{.Created}}"
    assert capture(engine.command("image", "inspect", created, again.references[0])).stdout == "1980-01-01T00:00:00Z\n"


def kept_layers() -> dict[Path, int]:
    """Return the folders in which the layers of interpreters are kept, and when each came: others keep them too."""
    return {path: path.stat().st_mtime_ns for path in cache.folder().glob(f"{STAGE}-*")}


OPENED = 'import ctypes\n\nctypes.CDLL("libselinux.so.1")\n'
"""A library that every Debian base has for its tools, that Python is not linked to, and that needs another one."""


@pytest.fixture
def opens_a_library(copy: Settings, engine: Engine, tmp_path: Path) -> Iterator[Settings]:
    """Yield the project with an application that opens a library by its name."""
    root = tmp_path / "shop"
    shutil.copytree(copy.root, root)
    package = root / "src" / "ledger" / "__init__.py"
    package.write_text(OPENED + package.read_text("utf-8").replace("from __future__ import annotations\n", ""), "utf-8")
    settings = copy._replace(root=root, image=f"dockyard-keep-{secrets.token_hex(4)}")
    yield settings
    remove_images(engine, settings.image)


def test_what_no_scan_sees_is_found_missing_and_kept(opens_a_library: Settings, engine: Engine) -> None:
    """The smoke test says which file of the base would mend it; with that in the settings all is well."""
    build.build_images(opens_a_library, Request(), engine=engine)
    (violation,) = verify.verify_image(opens_a_library, ImageQuery(), engine=engine).verdict.violations
    assert violation.rule == "starts"
    assert "the shared library libselinux.so.1 is missing" in violation.message
    (path,) = re.findall(r'keep = \["([^"]+)"\]', violation.hint)
    assert path.endswith("/libselinux.so.1")
    mended = opens_a_library._replace(keep=(path,))
    build.build_images(mended, Request(), engine=engine)
    assert verify.verify_image(mended, ImageQuery(), engine=engine).verdict.findings == ()


def test_a_path_to_keep_that_is_nowhere_ends_the_build(
    copy: Settings, engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is named, with where to correct it."""
    with pytest.raises(DockyardError, match="names what the base image does not have"):
        build.build_images(copy._replace(keep=("/usr/share/no/such.file",)), Request(), engine=engine)
    assert "nothing in the base image matches /usr/share/no/such.file" in "".join(capfd.readouterr())


LINKED = """\
ARG PYTHON_VERSION
FROM scratch AS dockyard
FROM python:${PYTHON_VERSION}-slim AS packages
COPY link.py /
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \\
    python /link.py && echo > /lock.txt && python /dockyard install /lock.txt --layers /layers
FROM scratch AS production
COPY --from=packages /layers/1/ /
"""
LINK = """\
from pathlib import Path
import _bz2
there = Path(_bz2.__file__).read_bytes()
assert there.count(b"libbz2.so") == 1
Path("/opt/venv").mkdir()
Path("/opt/venv/fast.so").write_bytes(there.replace(b"libbz2.so", b"libqz2.so"))
"""
"""Makes a compiled module that is linked to a library of another name, which no Debian package has."""


def test_a_package_that_is_linked_to_what_the_base_lacks_is_told(
    copy: Settings, engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the build's end, and by the policy, from the cache too: module and library are named."""
    (tmp_path / "Dockerfile").write_text(LINKED)
    (tmp_path / "link.py").write_text(LINK)
    linked = copy._replace(root=tmp_path, image=f"{copy.image}-linked")
    ((built,), _) = build.build_images(linked, Request(no_cache=True), engine=engine)
    assert "missing shared library: libqz2.so.1.0, needed by /opt/venv/fast.so" in caplog.text
    facts = contents.read_image(engine, built.references[0])
    remove_images(engine, linked.image)
    (violation,) = files.libraries.check(Case(facts, Expected()))
    assert violation.path == "/opt/venv/fast.so"
    assert "libqz2.so.1.0" in violation.message


def test_the_slim_image(copy: Settings, engine: Engine) -> None:
    """It has a shell and its tools, serves as production does, and breaks no rule that it is held to."""
    ((built,), _) = build.build_images(copy, Request(("slim",)), engine=engine)
    found = verify.verify_image(copy, ImageQuery("slim"), engine=engine)
    assert found.verdict.findings == ()
    assert found.case.facts.manifest == built.digest
    assert found.case.trial.serves
    run = ("run", "--rm", "--network=none", *HARDENED, "--entrypoint=sh", built.references[0], "-c")
    tools = "id -un && command -v bash && command -v gunicorn && python -c 'import ledger'"
    said = capture(engine.command(*run, tools)).stdout
    assert said.split() == ["nonroot", "/usr/bin/bash", "/opt/venv/bin/gunicorn"]
