"""Destinations, images by digest, and the plan as a difference."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from dockyard.deploy.cluster import Instance
from dockyard.deploy.destination import Destination, read_destinations, select_destination
from dockyard.deploy.plan import Change, Live, Objects, Version, compare_objects
from dockyard.deploy.steps import Record, choose_reference, pin_image, plan_deploy, run_deploy, run_rollback
from dockyard.errors import SettingsError, UsageError
from dockyard.git import Git
from dockyard.image import records
from dockyard.image.records import RunRecord, record_run
from dockyard.process import Command
from dockyard.settings import Settings
from dockyard.tasks import deploy as tasks

DIGEST = "sha256:" + "3f" * 32


def test_a_destination_has_defaults(settings: Settings) -> None:
    """A kind is enough."""
    found = read_destinations(replace(settings, deploy={"here": {"kind": "compose"}}))
    assert found == {"here": Destination("here", "compose")}


def test_every_key_of_a_destination_can_be_written(settings: Settings) -> None:
    """Lists become tuples, tables stay tables."""
    table: dict[str, Any] = {
        "kind": "swarm",
        "host": "ssh://deploy@manager.example",
        "replicas": 5,
        "cpus": "0.5",
        "memory": "256m",
        "environment": {"LEVEL": "info"},
        "secrets": ["token"],
        "domain": "shop.example",
        "order": "stop-first",
        "release": ["flask", "db", "upgrade"],
        "verified": True,
    }
    found = read_destinations(replace(settings, deploy={"far-away": table}))["far-away"]
    assert found == Destination("far-away", **{**table, "secrets": ("token",), "release": ("flask", "db", "upgrade")})


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ({}, "kind is missing"),
        ({"kind": "nomad"}, "kind = 'nomad': must be one of swarm, kubernetes, compose"),
        ({"kind": "swarm", "replica": 2}, "replica: there is no such key"),
        ({"kind": "swarm", "replicas": 0}, "must be a whole number from 1 to 1000"),
        ({"kind": "swarm", "replicas": True}, "must be a whole number"),
        ({"kind": "swarm", "host": "manager.example"}, "must be an address such as ssh://user@host"),
        ({"kind": "swarm", "host": "ssh://a", "context": "b"}, "both a host and a context"),
        ({"kind": "swarm", "environment": {"A B": "c"}}, "A B is no name for an environment variable"),
        ({"kind": "swarm", "environment": {"A": 1}}, "A must be a string"),
        ({"kind": "swarm", "environment": ["A=1"]}, "must be a table of variables"),
        ({"kind": "swarm", "release": "flask db upgrade"}, "must be a list of words of a command"),
        ({"kind": "swarm", "front": "yes"}, "must be true or false"),
        ({"kind": "swarm", "memory": "256 MB"}, "must be an amount of memory such as 256m"),
    ],
)
def test_a_wrong_destination_is_told(settings: Settings, table: dict[str, Any], wrong: str) -> None:
    """File, table, key and value are named."""
    with pytest.raises(SettingsError, match=r"pyproject\.toml: \[tool\.dockyard\.deploy\.far\]") as caught:
        read_destinations(replace(settings, deploy={"far": table}))
    assert wrong in caught.value.message


def test_a_destination_has_a_plain_name(settings: Settings) -> None:
    """It becomes part of names at the destination."""
    with pytest.raises(SettingsError, match="lower case letters"):
        read_destinations(replace(settings, deploy={"Far away": {"kind": "swarm"}}))


def test_the_only_destination_needs_no_name(settings: Settings) -> None:
    """With several, one has to be chosen; none at all is told with what to write."""
    one = replace(settings, deploy={"a": {"kind": "swarm"}})
    assert select_destination(one).name == "a"
    both = replace(settings, deploy={"a": {"kind": "swarm"}, "b": {"kind": "compose"}})
    assert select_destination(both, "b").kind == "compose"
    with pytest.raises(UsageError, match="2 destinations: a, b"):
        select_destination(both)
    with pytest.raises(UsageError, match="no destination 'c'"):
        select_destination(both, "c")
    with pytest.raises(SettingsError, match="names no destination"):
        select_destination(settings)


def test_an_image_is_named_by_its_digest(settings: Settings) -> None:
    """A bare digest is one of the project's repository; a tag is refused."""
    here = replace(settings, registry="registry.example:5000")
    assert pin_image(here, DIGEST) == f"registry.example:5000/shop@{DIGEST}"
    assert pin_image(here, f"other.example/shop@{DIGEST}") == f"other.example/shop@{DIGEST}"
    for moving in ("registry.example/shop:1.2", "latest", "", DIGEST[:-1]):
        with pytest.raises(UsageError, match="only a digest"):
            pin_image(here, moving)


