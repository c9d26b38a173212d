"""Builds on other engines: one behind TLS that asks for a certificate, and platforms that are merged into one index."""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard import process
from dockyard.engine import client
from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Request
from dockyard.process import Command, capture
from dockyard.settings import Settings
from tests.integration import second_engine

from .registry_process import Authority, Programs, RunningRegistry, Shape, running
from .tls_front import behind_tls

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a second engine needs root"),
    pytest.mark.skipif(process.which("apt-get") is None, reason="a second engine needs apt"),
]
DOCKERFILE = "FROM scratch AS production\nARG TARGETARCH\nCOPY page.txt /${TARGETARCH}/page.txt\n"


@pytest.fixture
def page(tmp_path: Path) -> Settings:
    """Return a project whose image is one file, for which no base and no emulator is needed."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "page.txt").write_text("hello\n")
    name = f"dockyard-test-{secrets.token_hex(4)}"
    return Settings(tmp_path, app="a:b", image=name, sources=("page.txt",), pythons=("3.13",), python="3.13")


@pytest.fixture
def authority(programs: Programs, tmp_path: Path) -> Authority:
    """Return an authority of this test alone."""
    return Authority(programs.openssl, tmp_path / "authority").make()


@pytest.fixture
def registry(programs: Programs, tmp_path: Path) -> Iterator[RunningRegistry]:
    """Run a registry of the loopback, which engines talk to without TLS."""
    with running(programs, tmp_path / "registry", Shape(password=False)) as made:
        yield made


@pytest.fixture(scope="module")
def second() -> Iterator[Engine]:
    """Run a second engine, with data of its own."""
    with second_engine.running(second_engine.provide_engine(), second_engine.provide_carrier()) as engine:
        yield engine


def test_an_engine_behind_tls(
    page: Settings, engine: Engine, second: Engine, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All happens there: the image is in that engine and in no other; without a certificate nobody is let in."""
    socket = Path(str(second.environment["DOCKER_HOST"]).removeprefix("unix://"))
    folder = page.root / "certificates"
    folder.mkdir()
    certificate, key = authority.issue("DNS:client")
    for name, source in (("ca.pem", authority.certificate), ("cert.pem", certificate), ("key.pem", key)):
        (folder / name).write_bytes(source.read_bytes())
    with behind_tls(socket, authority) as port:
        for name, value in (("HOST", f"tcp://127.0.0.1:{port}"), ("TLS_VERIFY", "1"), ("CERT_PATH", str(folder))):
            monkeypatch.setenv(f"DOCKER_{name}", value)
        monkeypatch.setenv("DOCKER_CONFIG", str(engine.environment.get("DOCKER_CONFIG", "~/.docker")))
        monkeypatch.setenv("PATH", str(second.environment.get("PATH", os.environ["PATH"])))
        far = client.find_engine(page._replace(engine="host"))
        assert far.kind == "host"
        (made,), _ = build.build_images(page, Request(targets=("production",)), engine=far)
        listing = ("images", "--quiet", "--filter", f"reference={page.image}")
        assert capture(far.command(*listing)).stdout.split()
        assert capture(second.command(*listing)).stdout.split()
        assert not capture(engine.command(*listing)).stdout.split()
        assert made.digest.startswith("sha256:")
        (folder / "cert.pem").unlink()
        (folder / "key.pem").unlink()
        refused = capture(Command(("docker", "version")), check=False)
        assert not refused.ok
        assert "certificate" in refused.stderr


def test_two_platforms_are_merged(page: Settings, engine: Engine, registry: RunningRegistry) -> None:
    """Each is pushed under a tag of its own; the index holds both by the digests that they had.

    The guide's recipe: here one engine plays both machines, since no base image of another platform is at hand.
    """
    repository = page._replace(registry=registry.host).repository
    digests = {}
    try:
        for machine in ("amd64", "arm64"):
            name = f"{repository}:1.4.0-{machine}"
            built = ("build", "--platform", f"linux/{machine}", "--provenance=false", "--push", "--tag", name)
            capture(engine.command("buildx", *built, str(page.root)))
            shown = capture(engine.command("buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", name))
            digests[machine] = json.loads(shown.stdout)["digest"]
        names = [f"{repository}:1.4.0-{machine}" for machine in digests]
        capture(engine.command("buildx", "imagetools", "create", "--tag", f"{repository}:1.4.0", *names))
        shown = capture(engine.command("buildx", "imagetools", "inspect", "--raw", f"{repository}:1.4.0"))
        entries = json.loads(shown.stdout)["manifests"]
        assert {one["platform"]["architecture"]: one["digest"] for one in entries} == digests
    finally:
        listing = ("images", "--quiet", "--filter", f"reference={repository}")
        if found := capture(engine.command(*listing)).stdout.split():
            capture(engine.command("rmi", "--force", *sorted(set(found))))
