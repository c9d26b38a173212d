"""Deploys to a Swarm of three engines, asked for all the while by a loader: no request fails, whatever happens.

The kernels of test machines may lack IPVS: nothing here needs Swarm's mesh or its virtual addresses.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.settings import Settings
from tests.integration import deploy_lab, ssh_door
from tests.integration.deploy_lab import assert_no_failure, registry
from tests.integration.engine_lab import Lab, Node
from tests.integration.registry_process import RunningRegistry
from tests.integration.shop import Shop

__all__ = ["registry"]
pytestmark = deploy_lab.MARKS
SETTLES_WITHIN = 90.0
PLACE: dict[str, Any] = {
    "kind": "swarm",
    "replicas": 3,
    "drain": 2,
    "timeout": 180,
    "release": ["python", "-c", "print('migrated')"],
}


@pytest.fixture(scope="module")
def lab(project: Settings, engine: Engine) -> Iterator[Lab]:
    """Run three engines as one Swarm, each a manager; the third one's disk is small."""
    with deploy_lab.opened(project, engine, 3, small="700m") as lab:
        first = lab.nodes[0]
        lab.docker(first, "swarm", "init", "--advertise-addr", first.address, "--listen-addr", first.address)
        token = lab.docker(first, "swarm", "join-token", "--quiet", "manager").stdout.strip()
        for node in lab.nodes[1:]:
            words = ("--advertise-addr", node.address, "--listen-addr", node.address)
            lab.docker(node, "swarm", "join", "--token", token, *words, f"{first.address}:2377")
        yield lab