def test_a_plan_is_the_difference() -> None:
    """What is equal is not in it; what comes, goes or differs is, in order."""
    live = {"service old": {"image": "x"}, "service web": {"image": "a", "replicas": "2"}, "network n": {}}
    wanted = {"service web": {"image": "b", "replicas": "2", "cpus": "1"}, "network n": {}, "volume v": {}}
    assert compare_objects(live, wanted) == (
        Change("service old", "", "x", ""),
        Change("service web", "cpus", "", "1"),
        Change("service web", "image", "a", "b"),
        Change("volume v", "", "", "present"),
    )
    assert [one.verb for one in compare_objects(live, wanted)] == ["remove", "change", "change", "create"]
    assert compare_objects(live, live) == ()


@dataclass
class Place:
    """A destination in memory."""

    runs: str = ""
    returned: list[int] = field(default_factory=list)

    def read_live(self) -> Live:
        """Return the one service."""
        versions = (Version(1, self.runs, "2026-11-25T10:00:00Z", "me@here:1", "runs"),) if self.runs else ()
        return Live({"service web": {"image": self.runs}} if self.runs else {}, versions)

    def make_objects(self, image: str) -> Objects:
        """Return the one service."""
        return {"service web": {"image": image}}

    def apply(self, image: str, changes: tuple[Change, ...], /) -> int:
        """Run it."""
        assert changes
        self.runs = image
        return 2

    def rollback(self, number: int) -> str:
        """Remember what was asked."""
        self.returned.append(number)
        return "the image before"

    def status(self) -> tuple[Instance, ...]:
        """Return the one copy."""
        return (Instance("web", "web.1", self.runs, "Running"),)

    def logs(self, service: str, *, follow: bool, tail: int | None) -> Command:
        """Return a command that nobody runs."""
        return Command(("true", service))


@pytest.fixture
def kept() -> list[RunRecord]:
    """Return the run records of a test."""
    return []


@pytest.fixture
def record(kept: list[RunRecord], monkeypatch: pytest.MonkeyPatch) -> Record:
    """Return what keeps a record in memory."""
    monkeypatch.setattr(records, "read_git", lambda _root: None)
    return partial(record_run, keep=lambda _settings, one: kept.append(one))


def test_a_deploy_does_what_its_plan_says(settings: Settings, record: Record, kept: list[RunRecord]) -> None:
    """Nothing where nothing differs; what ran before is known."""
    here = replace(settings, registry="registry.example", deploy={"here": {"kind": "compose"}})
    place = Place()
    planned = plan_deploy(here, "", DIGEST, lambda _settings, _destination: place)
    assert [one.verb for one in planned.changes] == ["create"]
    assert place.runs == ""
    assert run_deploy(planned, record) == 2
    again = plan_deploy(here, "here", DIGEST, lambda _settings, _destination: place)
    assert (again.changes, again.previous) == ((), f"registry.example/shop@{DIGEST}")
    assert run_deploy(again, record) == 0
    assert run_rollback(here, "", 3, lambda _settings, _destination: place, record) == "the image before"
    assert place.returned == [3]
    assert [one["kind"] for one in kept] == ["deploy", "deploy"]
    assert kept[0]["deploy"] == {
        "destination": "here", "kind": "compose", "action": "deploy", "previous": None, "changes": 1, "number": 2,
    }  # fmt: skip
    assert kept[1]["deploy"]["action"] == "rollback"


def test_a_plan_is_shown_and_printed_for_machines(
    settings: Settings, capsys: pytest.CaptureFixture[str], said: list[str]
) -> None:
    """Digests are short for people, whole for machines."""
    here = replace(settings, registry="registry.example", deploy={"here": {"kind": "compose"}})
    planned = plan_deploy(here, "", DIGEST, lambda _settings, _destination: Place())
    tasks.show(planned)
    shown = capsys.readouterr().out
    assert "create" in shown
    assert DIGEST not in shown
    assert DIGEST[:19] in shown
    assert tasks.as_json(planned)["changes"] == [
        {
            "verb": "create", "thing": "service web", "key": "", "before": "",
            "after": f"registry.example/shop@{DIGEST}",
        }
    ]  # fmt: skip
    tasks.show(replace(planned, changes=()))
    assert "runs already" in said[-1]


def test_without_a_name_the_commits_own_image_is_meant(settings: Settings) -> None:
    """By its commit, which has one image, if it is clean and there is a registry."""
    here = replace(settings, registry="registry.example")
    git = Git("0123456789ab" + "c" * 28, 0)
    assert choose_reference(here, git) == "registry.example/shop:0123456789ab"
    for project, commit in ((settings, git), (here, None), (here, replace(git, dirty=True))):
        with pytest.raises(UsageError, match="no clean commit"):
            choose_reference(project, commit)
