"""A deploy to a Swarm, against a stand-in: what is asked for in what order, and how each failure ends."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy.cluster import LostError, UnhealthyError
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import Docker
from dockyard.deploy.plan import compare_objects
from dockyard.deploy.swarm import Swarm
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Command
from dockyard.settings import Settings
from tests.swarm_stand_in import SwarmStandIn

GOOD, BETTER, BAD = (f"registry.example/shop@sha256:{digit * 64}" for digit in "123")
WEB: dict[str, Any] = {"image": "shop:production", "ports": [{"target": 8000}], "command": None, "entrypoint": None}


@pytest.fixture
def manager() -> SwarmStandIn:
    """Return a manager of a Swarm with nothing on it."""
    return SwarmStandIn(compose={"services": {"web": WEB}, "networks": {"default": {}}})


@pytest.fixture
def swarm(settings: Settings, manager: SwarmStandIn, tmp_path: Path) -> Swarm:
    """Return the destination that the manager is."""
    for name in ("compose.yaml", "compose.production.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    place = Destination("far", "swarm", front=False, timeout=30)
    return Swarm(settings, place, Docker(manager.engine, manager.run, "far"), manager.sleep, manager.clock)


def test_a_deploy_is_the_difference(swarm: Swarm, manager: SwarmStandIn) -> None:
    """First all is made; then nothing is left to do; another image is one change, and the version is remembered."""
    first = compare_objects(swarm.read_live().objects, swarm.make_objects(GOOD))
    assert [(one.verb, one.thing) for one in first] == [("create", "service web")]
    assert swarm.apply(GOOD) == 1
    assert manager.image("shop_web") == GOOD
    assert compare_objects(swarm.read_live().objects, swarm.make_objects(GOOD)) == ()
    (change,) = compare_objects(swarm.read_live().objects, swarm.make_objects(BETTER))
    assert (change.thing, change.key, change.before, change.after) == ("service web", "image", GOOD, BETTER)
    assert swarm.apply(BETTER) == 2
    live = swarm.read_live()
    assert [(one.number, one.image, one.outcome) for one in live.versions] == [
        (2, BETTER, "runs"),
        (1, GOOD, "deployed"),
    ]
    with swarm.hold():
        pass  # nobody else does


def test_the_release_step_runs_once_and_first(swarm: Swarm, manager: SwarmStandIn) -> None:
    """It is a job of its own that is gone afterwards; what it needs of others is up before."""
    manager.compose["services"]["db"] = {"image": "postgres:17"}
    place = replace(swarm.destination, release=("flask", "db", "upgrade"))
    replace(swarm, destination=place).apply(GOOD)
    deploys = ["--prune" in words for words in manager.calls if words[:2] == ("stack", "deploy")]
    assert deploys == [False, False, True]
    assert [task["Name"] for task in manager.tasks.values()] == [
        "shop_db.1", "shop_release.1", "shop_web.1", "shop_db.1",
    ]  # fmt: skip
    assert "shop_release" not in manager.services


@pytest.mark.parametrize("fault", ["task: non-zero exit (1)", "No such image: shop", "ill"])
def test_a_bad_image_returns_by_itself(swarm: Swarm, manager: SwarmStandIn, said: list[str], fault: str) -> None:
    """The reason and the last lines are told, the old image runs, and nobody holds the lock."""
    swarm.apply(GOOD)
    manager.faults[BAD] = fault
    with pytest.raises(UnhealthyError, match="web did not become healthy") as caught:
        swarm.apply(BAD)
    assert ("unhealthy" if fault == "ill" else fault) in caught.value.message
    assert any("OSError: no shelves" in line for line in said)
    assert manager.image("shop_web") == GOOD
    live = swarm.read_live()
    assert [(one.number, one.outcome) for one in live.versions] == [(2, "failed"), (1, "runs")]
    with swarm.hold():
        pass  # nobody else does


def test_what_takes_too_long_returns_too(swarm: Swarm, manager: SwarmStandIn) -> None:
    """Also where Swarm itself never gives up; and where even that does not come back, it is told."""
    swarm.apply(GOOD)
    manager.stuck = {BETTER}
    with pytest.raises(UnhealthyError, match="web did not become healthy within 30 s"):
        swarm.apply(BETTER)
    assert manager.image("shop_web") == GOOD
    manager.stuck = {BETTER, GOOD}
    with pytest.raises(UnhealthyError, match="what ran before is not back within 30 s"):
        swarm.apply(BETTER)
    with swarm.hold():
        pass  # nobody else does


def test_a_first_deploy_that_fails_leaves_nothing(swarm: Swarm, manager: SwarmStandIn) -> None:
    """There is nothing to return to."""
    manager.faults["release"] = "task: non-zero exit (3)"
    with pytest.raises(UnhealthyError, match=r"the release step failed: task: non-zero exit \(3\)"):
        replace(swarm, destination=replace(swarm.destination, release=("migrate",))).apply(GOOD)
    assert manager.services == {}


def test_a_failing_release_step_changes_no_service(swarm: Swarm, manager: SwarmStandIn) -> None:
    """The old image is never touched."""
    swarm.apply(GOOD)
    manager.faults["release"] = "task: non-zero exit (3)"
    with pytest.raises(UnhealthyError, match="the release step failed"):
        replace(swarm, destination=replace(swarm.destination, release=("migrate",))).apply(BETTER)
    assert BETTER not in {task["Image"] for task in manager.tasks.values() if task["Name"] == "shop_web.1"}


def test_an_interrupt_returns_too(swarm: Swarm, manager: SwarmStandIn) -> None:
    """Ctrl-C in the middle of a roll leaves what ran before, and no lock."""
    swarm.apply(GOOD)

    def interrupted(command: Command, *, check: bool = True) -> Any:
        done = manager.run(command, check=check)
        if "deploy" in command.argv and not any("interrupt" in name for name in manager.secrets):
            manager.secrets.append("interrupt")
            raise KeyboardInterrupt
        return done

    with pytest.raises(KeyboardInterrupt):
        replace(swarm, docker=Docker(manager.engine, interrupted)).apply(BETTER)
    assert manager.image("shop_web") == GOOD
    with swarm.hold():
        pass  # nobody else does


def test_a_cut_connection_is_told(swarm: Swarm, manager: SwarmStandIn) -> None:
    """Swarm goes on by itself; afterwards the lock of a process that has ended keeps nobody out."""
    swarm.apply(GOOD)
    manager.cut_after = "deploy"
    with pytest.raises(LostError, match="far does not answer: Cannot connect") as caught:
        swarm.apply(BETTER)
    assert "goes on by itself" in caught.value.hint
    manager.cut, manager.cut_after = False, ""
    (lock,) = (one for name, one in manager.configs.items() if name == "shop_dockyard-lock")
    lock["Labels"]["io.dockyard.at"] = "0"
    assert swarm.apply(GOOD) == 3


def test_two_deploys_at_once(swarm: Swarm, manager: SwarmStandIn) -> None:
    """The second is told who is at it, and nothing is changed."""
    with (
        swarm.store.lock(),
        pytest.raises(DockyardError, match="has been deploying shop for 0 s") as caught,
    ):
        swarm.apply(GOOD)
    assert "remove shop_dockyard-lock there" in caught.value.hint
    assert manager.services == {}


def test_what_is_missing_is_told_before_anything_changes(swarm: Swarm, manager: SwarmStandIn) -> None:
    """A secret, an image that cannot be fetched, an engine that is no manager."""
    manager.compose["secrets"] = {"token": {"name": "shop_token", "file": "x"}}
    with pytest.raises(DockyardError, match="far has no secret shop_token") as caught:
        swarm.apply(GOOD)
    assert "docker secret create shop_token FILE" in caught.value.hint
    with pytest.raises(DockyardError, match="cannot fetch"):
        swarm.apply(f"registry.example/absent@sha256:{'4' * 64}")
    assert manager.verbs("stack deploy") == []
    manager.manager = False
    with pytest.raises(DockyardError, match="not a swarm manager"):
        swarm.read_live()
    manager.cut = True
    with pytest.raises(DockyardError, match="far does not answer: Cannot connect"):
        swarm.status()


def test_a_rollback_goes_back_one_version_or_to_any(swarm: Swarm, manager: SwarmStandIn) -> None:
    """What failed is no version to return to; a rollback is a version of its own."""
    for image in (GOOD, BETTER):
        swarm.apply(image)
    assert swarm.rollback(0) == GOOD
    assert manager.image("shop_web") == GOOD
    assert swarm.read_live().versions[0].number == 3
    assert swarm.rollback(2) == BETTER
    with pytest.raises(UsageError, match="remembers no version 9"):
        swarm.rollback(9)


def test_a_copy_on_each_node_that_is_up(swarm: Swarm, manager: SwarmStandIn, said: list[str]) -> None:
    """A node that is down keeps its place in Swarm's count, and nobody waits for it."""
    manager.compose["services"]["agent"] = {**WEB, "ports": [], "deploy": {"mode": "global"}}
    assert swarm.apply(GOOD) == 1
    assert manager.services["shop_agent"]["Spec"]["Mode"] == {"Global": {}}
    assert [line for line in said if "is down" in line] == [
        "n2 is down: where it is only cut off, what it ran before serves on until its engine restarts"
    ]
    assert swarm.read_live().objects["service agent"]["replicas"] == "global"


def test_status_and_logs(swarm: Swarm) -> None:
    """Every copy is shown; of a service that is not there, those that are."""
    swarm.apply(GOOD)
    (copy,) = swarm.status()
    assert (copy.service, copy.name, copy.state, copy.node, copy.image) == ("web", "web.1", "Running", "n1", GOOD)
    assert swarm.logs("", follow=True, tail=5).argv == (
        "docker", "service", "logs", "--follow", "--tail", "5", "shop_web",
    )  # fmt: skip
    with pytest.raises(UsageError, match="no service 'wbe'") as caught:
        swarm.logs("wbe", follow=False, tail=None)
    assert caught.value.hint == "it has: web"


def test_a_version_holds_the_whole_stack(swarm: Swarm, manager: SwarmStandIn) -> None:
    """The files beside a stack file too, so that a rollback needs nothing of the project."""
    swarm.apply(GOOD)
    stack = swarm.store.read_version(1)
    assert stack.services["web"]["image"] == GOOD
    assert list(stack.files) == []
    with pytest.raises(DockyardError, match="version 7 is not remembered"):
        swarm.store.read_version(7)
    assert json.loads(json.dumps(stack.document)) == stack.document