@pytest.fixture(scope="module")
def shop(
    project: Settings, engine: Engine, lab: Lab, registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """Return the shop, whose first version runs."""
    host = lab.nodes[0].engine.environment["DOCKER_HOST"]
    folder = tmp_path_factory.mktemp("shop") / "shop"
    place = {**PLACE, "host": host}
    shop = deploy_lab.furnished(project, engine, lab, folder, registry=registry.host, destinations={"far": place})
    done = shop.deploy("far", "one")
    assert done.returncode == 0, done.stderr
    return shop


def hosts(lab: Lab) -> tuple[str, ...]:
    """Return where the fronts of all nodes listen."""
    return tuple(f"{node.address}:8080" for node in lab.nodes)


def runs(shop: Shop) -> str:
    """Return the version that every node's front leads to, once all agree; there is one in the end."""
    deadline = time.monotonic() + SETTLES_WITHIN
    while True:
        with shop.load(60, *hosts(shop.lab)) as counted:
            pass
        if len(counted) == 1 and not next(iter(counted)).startswith("failed"):
            return next(iter(counted))
        assert time.monotonic() < deadline, counted
        time.sleep(2)


def assert_idle(shop: Shop, node: Node) -> None:
    """Hold that nobody deploys any more, and that nothing of a release step is left."""
    names = shop.lab.docker(node, "config", "ls", "--format", "{{.Name}}").stdout.split()
    assert not [name for name in names if "lock" in name]
    services = shop.lab.docker(node, "service", "ls", "--format", "{{.Name}}").stdout.split()
    assert sorted(services) == ["shop_front", "shop_web"]


def other(shop: Shop) -> str:
    """Return a good version that does not run."""
    return next(version for version in ("two", "three") if version != runs(shop))


def test_no_request_fails_while_a_new_version_rolls(shop: Shop) -> None:
    """Copy by copy, with requests to every node all the while; then the plan is empty."""
    before, version = runs(shop), other(shop)
    with shop.load(10_000, *hosts(shop.lab)) as counted:
        done = shop.deploy("far", version)
    assert done.returncode == 0, done.stderr
    assert_no_failure(counted, 10_000)
    assert set(counted) == {before, version}
    assert runs(shop) == version
    again = shop.invoke("deploy", "--to", "far", "--image", shop.images[version], "--dry-run", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["changes"] == []
    assert shop.history("far")[0]["outcome"] == "runs"
    assert_idle(shop, shop.lab.nodes[0])


def test_what_the_copies_have_logged(shop: Shop) -> None:
    """All of them together, each line with the copy that said it; a service that is not there is told."""
    version = runs(shop)
    logs = shop.invoke("deploy.logs", "--to", "far")
    assert logs.returncode == 0, logs.stderr
    assert logs.stdout.count(f"| the shop is open: {version}") >= 3
    assert {line.partition("@")[2].split()[0] for line in logs.stdout.splitlines()} >= {"node1", "node2", "node3"}
    assert len(shop.invoke("deploy.logs", "--to", "far", "--tail", "0").stdout) == 0
    absent = shop.invoke("deploy.logs", "--to", "far", "--service", "wbe")
    assert absent.returncode == 2
    assert "far has no service 'wbe'" in absent.stderr


@pytest.mark.parametrize(("version", "words"), [("broken", "non-zero exit (1)"), ("ill", "unhealthy")])
def test_a_bad_image_returns_by_itself(shop: Shop, version: str, words: str) -> None:
    """In the middle of its roll, with its reason and its last lines, and without a failed request."""
    before = runs(shop)
    with shop.load(2_000, *hosts(shop.lab)) as counted:
        done = shop.deploy("far", version)
    assert done.returncode == 1
    assert words in done.stderr
    assert ("the shop has no shelves" if version == "broken" else "the shop is open: ill") in done.stderr
    assert_no_failure(counted, 2_000)
    assert set(counted) <= {before, version}
    assert runs(shop) == before
    assert shop.history("far")[0]["outcome"] == "failed"
    assert_idle(shop, shop.lab.nodes[0])


def test_of_two_deploys_at_once_one_is_refused(shop: Shop) -> None:
    """Nothing of it happens, and the other one ends well; then the one before comes back."""
    before, version = runs(shop), other(shop)
    with shop.begin("deploy", "--to", "far", "--image", shop.images[version]) as first:
        until_locked(shop)
        second = shop.deploy("far", "four")
        said = first.communicate(timeout=180)[0]
    assert first.returncode == 0, said
    assert second.returncode == 1
    assert "has been deploying shop for" in second.stderr
    assert runs(shop) == version
    done = shop.invoke("rollback", "--to", "far")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shop.images[before]
    assert runs(shop) == before
    assert_idle(shop, shop.lab.nodes[0])


def until_locked(shop: Shop) -> None:
    """Wait until a deploy has begun."""
    deadline = time.monotonic() + 60
    words = ("config", "ls", "--format", "{{.Name}}")
    while "shop_dockyard-lock" not in shop.lab.docker(shop.lab.nodes[0], *words).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def until_runs(shop: Shop, version: str) -> None:
    """Wait until a roll that goes on by itself is over."""
    deadline = time.monotonic() + SETTLES_WITHIN
    while runs(shop) != version:
        assert time.monotonic() < deadline
        time.sleep(2)


def until_rolling(shop: Shop) -> None:
    """Wait until the new version's first copy starts."""
    deadline = time.monotonic() + 60
    words = ("service", "inspect", "shop_web", "--format", "{{json .UpdateStatus}}")
    while '"updating"' not in shop.lab.docker(shop.lab.nodes[0], *words).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.soak
@pytest.mark.parametrize("number", [1, 2, 3])
def test_three_rolls_in_a_row(shop: Shop, number: int) -> None:
    """Each with ten thousand requests, none of which fails."""
    test_no_request_fails_while_a_new_version_rolls(shop)


@pytest.mark.soak
def test_an_interrupted_deploy_returns(shop: Shop) -> None:
    """Ctrl-C in the middle of a roll: what ran before runs, without a failed request, and nobody holds the lock."""
    before, version = runs(shop), other(shop)
    begun = shop.begin("deploy", "--to", "far", "--image", shop.images[version])
    with shop.load(2_000, *hosts(shop.lab)) as counted, begun as deploy:
        until_rolling(shop)
        deploy.send_signal(signal.SIGINT)
        said = deploy.communicate(timeout=180)[0]
    assert deploy.returncode == 130, said
    assert_no_failure(counted, 2_000)
    assert runs(shop) == before
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_killed_deploy_keeps_nobody_out(shop: Shop) -> None:
    """The Swarm goes on by itself; the next deploy takes the lock of the process that is gone."""
    version = other(shop)
    with shop.begin("deploy", "--to", "far", "--image", shop.images[version]) as deploy:
        until_rolling(shop)
        deploy.kill()
    until_runs(shop, version)
    done = shop.deploy("far", other(shop))
    assert done.returncode == 0, done.stderr
    assert "ended" in done.stderr
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_cut_connection(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ssh, whose server and logins die in the middle of a roll: one clear error, and no failed request.

    The Swarm goes on by itself; the next deploy, by the same way, takes the lock of the process that is gone.
    """
    version = other(shop)
    with ssh_door.leading_to(shop.lab.nodes[0].engine, tmp_path) as door:
        monkeypatch.setenv("PATH", str(door.bin), prepend=os.pathsep)
        shop.add_destination("remote", {**PLACE, "host": door.address})
        remote = replace(shop, far=True)
        begun = remote.begin("deploy", "--to", "remote", "--image", shop.images[version])
        with shop.load(2_000, *hosts(shop.lab)) as counted, begun as deploy:
            until_rolling(shop)
            door.cut()
            said = deploy.communicate(timeout=180)[0]
        assert deploy.returncode == 1, said
        assert "remote does not answer: ssh: connect to host 127.0.0.1" in said
        assert "the Swarm goes on by itself" in said
        assert "Traceback" not in said
        assert_no_failure(counted, 2_000)
        until_runs(shop, version)
        door.open()
        done = remote.deploy("remote", other(shop))
    assert done.returncode == 0, done.stderr
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_registry_that_is_not_there(shop: Shop) -> None:
    """One clear error before anything changes."""
    before = runs(shop)
    gone = shop.invoke("deploy", "--to", "far", "--image", f"10.77.0.254:9/shop@sha256:{'0' * 64}")
    assert gone.returncode == 1
    assert "cannot fetch" in gone.stderr
    assert "nothing was changed" in gone.stderr
    assert runs(shop) == before
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_registry_that_falls_silent(shop: Shop, registry: RunningRegistry) -> None:
    """The manager has the image, and the other nodes wait for it in vain: when time is up all goes back."""
    before = runs(shop)
    shop.lab.docker(shop.lab.nodes[0], "pull", "--quiet", shop.images["four"])
    registry.process.send_signal(signal.SIGSTOP)
    try:
        with shop.load(2_000, *hosts(shop.lab)) as counted:
            gone = shop.deploy("far", "four")
    finally:
        registry.process.send_signal(signal.SIGCONT)
    assert gone.returncode == 1, gone.stderr
    assert "web did not become healthy" in gone.stderr or "the release step failed" in gone.stderr
    assert_no_failure(counted, 2_000)
    assert runs(shop) == before
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_full_disk_on_one_node(shop: Shop) -> None:
    """The copy that cannot be stored there makes the roll return.

    Or the node leaves the Swarm, whose log it cannot write: that is told, and what it ran is old until it restarts.
    """
    before = runs(shop)
    node = shop.lab.nodes[2]
    fill = node.data / "fill"
    with fill.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    try:
        with shop.load(2_000, *hosts(shop.lab)) as counted:
            done = shop.deploy("far", "four")
    finally:
        fill.unlink()
    assert_no_failure(counted, 2_000)
    if f"{node.name} is down" in done.stderr:
        shop.lab.tell("restart", node)
    assert runs(shop) == (before if done.returncode else "four"), done.stderr
    assert_idle(shop, shop.lab.nodes[0])


@pytest.mark.soak
def test_a_node_that_dies_in_the_middle(shop: Shop) -> None:
    """Its copies start on others, and one version runs in the end. This test is the last: the node stays dead."""
    first, second, dying = shop.lab.nodes
    version = other(shop)
    with shop.begin("deploy", "--to", "far", "--image", shop.images[version]) as deploy:
        until_rolling(shop)
        shop.lab.tell("kill", dying)
        said = deploy.communicate(timeout=400)[0]
    assert "Traceback" not in said
    assert "not back" not in said
    deadline = time.monotonic() + SETTLES_WITHIN
    while True:
        with shop.load(200, f"{first.address}:8080", f"{second.address}:8080") as counted:
            pass
        if len(counted) == 1 and not next(iter(counted)).startswith("failed"):
            break
        assert time.monotonic() < deadline, (counted, said)
        time.sleep(2)
    assert (version in counted) == (deploy.returncode == 0), said
    assert_idle(shop, first)
