"""Destinations, images by digest, and the plan as a difference."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy.cluster import Instance, LostError
from dockyard.deploy.destination import Destination, read_destinations, select_destination
from dockyard.deploy.docker import Docker, push_front, read_document
from dockyard.deploy.plan import Change, Live, Objects, Version, compare_objects
from dockyard.deploy.stackfile import StackFile
from dockyard.deploy.steps import (
    Evidence,
    Record,
    choose_reference,
    is_signed,
    pin_image,
    plan_deploy,
    require_evidence,
    run_deploy,
    run_rollback,
)
from dockyard.deploy.versions import Store, is_made
from dockyard.engine.client import Engine
from dockyard.errors import CommandError, DockyardError, SettingsError, UsageError
from dockyard.git import Git
from dockyard.image.record_types import RunRecord
from dockyard.image.records import record_run
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.tasks import deploy as tasks
from tests.conftest import replace_everywhere

DIGEST = "sha256:" + "3f" * 32


def test_a_destination_has_defaults(settings: Settings) -> None:
    """A kind is enough."""
    found = read_destinations(settings._replace(deploy={"here": {"kind": "compose"}}))
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
    found = read_destinations(settings._replace(deploy={"far-away": table}))["far-away"]
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
        ({"kind": "swarm", "environment": {"A B": "c"}}, "A B: is no name for an environment variable"),
        ({"kind": "swarm", "environment": {"A": 1}}, "A: must be a string"),
        ({"kind": "swarm", "environment": ["A=1"]}, "must be a table"),
        ({"kind": "swarm", "release": "flask db upgrade"}, "must be a list"),
        ({"kind": "swarm", "front": "yes"}, "must be true or false"),
        ({"kind": "swarm", "memory": "256 MB"}, "must be an amount of memory such as 256m"),
    ],
)
def test_a_wrong_destination_is_told(settings: Settings, table: dict[str, Any], wrong: str) -> None:
    """File, table, key and value are named."""
    with pytest.raises(SettingsError, match=r"pyproject\.toml: \[tool\.dockyard\.deploy\.far\]") as caught:
        read_destinations(settings._replace(deploy={"far": table}))
    assert wrong in caught.value.message


def test_a_destination_has_a_plain_name(settings: Settings) -> None:
    """It becomes part of names at the destination."""
    with pytest.raises(SettingsError, match="lower case letters"):
        read_destinations(settings._replace(deploy={"Far away": {"kind": "swarm"}}))


def test_the_only_destination_needs_no_name(settings: Settings) -> None:
    """With several, one has to be chosen; none at all is told with what to write."""
    one = settings._replace(deploy={"a": {"kind": "swarm"}})
    assert select_destination(one).name == "a"
    both = settings._replace(deploy={"a": {"kind": "swarm"}, "b": {"kind": "compose"}})
    assert select_destination(both, "b").kind == "compose"
    with pytest.raises(UsageError, match="2 destinations: a, b"):
        select_destination(both)
    with pytest.raises(UsageError, match="no destination 'c'"):
        select_destination(both, "c")
    with pytest.raises(SettingsError, match="names no destination"):
        select_destination(settings)


def test_an_image_is_named_by_its_digest(settings: Settings) -> None:
    """A bare digest is one of the project's repository; a tag is refused."""
    here = settings._replace(registry="registry.example:5000")
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

    def apply(self, image: str) -> int:
        """Run it."""
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
    replace_everywhere(monkeypatch, "read_git", lambda _root: None)
    return partial(record_run, keep=lambda _settings, one: kept.append(one))


def test_a_deploy_does_what_its_plan_says(settings: Settings, record: Record, kept: list[RunRecord]) -> None:
    """Nothing where nothing differs; what ran before is known."""
    here = settings._replace(registry="registry.example", deploy={"here": {"kind": "compose"}})
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
    here = settings._replace(registry="registry.example", deploy={"here": {"kind": "compose"}})
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
    here = settings._replace(registry="registry.example")
    git = Git("0123456789ab" + "c" * 28, 0)
    assert choose_reference(here, git) == "registry.example/shop:0123456789ab"
    for project, commit in ((settings, git), (here, None), (here, replace(git, dirty=True))):
        with pytest.raises(UsageError, match="no clean commit"):
            choose_reference(project, commit)


def test_a_destination_may_ask_for_evidence(settings: Settings) -> None:
    """An image without provenance, or without a signature by the key that is named, is refused."""
    (settings.root / "shop.pub").write_text("PUBLIC KEY")
    pinned = f"registry.example/shop@{DIGEST}"
    place = Destination("far", "swarm", verified=True, key="shop.pub")
    good = Evidence(lambda _settings, _image: True, lambda _settings, key, _image: key == "PUBLIC KEY")
    require_evidence(settings, place, pinned, good)
    with pytest.raises(DockyardError, match="far takes no image without provenance"):
        require_evidence(settings, place, pinned, replace(good, has_provenance=lambda _settings, _image: False))
    with pytest.raises(DockyardError, match=r"takes no image without a signature by shop\.pub"):
        require_evidence(settings, place, pinned, replace(good, is_signed=lambda _settings, _key, _image: False))
    require_evidence(settings, Destination("far", "swarm"), pinned, Evidence(_never, _never))
    with pytest.raises(SettingsError, match=r"the public key .*absent\.pub cannot be read"):
        require_evidence(settings, Destination("far", "swarm", key="absent.pub"), pinned, good)


def _never(*_arguments: object) -> bool:
    raise AssertionError("nobody asked for it")


