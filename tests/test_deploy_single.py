"""A deploy to one host, against a stand-in: two sets side by side, the turn of the front, and how failures end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy.cluster import LostError, UnhealthyError
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import Docker
from dockyard.deploy.plan import compare_objects
from dockyard.deploy.single import Host
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from tests.host_stand_in import HostStandIn

GOOD, BETTER, BAD = (f"registry.example/shop@sha256:{digit * 64}" for digit in "123")
WEB: dict[str, Any] = {"image": "shop:production", "ports": [{"target": 8000}], "environment": {"LEVEL": "a$$b"}}


@pytest.fixture
def engine() -> HostStandIn:
    """Return an engine with nothing on it."""
    return HostStandIn(compose={"services": {"web": WEB, "db": {"image": "postgres:17"}}, "networks": {"default": {}}})


@pytest.fixture
def host(settings: Settings, engine: HostStandIn, tmp_path: Path) -> Host:
    """Return the destination whose engine that is."""
    for name in ("compose.yaml", "compose.production.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    here = settings._replace(base="registry")
    place = Destination("one", "compose", timeout=30, replicas=2)
    return Host(here, place, Docker(engine.engine, engine.run, "one"), engine.sleep, engine.clock)


def test_sets_stand_side_by_side(host: Host, engine: HostStandIn) -> None:
    """The front turns when the new set is healthy; only then the old one ends, some seconds later."""
    assert host.apply(GOOD) == 1
    assert engine.serving() == [GOOD, GOOD]
    assert engine.trail == ["up db", "up web-blue", "up front", "point", "up front"]
    engine.trail.clear()
    before = engine.now
    assert host.apply(BETTER) == 2
    assert engine.serving() == [BETTER, BETTER]
    assert engine.trail == [
        "up db", "up web-green", "point", "up front", "end shop-web-blue-1", "end shop-web-blue-2",
    ]  # fmt: skip
    assert engine.now - before >= host.destination.drain


def test_a_plan_is_the_difference(host: Host, engine: HostStandIn) -> None:
    """All is made at first, nothing afterwards; another image is one change."""
    first = compare_objects(host.read_live().objects, host.make_objects(GOOD))
    assert [(one.verb, one.thing) for one in first] == [
        ("create", "service db"), ("create", "service front"), ("create", "service web"),
    ]  # fmt: skip
    host.apply(GOOD)
    assert compare_objects(host.read_live().objects, host.make_objects(GOOD)) == ()
    (change,) = compare_objects(host.read_live().objects, host.make_objects(BETTER))
    assert (change.key, change.before, change.after) == ("image", GOOD, BETTER)
    other = replace(host, destination=replace(host.destination, domain="shop.example"))
    (change,) = compare_objects(other.read_live().objects, other.make_objects(GOOD))
    assert (change.thing, change.key) == ("service front", "config")
    other.apply(GOOD)
    assert "shop.example" in engine.sent_to
    assert compare_objects(other.read_live().objects, other.make_objects(GOOD)) == ()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"Status": "restarting", "ExitCode": 1, "Health": None}, "web ended with exit code 1"),
        ({"Health": {"Status": "unhealthy"}}, "web is unhealthy"),
        ({"Health": {"Status": "starting"}}, "web is not ready within 30 s"),
        ({"Status": "created"}, "web is not ready within 30 s"),
    ],
)
def test_a_bad_image_is_never_sent_to(
    host: Host, engine: HostStandIn, said: list[str], fault: dict[str, Any], words: str
) -> None:
    """Crashing, ill or never ready: its last lines are told, it goes, and what served before was not touched."""
    host.apply(GOOD)
    engine.trail.clear()
    engine.faults[BAD] = fault
    with pytest.raises(UnhealthyError, match=words):
        host.apply(BAD)
    assert "web | OSError: no shelves" in said
    assert "point" not in engine.trail
    assert engine.serving() == [GOOD, GOOD]
    assert not any("green" in name for name in engine.boxes)
    assert [(one.number, one.outcome) for one in host.read_live().versions] == [(2, "failed"), (1, "runs")]
    with host.hold():
        pass  # nobody else does


def test_no_copy_at_all_is_late(host: Host, engine: HostStandIn) -> None:
    """Compose may have started fewer than were asked for."""
    engine.idle = True
    with pytest.raises(UnhealthyError, match="db did not start within 30 s"):
        host.apply(GOOD)


def test_a_failing_release_step_starts_nothing(host: Host, engine: HostStandIn, said: list[str]) -> None:
    """It runs in the new image, before any copy of it."""
    host.apply(GOOD)
    engine.release = 3
    engine.trail.clear()
    place = replace(host.destination, release=("flask", "db", "upgrade"))
    with pytest.raises(UnhealthyError, match="the release step failed with exit code 3"):
        replace(host, destination=place).apply(BETTER)
    assert engine.trail == ["up db", "release"]
    assert "release | OperationalError: no table" in said
    assert engine.serving() == [GOOD, GOOD]


def test_what_must_not_run_twice_stops_first(host: Host, engine: HostStandIn) -> None:
    """And is brought back where the new one fails."""
    once = replace(host, destination=replace(host.destination, order="stop-first"))
    once.apply(GOOD)
    engine.trail.clear()
    engine.faults[BAD] = {"Health": {"Status": "unhealthy"}}
    with pytest.raises(UnhealthyError):
        once.apply(BAD)
    assert engine.trail == [
        "up db", "end shop-web-blue-1", "end shop-web-blue-2", "up web-green", "up web-blue",
        "end shop-web-green-1", "end shop-web-green-2",
    ]  # fmt: skip
    assert engine.serving() == [GOOD, GOOD]


@pytest.mark.parametrize("where", ["web-green", "kill"])
def test_an_interrupt_leaves_what_served(host: Host, engine: HostStandIn, where: str) -> None:
    """Before the front turns and while it does."""
    host.apply(GOOD)
    engine.interrupt_at = where
    with pytest.raises(KeyboardInterrupt):
        host.apply(BETTER)
    assert engine.serving() == [GOOD, GOOD]
    assert not any("green" in name for name in engine.boxes)


def test_an_interrupt_while_requests_drain(host: Host, engine: HostStandIn) -> None:
    """The front turns back to the old set, which goes on."""
    host.apply(GOOD)

    def interrupted(seconds: float) -> None:
        if seconds == host.destination.drain:
            raise KeyboardInterrupt
        engine.sleep(seconds)

    with pytest.raises(KeyboardInterrupt):
        replace(host, sleep=interrupted).apply(BETTER)
    assert engine.serving() == [GOOD, GOOD]
    assert not any("green" in name for name in engine.boxes)
    assert [(one.number, one.outcome) for one in host.read_live().versions] == [(2, "failed"), (1, "runs")]


def test_the_next_deploy_removes_what_a_cut_one_left(host: Host, engine: HostStandIn) -> None:
    """What serves goes on meanwhile."""
    host.apply(GOOD)
    engine.cut_at = "kill"
    with pytest.raises(LostError, match=r"^one does not answer: error during connect: no route to host$") as caught:
        host.apply(BETTER)
    assert "the next deploy removes what is left" in caught.value.hint
    engine.cut, engine.cut_at = False, ""
    engine.boxes["shop_dockyard-lock"]["Config"]["Labels"]["io.dockyard.at"] = "0"
    assert host.apply(BETTER) == 3
    assert engine.serving() == [BETTER, BETTER]
    assert len([name for name in engine.boxes if "web" in name]) == 2


def test_what_compose_refuses_is_told(host: Host, engine: HostStandIn) -> None:
    """In its own words."""
    engine.broken = "bind: address already in use"
    with pytest.raises(UnhealthyError, match="Compose could not start shop: bind: address already in use"):
        host.apply(GOOD)


def test_a_secret_that_is_not_there(host: Host, engine: HostStandIn) -> None:
    """The file is named, and where it belongs."""
    engine.broken = 'invalid mount config for type "bind": bind source path does not exist: /etc/shop/token'
    with pytest.raises(DockyardError, match=r"^one has no file /etc/shop/token, which a service mounts$") as caught:
        host.apply(GOOD)
    assert "`folder` of the destination" in caught.value.hint


def test_two_deploys_at_once(host: Host, engine: HostStandIn) -> None:
    """A name that only one container can have is the lock."""
    with host.store.lock(), pytest.raises(DockyardError, match="has been deploying shop"):
        host.apply(GOOD)
    assert engine.trail == []


def test_a_rollback_brings_the_set_before(host: Host, engine: HostStandIn) -> None:
    """From what the host remembers, with its own number of copies."""
    host.apply(GOOD)
    host.apply(BETTER)
    assert host.rollback(0) == GOOD
    assert engine.serving() == [GOOD, GOOD]
    with pytest.raises(UsageError, match="remembers no version 8"):
        host.rollback(8)


def test_without_a_front_the_old_set_ends_too(host: Host, engine: HostStandIn) -> None:
    """A worker alone: the new set runs, and of two sets that a dead deploy left, the older one counts."""
    engine.compose["services"] = {"worker": {"image": "shop:production"}}
    host.apply(GOOD)
    assert host.apply(BETTER) == 2
    assert [box["Config"]["Image"] for name, box in engine.boxes.items() if "worker" in name] == [BETTER, BETTER]
    old = {name: box for name, box in engine.boxes.items() if "worker" in name}
    engine.faults[BAD] = {"Health": {"Status": "unhealthy"}}
    with pytest.raises(UnhealthyError):
        host.apply(BAD)
    assert {name: box for name, box in engine.boxes.items() if "worker" in name} == old
    engine.interrupt_at = "stop"
    with pytest.raises(KeyboardInterrupt):
        host.apply(GOOD)
    assert {one.image: one.said for one in host.status()} == {BETTER: "", GOOD: "gets no requests"}
    assert host.apply(GOOD) == 5
    assert [box["Config"]["Image"] for name, box in engine.boxes.items() if "worker" in name] == [GOOD, GOOD]


def test_a_front_that_has_ended_is_made_again(host: Host, engine: HostStandIn) -> None:
    """It has a configuration still, and nothing that runs: the plan starts it."""
    host.apply(GOOD)
    engine.boxes["shop-front-1"]["State"]["Status"] = "exited"
    (change,) = compare_objects(host.read_live().objects, host.make_objects(GOOD))
    assert (change.verb, change.thing) == ("create", "service front")


def test_what_runs_is_asked_once(host: Host, engine: HostStandIn) -> None:
    """By ssh each question is a login: containers, the front's file, and what is remembered with the lock."""
    host.apply(GOOD)
    asked: list[tuple[str, ...]] = []
    docker = host.docker

    def run(command: Command, *, check: bool = True) -> Completed:
        asked.append(command.argv[1:3])
        return docker.run(command, check=check)

    replace(host, docker=replace(docker, run=run)).read_live()
    kinds = [" ".join(words) for words in asked]
    assert kinds == [
        "container ls", "container inspect", "container cp", "container ls", "container inspect",
    ]  # fmt: skip


