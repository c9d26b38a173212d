"""Deploys to one host without a Swarm, asked for all the while by a loader: no request fails, whatever happens."""

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Request
from dockyard.process import Command, capture
from dockyard.settings import Settings
from tests.integration import deploy_lab, ssh_door
from tests.integration.checkout import copied
from tests.integration.debian_packages import provide_packages
from tests.integration.deploy_lab import assert_no_failure, registry
from tests.integration.engine_lab import Lab
from tests.integration.registry_process import Authority, Programs, RunningRegistry
from tests.integration.shop import PRODUCTION, Shop, carry_images, write_project
from tests.integration.tls_front import behind_tls

__all__ = ["registry"]
pytestmark = deploy_lab.MARKS
NAME = f"dockyard-test-{secrets.token_hex(4)}"
TOKEN = "a-token-that-nobody-else-has"
PLACE: dict[str, Any] = {
    "kind": "compose",
    "replicas": 2,
    "drain": 2,
    "timeout": 120,
    "release": ["python", "-c", "print('migrated')"],
}


@pytest.fixture(scope="module")
def lab(project: Settings, engine: Engine) -> Iterator[Lab]:
    """Run one engine, whose disk is small."""
    with deploy_lab.opened(project, engine, 1, small="900m") as lab:
        yield lab