def test_a_signature_needs_cosign(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing is taken for signed."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DockyardError, match="cannot be checked: cosign is not installed"):
        is_signed(settings, "PUBLIC KEY", f"registry.example/shop@{DIGEST}")


def failing(words: str) -> Docker:
    """Return a docker command that fails with some words."""
    return Docker(Engine("host", "28.0.0", True), lambda _command, **_options: Completed(1, "", words, 0.1))


def test_what_docker_says_is_told(settings: Settings, tmp_path: Path) -> None:
    """Its last line, and which command it was; Compose's own words of its files."""
    with pytest.raises(DockyardError, match="`docker service ls` at the destination failed: context canceled"):
        failing("warning\ncontext canceled").read("service", "ls", "--quiet")
    with pytest.raises(LostError, match="the destination does not answer: error during connect: no route"):
        failing("error during connect: no route\n").read("service", "ls")
    # As Docker's client says it of ssh that ends at the start, and in the middle.
    command = "command [ssh -o ConnectTimeout=30 -- far docker system dial-stdio] has exited with"
    late = f"{command} signal: killed, please make sure the URL is valid: stderr="
    with pytest.raises(LostError, match=r"the destination does not answer: command .ssh .*signal: killed"):
        failing(late).attempt("service", "ls")
    refused = (
        f'error during connect: Get "http://x": {command} exit status 255: stderr=ssh: far: Connection refused\n\n'
    )

    def silent(command: Command, **_options: object) -> Completed:
        raise CommandError(f"took longer than {command.timeout} s")

    with pytest.raises(LostError, match="far does not answer within 60 s"):
        Docker(Engine("host", "28.0.0", True), silent, "far").read("service", "ls")
    with pytest.raises(CommandError, match=r"took longer than 600\.0 s"):
        Docker(Engine("host", "28.0.0", True), silent, "far").attempt("pull", timeout=600.0)
    assert Docker(Engine("host", "28.0.0", True), silent, "far").read_log("x", "service", "logs") == ""
    with pytest.raises(LostError, match=r"^the destination does not answer: ssh: far: Connection refused$"):
        failing(refused).attempt("service", "ls")
    for name in ("compose.yaml", "compose.production.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    with pytest.raises(SettingsError, match=r"compose.production.yaml: services.web must be a mapping"):
        read_document(settings, Destination("far", "swarm"), failing("services.web must be a mapping"))


def test_what_is_built_elsewhere_has_no_image(settings: Settings, tmp_path: Path) -> None:
    """A service without a name runs the project's image where it is built of its Dockerfile, and no other."""
    for name in ("compose.yaml", "compose.production.yaml"):
        (tmp_path / name).write_text("services: {}\n")

    def document(*services: dict[str, Any]) -> Docker:
        said = json.dumps({"services": {f"s{number}": body for number, body in enumerate(services)}})
        return Docker(Engine("host", "28.0.0", True), lambda _command, **_options: Completed(0, said, "", 0.1))

    own, other = ({"build": {"context": str(settings.root / folder)}} for folder in ("", "proxy"))
    found = read_document(settings, Destination("far", "swarm"), document(own, {"image": "nginx:1"}))["services"]
    assert [body["image"] for body in found.values()] == ["shop", "nginx:1"]
    with pytest.raises(SettingsError, match=r"the service s1 is built from .*/proxy/Dockerfile, and no registry"):
        read_document(settings, Destination("far", "swarm"), document(own, other))


def test_a_config_that_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    """A Swarm is handed what is in it."""
    for name in ("compose.yaml", "compose.production.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    (tmp_path / "my.conf").write_text("a = 1")

    def document(**configs: dict[str, str]) -> Docker:
        said = json.dumps({"services": {}, "configs": configs})
        return Docker(Engine("host", "28.0.0", True), lambda _command, **_options: Completed(0, said, "", 0.1))

    known = document(file={"file": str(tmp_path / "my.conf")}, text={"content": "b"})
    assert read_document(settings, Destination("far", "swarm"), known)["configs"] == {
        "file": {"content": "a = 1"},
        "text": {"content": "b"},
    }
    absent = document(gone={"file": str(tmp_path / "gone.conf")})
    assert read_document(settings, Destination("one", "compose"), absent)["configs"]["gone"]
    with pytest.raises(SettingsError, match=r"the config gone of the Compose files cannot be read: .*gone\.conf"):
        read_document(settings, Destination("far", "swarm"), absent)


def test_a_front_goes_to_the_registry(settings: Settings) -> None:
    """There must be one, and it must take the image; an official image is where it is."""
    name = "dockyard-service/haproxy:3.0.11"
    assert push_front(settings, failing(""), "haproxy@sha256:1") == "haproxy@sha256:1"
    with pytest.raises(SettingsError, match="registry is empty"):
        push_front(settings, failing(""), name)
    here = settings._replace(registry="registry.example")

    def refuses(command: Command, **_options: object) -> Completed:
        return Completed(1 if "push" in command.argv else 0, "", "denied: no", 0.1)

    with pytest.raises(DockyardError, match=r"registry.example/shop:front-haproxy-3.0.11: denied: no"):
        push_front(here, Docker(Engine("host", "28.0.0", True), refuses), name)


def test_a_version_that_cannot_be_kept_is_told() -> None:
    """Somebody else took its number, or the destination refuses."""

    class Taken:
        """A shelf on which every name is taken by what it does not list."""

        def create(self, name: str, content: str, labels: Mapping[str, str]) -> bool:
            """Refuse."""
            return False

        def remove(self, name: str) -> None:
            """Do nothing."""

        def read_all(self) -> dict[str, dict[str, str]]:
            """List nothing."""
            return {}

    with pytest.raises(DockyardError, match="somebody else has made version 1 at this moment"):
        Store(Taken(), "shop", 30).add_version(StackFile({"services": {}}), "image")
    with pytest.raises(DockyardError, match="the destination refuses to keep v1: disk full"):
        is_made("v1", Completed(1, "", "disk full", 0.1), "already exists")