def test_status_and_logs(host: Host, engine: HostStandIn) -> None:
    """A set that does not serve is named so; by its plain name a service is found in either colour."""
    host.apply(GOOD)
    engine.boxes["shop-web-green-1"] = {
        **engine.boxes["shop-web-blue-1"],
        "Id": "x",
        "Name": "/shop-web-green-1",
        "Config": {
            "Image": BETTER,
            "Labels": {
                **engine.boxes["shop-web-blue-1"]["Config"]["Labels"],
                "com.docker.compose.service": "web-green",
            },
        },
    }
    said = {one.name: one.said for one in host.status()}
    assert said["shop-web-green-1"] == "gets no requests"
    assert said["shop-web-blue-1"] == ""
    assert host.logs("", follow=False, tail=3).argv[-4:] == ("--tail", "3", "web-blue", "web-green")
    with pytest.raises(UsageError, match="no service 'wbe'"):
        host.logs("wbe", follow=True, tail=None)


def test_secrets_lie_in_the_folder_of_the_host(host: Host, engine: HostStandIn) -> None:
    """Where the settings name one; each is a file there."""
    from dockyard.deploy import docker, hostfile

    engine.compose["secrets"] = {"token": {"file": "/home/me/token"}}
    place = replace(host.destination, folder="/etc/shop", secrets=("mail",))
    goal = docker.make_goal(host.settings, place, host.docker, GOOD)
    assert hostfile.make_host(goal).document["secrets"] == {
        "token": {"file": "/etc/shop/token"},
        "mail": {"file": "/etc/shop/mail"},
    }
    plain = docker.make_goal(host.settings, host.destination, host.docker, GOOD)
    assert hostfile.make_host(plain).document["secrets"] == {"token": {"file": "/home/me/token"}}