@pytest.fixture(scope="module")
def shop(
    project: Settings, engine: Engine, lab: Lab, registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """Return the shop, whose first version runs."""
    host = lab.nodes[0].engine.environment["DOCKER_HOST"]
    folder = tmp_path_factory.mktemp("shop") / "shop"
    relay = f"unix://{folder}/relay.sock"
    destinations = {"one": {**PLACE, "host": host}, "frail": {**PLACE, "host": relay}}
    shop = deploy_lab.furnished(project, engine, lab, folder, registry=registry.host, destinations=destinations)
    done = shop.deploy("one", "one")
    assert done.returncode == 0, done.stderr
    return shop


def where(shop: Shop) -> str:
    """Return where the front listens."""
    return f"{shop.lab.nodes[0].address}:8080"


def runs(shop: Shop) -> str:
    """Return the one version that answers."""
    with shop.load(20, where(shop)) as counted:
        pass
    (version,) = counted
    assert not version.startswith("failed")
    return version


def other(shop: Shop) -> str:
    """Return a good version that does not run."""
    return next(version for version in ("two", "three") if version != runs(shop))


def list_containers(shop: Shop, state: str = "running") -> list[str]:
    """Return the names of containers in a state."""
    words = ("container", "ls", "--all", "--filter", f"status={state}", "--format", "{{.Names}}")
    return sorted(shop.lab.docker(shop.lab.nodes[0], *words).stdout.split())


def assert_whole(shop: Shop) -> None:
    """Hold that one set and the front run, and that nothing is left of anything else."""
    found = list_containers(shop)
    assert len(found) == 3, found
    assert found[0] == "shop-front-1"
    assert found[1][:-1] == found[2][:-1]
    kept = list_containers(shop, "created")
    assert all("dockyard-v" in name for name in kept), kept
    assert list_containers(shop, "exited") == []


def test_no_request_fails_while_the_front_turns(shop: Shop) -> None:
    """From one set to the other; then the plan is empty."""
    before, version = runs(shop), other(shop)
    with shop.load(10_000, where(shop)) as counted:
        done = shop.deploy("one", version)
    assert done.returncode == 0, done.stderr
    assert_no_failure(counted, 10_000)
    assert set(counted) == {before, version}
    assert_whole(shop)
    again = shop.invoke("deploy", "--to", "one", "--image", shop.images[version], "--dry-run", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["changes"] == []


@pytest.mark.parametrize(("version", "words"), [("broken", "ended with exit code 1"), ("ill", "is unhealthy")])
def test_a_bad_image_gets_no_request(shop: Shop, version: str, words: str) -> None:
    """Its reason and its last lines are told, and what served goes on without a failed request."""
    before = runs(shop)
    with shop.load(2_000, where(shop)) as counted:
        done = shop.deploy("one", version)
    assert done.returncode == 1
    assert words in done.stderr
    assert ("the shop has no shelves" if version == "broken" else "the shop is open: ill") in done.stderr
    assert_no_failure(counted, 2_000)
    assert set(counted) == {before}
    assert shop.history("one")[0]["outcome"] == "failed"
    assert_whole(shop)


def test_of_two_deploys_at_once_one_is_refused(shop: Shop) -> None:
    """Nothing of it happens, and the other one ends well; then the one before comes back."""
    before, version = runs(shop), other(shop)
    with shop.begin("deploy", "--to", "one", "--image", shop.images[version]) as first:
        until_there(shop, "shop_dockyard-lock")
        second = shop.deploy("one", "four")
        said = first.communicate(timeout=180)[0]
    assert first.returncode == 0, said
    assert second.returncode == 1
    assert "has been deploying shop for" in second.stderr
    assert runs(shop) == version
    done = shop.invoke("rollback", "--to", "one")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shop.images[before]
    assert runs(shop) == before
    assert_whole(shop)


def test_a_host_by_ssh_and_by_a_context(
    shop: Shop, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lead to the same engine: by OpenSSH's own server, and by TLS that lets nobody in without a certificate."""
    engine = shop.lab.nodes[0].engine
    far = replace(shop, far=True)
    authority = Authority(programs.openssl, tmp_path / "authority").make()
    certificate, key = authority.issue("DNS:client")
    path = os.environ["PATH"]
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with (
        ssh_door.leading_to(engine, made(tmp_path / "ssh"), shared=True) as door,
        behind_tls(Path(str(engine.environment["DOCKER_HOST"]).removeprefix("unix://")), authority) as port,
    ):
        monkeypatch.setenv("PATH", f"{door.bin}{os.pathsep}{path}")
        context = f"host=tcp://127.0.0.1:{port},ca={authority.certificate},cert={certificate},key={key}"
        clear = {"DOCKER_CONFIG": str(tmp_path / "docker"), "DOCKER_HOST": None}
        create = ("context", "create", "guarded", "--docker", context)
        capture(Command(("docker", *create), env={**clear, "PATH": engine.environment["PATH"]}))
        shop.add_destination("by-ssh", {**PLACE, "host": door.address})
        shop.add_destination("by-context", {**PLACE, "context": "guarded"})
        shop.add_destination("by-none", {**PLACE, "context": "absent"})
        for name in ("by-ssh", "by-context"):
            version = other(shop)
            with shop.load(500, where(shop)) as counted:
                done = far.deploy(name, version)
            assert done.returncode == 0, done.stderr
            assert_no_failure(counted, 500)
            assert runs(shop) == version
            assert far.history(name)[0]["outcome"] == "runs"
            assert_whole(shop)
        refused = far.deploy("by-none", "one")
        assert refused.returncode == 1
        assert "absent" in refused.stderr
        door.cut()
        lost = far.deploy("by-ssh", other(shop))
        assert lost.returncode == 1
        assert "Traceback" not in lost.stderr


def test_other_names_and_a_worker(shop: Shop, tmp_path: Path) -> None:
    """Dots, capitals and underscores; what publishes nothing gets no requests, and its old set ends too."""
    node, odd = shop.lab.nodes[0], replace(shop, folder=made(tmp_path / "odd"))
    web = {**PRODUCTION["services"]["web"], "ports": ["127.0.0.1:8000:8000"]}
    services = {"Web.api_1": web, "Back_worker": PRODUCTION["services"]["web"]}
    table = {**PLACE, "host": node.engine.environment["DOCKER_HOST"], "port": 8091}
    write_project(odd.folder, {"one": table}, shop.images["one"].partition("/")[0])
    (odd.folder / "compose.yaml").write_text(json.dumps({"services": services}))
    (odd.folder / "compose.production.yaml").write_text("services: {}\n")
    with (odd.folder / "pyproject.toml").open("r+") as file:
        text = file.read().replace("[tool.dockyard]\n", '[tool.dockyard]\nstack = "odd"\n')
        file.seek(0)
        file.write(text)
    try:
        first = odd.deploy("one", "one")
        assert first.returncode == 0, first.stderr
        with odd.load(500, f"{node.address}:8091") as counted:
            done = odd.deploy("one", "two")
        assert done.returncode == 0, done.stderr
        assert_no_failure(counted, 500)
        copies = [name for name in list_containers(shop) if name.startswith("odd-")]
        assert copies == [f"odd-{name}-green-{n}" for name in ("Back_worker", "Web.api_1") for n in (1, 2)] + [
            "odd-front-1"
        ]
        copies = json.loads(odd.invoke("deploy.status", "--to", "one", "--json").stdout)
        assert {one["service"] for one in copies} == {"Back_worker", "Web.api_1", "front"}
    finally:
        clear(shop, "odd")


def clear(shop: Shop, stack: str) -> None:
    """Remove a stack from the host."""
    node, lab = shop.lab.nodes[0], shop.lab
    found = lab.docker(node, "container", "ls", "--all", "--quiet", "--filter", f"name=^/?{stack}[-_]").stdout.split()
    lab.docker(node, "container", "rm", "--force", "--volumes", *found, check=False)
    lab.docker(node, "volume", "prune", "--all", "--force", "--filter", f"label=com.docker.compose.project={stack}")


ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
AGAIN = "FROM base\nLABEL version=two\n"


def test_this_repository_by_its_own_files(
    shop: Shop, engine: Engine, project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger: its database is made first, its secrets are files of the host, and it keeps its own deploys."""
    lab, (node,) = shop.lab, shop.lab.nodes
    folder, files = tmp_path / "ledger", made(tmp_path / "secrets")
    copied(folder, 0o022, time.time())
    build.build_images(project._replace(image=f"{NAME}-base"), Request(targets=("production",)), engine=engine)
    (tmp_path / "Dockerfile").write_text(AGAIN)
    words = ("buildx", "build", "--quiet", "--load", "--provenance=false", "--tag", f"{NAME}:two", str(tmp_path))
    engine.run("tag", f"{NAME}-base:production", f"{NAME}:one")
    engine.run(*words, "--build-context", f"base=docker-image://{NAME}-base:production")
    made_names = engine.run("images", "--format={{.Repository}}:{{.Tag}}", f"{NAME}-base").stdout.split()
    engine.run("rmi", "--force", *made_names)
    repository = f"{shop.images['one'].partition('/')[0]}/ledger"
    images = carry_images(tmp_path, engine, node, repository, {one: f"{NAME}:{one}" for one in ("one", "two")})
    ledger, address = Shop(folder, lab, images), f"http://{node.address}:8090"
    place = {**PLACE, "host": node.engine.environment["DOCKER_HOST"], "port": 8090, "folder": str(files), "release": []}
    ledger.add_destination("here", place)
    monkeypatch.setenv("DOCKYARD_LEDGER_URL", address)
    monkeypatch.setenv("DOCKYARD_LEDGER_TOKEN", TOKEN)
    try:
        refused = ledger.deploy("here", "one")
        assert refused.returncode == 1
        assert f"here has no file {files}/" in refused.stderr
        for name in ("ledger_token", "secret_key", "database_password"):
            (files / name).write_text(TOKEN)
        for version in ("one", "two"):
            done = ledger.deploy("here", version)
            assert done.returncode == 0, done.stderr
        # The refused deploy asked a ledger that was not there yet: the pause that it is left alone for is over.
        os.utime(folder / ".dockyard" / "unsent" / "tried", (0, 0))
        back = ledger.invoke("rollback", "--to", "here")
        assert back.stdout.strip() == images["one"]
        told = capture(Command(lab.enter(sys.executable, "-c", ASK, f"{address}/api/runs?kind=deploy"))).stdout
        kept = [
            (run["outcome"], run["deploy"]["action"], run["deploy"].get("number")) for run in json.loads(told)["runs"]
        ]
        assert kept == [
            ("passed", "rollback", None),
            ("passed", "deploy", 3),
            ("passed", "deploy", 2),
            ("failed", "deploy", None),
        ]
        assert [one["number"] for one in ledger.history("here")] == [4, 3, 2, 1]
    finally:
        clear(shop, "ledger")


COPIED = """\
import sys, urllib.request as u
there, old, new = sys.argv[1:]
kind = "application/vnd.oci.image.manifest.v1+json"
body = u.urlopen(u.Request(f"{there}/{old}", headers={"Accept": kind})).read()
u.urlopen(u.Request(f"{there}/{new}", body, {"Content-Type": kind}, method="PUT"))
"""


def test_a_signed_image_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a destination names a key: no image without a signature, none whose signature is of another image."""
    monkeypatch.setenv("PATH", str(provide_packages("cosign/trixie") / "usr/bin"), prepend=os.pathsep)
    monkeypatch.setenv("COSIGN_PASSWORD", "open sesame")
    capture(Command(("cosign", "generate-key-pair"), cwd=shop.folder))
    shop.add_destination(
        "guarded", {**PLACE, "host": shop.lab.nodes[0].engine.environment["DOCKER_HOST"], "key": "cosign.pub"}
    )
    before, version = runs(shop), other(shop)
    pinned, third = shop.images[version], shop.images["four"]
    refused = shop.deploy("guarded", version)
    assert refused.returncode == 1
    assert f"guarded takes no image without a signature by cosign.pub, and {pinned} has none" in refused.stderr
    sign = ("cosign", "sign", "--key", str(shop.folder / "cosign.key"), "--tlog-upload=false", "--yes", pinned)
    capture(Command(shop.lab.enter(*sign)))
    tags = [f"sha256-{one.rpartition(':')[2]}.sig" for one in (pinned, third)]
    there = f"http://{pinned.partition('/')[0]}/v2/shop/manifests"
    capture(Command(shop.lab.enter(sys.executable, "-c", COPIED, there, *tags)))
    tampered = shop.deploy("guarded", "four")
    assert tampered.returncode == 1
    assert f"takes no image without a signature by cosign.pub, and {third} has none" in tampered.stderr
    assert runs(shop) == before
    done = shop.deploy("guarded", version)
    assert done.returncode == 0, done.stderr
    assert runs(shop) == version
    assert_whole(shop)


def made(folder: Path) -> Path:
    """Return a new folder."""
    folder.mkdir()
    return folder


def until_there(shop: Shop, *names: str) -> None:
    """Wait until one of some containers is there."""
    deadline = time.monotonic() + 60
    while not set(names) & {*list_containers(shop), *list_containers(shop, "created")}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def new_copy(shop: Shop) -> str:
    """Return the name that the first copy of the next set will have."""
    colour = "green" if any("blue" in name for name in list_containers(shop)) else "blue"
    return f"shop-web-{colour}-1"


@pytest.mark.soak
@pytest.mark.parametrize("number", [1, 2, 3])
def test_three_turns_in_a_row(shop: Shop, number: int) -> None:
    """Each with ten thousand requests, none of which fails."""
    test_no_request_fails_while_the_front_turns(shop)


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_deploy_leaves_what_served(shop: Shop, number: int) -> None:
    """Ctrl-C while the new set starts: it goes, and nobody holds the lock."""
    before, version, copy = runs(shop), other(shop), new_copy(shop)
    begun = shop.begin("deploy", "--to", "one", "--image", shop.images[version])
    with shop.load(2_000, where(shop)) as counted, begun as deploy:
        until_there(shop, copy)
        deploy.send_signal(number)
        said = deploy.communicate(timeout=180)[0]
    assert deploy.returncode == 130, said
    assert_no_failure(counted, 2_000)
    assert runs(shop) == before
    assert_whole(shop)


@pytest.mark.soak
def test_a_killed_deploy_is_cleared_up_by_the_next(shop: Shop) -> None:
    """What served goes on; the lock of a process that is gone keeps nobody out."""
    before, version, copy = runs(shop), other(shop), new_copy(shop)
    with shop.begin("deploy", "--to", "one", "--image", shop.images[version]) as deploy:
        until_there(shop, copy)
        deploy.kill()
    assert runs(shop) == before
    with shop.load(2_000, where(shop)) as counted:
        done = shop.deploy("one", version)
    assert done.returncode == 0, done.stderr
    assert_no_failure(counted, 2_000)
    assert runs(shop) == version
    assert_whole(shop)


class Relay:
    """A socket that leads to an engine until it is cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.target = target
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and take no more."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        time.sleep(0.5)  # the threads that carry notice
        for one in self.open:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.target)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.soak
def test_a_cut_connection_is_told(shop: Shop) -> None:
    """One clear error; what served goes on, and the next deploy removes what is left."""
    before, version, copy = runs(shop), other(shop), new_copy(shop)
    path = shop.folder / "relay.sock"
    relay = Relay(path, shop.lab.nodes[0].engine.environment["DOCKER_HOST"].removeprefix("unix://"))
    begun = shop.begin("deploy", "--to", "frail", "--image", shop.images[version])
    with shop.load(2_000, where(shop)) as counted, begun as deploy:
        until_there(shop, copy)
        relay.cut()
        said = deploy.communicate(timeout=180)[0]
    path.unlink()
    assert deploy.returncode == 1, said
    assert "frail does not answer" in said
    assert "Traceback" not in said
    assert_no_failure(counted, 2_000)
    assert runs(shop) == before
    done = shop.deploy("one", version)
    assert done.returncode == 0, done.stderr
    assert runs(shop) == version
    assert_whole(shop)


@pytest.mark.soak
def test_a_registry_that_is_gone(shop: Shop, registry: RunningRegistry) -> None:
    """One clear error before anything changes."""
    before = runs(shop)
    gone = shop.invoke("deploy", "--to", "one", "--image", f"10.77.0.254:9/shop@sha256:{'0' * 64}")
    assert gone.returncode == 1
    assert "cannot fetch" in gone.stderr
    assert "nothing was changed" in gone.stderr
    assert registry.process.poll() is None
    assert runs(shop) == before
    assert_whole(shop)


@pytest.mark.soak
def test_a_full_disk(shop: Shop) -> None:
    """The image cannot be stored: one clear error, and what served goes on."""
    before = runs(shop)
    fill = shop.lab.nodes[0].data / "fill"
    with fill.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    try:
        with shop.load(1_000, where(shop)) as counted:
            done = shop.deploy("one", "four")
    finally:
        fill.unlink()
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert_no_failure(counted, 1_000)
    assert runs(shop) == before
    assert_whole(shop)
