"""Pushing what was built: the names, the order of what is asked, and what is recorded."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.git import Git
from dockyard.image.build import Built, Request, choose_references
from dockyard.image.names import Variant
from dockyard.image.records import record_run
from dockyard.registry import push as shipping
from dockyard.registry.push import PushActions, Pushed
from dockyard.settings import Settings
from tests.conftest import replace_everywhere

SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json"
GIT = Git("0123456789abcdef0123456789abcdef01234567", 1_700_000_000, "main", "v1.2.3")
DIRTY = Git(GIT.commit, GIT.time, "main", "v1.2.3", dirty=True)
ENGINE = Engine("host", "28.5.2", True)
PRODUCTION = Variant("production", "3.13")
TEST = Variant("test", "3.12")
DIGEST = "sha256:" + "a" * 64


class Harbour:
    """Everything around a push, faked: it remembers what was asked in which order, and what was recorded."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.ending: BaseException | None = None
        self.until: int | None = None
        self.wrong: BaseException | None = None
        self.git: Git | None = GIT

    def actions(self) -> PushActions:
        """Return what a push is to call: this harbour, which no program and no registry belongs to."""
        return PushActions(
            self.find, self.preflight, self.build, self.verify, self.push, partial(record_run, keep=self.keep)
        )

    def find(self, _settings: Settings) -> Engine:
        """Stand in for the search for an engine."""
        self.asked.append("engine")
        return ENGINE

    def preflight(self, _engine: Engine, names: Sequence[str]) -> None:
        """Stand in for the question to the registry before a build."""
        self.asked.append(f"preflight {' '.join(names)}")
        if self.wrong:
            raise self.wrong

    def build(
        self, _settings: Settings, request: Request, *, engine: Engine
    ) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
        """Stand in for a build that pushes."""
        self.asked.append("build")
        named = ("shop:1.2.3", "shop:0123456789ab")
        return (Built(PRODUCTION, named, DIGEST, 0, (), 1.0, {"steps": 1, "cached": 0}),), (
            Missing("3.12", "nobody ships it"),
        )

    def verify(self, _engine: Engine, name: str, digest: str) -> int:
        """Stand in for the registry's answer about what has arrived."""
        self.asked.append(f"verify {name} {digest[:8]}")
        return 1234

    def push(self, _engine: Engine, names: list[str], *, arrived: Callable[[Pushed], None]) -> tuple[Pushed, ...]:
        """Stand in for the push of images that the engine has."""
        self.asked.append(f"push {' '.join(names)}")
        pushed = [Pushed(name, DIGEST, 1234, 1, 0, 2, 1.5) for name in names]
        for image in pushed[: self.until]:
            arrived(image)
        if self.ending:
            raise self.ending
        return tuple(pushed)

    def keep(self, _settings: Settings, record: Mapping[str, Any]) -> None:
        """Stand in for the file and the ledger; a record must have the documented form."""
        self.records.append(fastjsonschema.compile(json.loads(SCHEMA.read_text()))(json.loads(json.dumps(record))))


@pytest.fixture
def harbour(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Harbour:
    """Return what stands around a push of this project, which is at a commit."""
    (settings.root / "Dockerfile").write_text("FROM x AS test\nFROM x AS production\n")
    made = Harbour()
    replace_everywhere(monkeypatch, "read_git", lambda _root: made.git)
    return made


def test_references(settings: Settings, harbour: Harbour) -> None:
    """Every image has its names from git, or those that were chosen, and never the one that moves."""
    request = Request(("production", "test"), ("3.13",))
    assert choose_references(settings, request) == {
        PRODUCTION: ("shop:1.2.3", "shop:0123456789ab"),
        Variant("test", "3.13"): ("shop:1.2.3-test", "shop:0123456789ab-test"),
    }
    assert choose_references(settings, Request(tags=("7",))) == {PRODUCTION: ("shop:7",)}


def test_no_name(settings: Settings, harbour: Harbour) -> None:
    """Without git and without a tag it is a usage error."""
    harbour.git = None
    with pytest.raises(UsageError, match="no git commit to take a tag from"):
        choose_references(settings, Request())


def test_build_and_push(settings: Settings, harbour: Harbour) -> None:
    """The registry is asked before the build and checked after it, under every name; its size is the image's."""
    (built,), missing = shipping.build_and_push(settings, Request(push=True), force=False, actions=harbour.actions())
    assert harbour.asked == [
        "engine",
        "preflight shop:1.2.3 shop:0123456789ab",
        "build",
        "verify shop:1.2.3 sha256:a",
        "verify shop:0123456789ab sha256:a",
    ]
    assert (built.size, built.digest) == (1234, DIGEST)
    assert [absent.python for absent in missing] == ["3.12"]


def test_a_registry_that_would_refuse(settings: Settings, harbour: Harbour) -> None:
    """Nobody waits for a build that cannot be pushed."""
    harbour.wrong = DockyardError("denied")
    with pytest.raises(DockyardError, match="denied"):
        shipping.build_and_push(settings, Request(push=True), force=False, actions=harbour.actions())
    assert "build" not in harbour.asked


def test_an_unknown_target(settings: Settings, harbour: Harbour) -> None:
    """It is told before an engine is sought or a registry asked."""
    with pytest.raises(UsageError, match="the Dockerfile has no target 'prod'"):
        shipping.build_and_push(settings, Request(("prod",), push=True), force=False, actions=harbour.actions())
    assert harbour.asked == []


def test_uncommitted_changes(settings: Settings, harbour: Harbour) -> None:
    """They are refused before anything else, unless forced."""
    harbour.git = DIRTY
    with pytest.raises(DockyardError, match="built from uncommitted changes"):
        shipping.build_and_push(settings, Request(push=True), force=False, actions=harbour.actions())
    wanted = choose_references(settings, Request())
    with pytest.raises(DockyardError, match="built from uncommitted changes"):
        shipping.push_variants(settings, wanted, force=False, actions=harbour.actions())
    assert (harbour.asked, harbour.records) == ([], [])
    shipping.push_variants(settings, wanted, force=True, actions=harbour.actions())
    assert harbour.asked == ["engine", "push shop:0123456789ab-dirty"]


def test_ship(settings: Settings, harbour: Harbour) -> None:
    """All names go in one push; each image has one record, under its first name."""
    wanted = {PRODUCTION: ("shop:1", "shop:2"), TEST: ("shop:1-test-py3.12",)}
    pushed = shipping.push_variants(settings, wanted, force=False, actions=harbour.actions())
    assert [image.reference for image in pushed] == ["shop:1", "shop:2", "shop:1-test-py3.12"]
    assert harbour.asked == ["engine", "push shop:1 shop:2 shop:1-test-py3.12"]
    facts = [(one["kind"], one["outcome"], one["target"], one["python"], one["image"]) for one in harbour.records]
    image = {"digest": DIGEST, "pull_bytes": 1234}
    assert [step["name"] for step in harbour.records[0]["steps"]] == ["shop:1", "shop:2", "shop:1-test-py3.12"]
    assert facts == [
        ("push", "passed", "production", "3.13", {"reference": "shop:1", **image}),
        ("push", "passed", "test", "3.12", {"reference": "shop:1-test-py3.12", **image}),
    ]


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [(DockyardError("denied"), "failed"), (KeyboardInterrupt(), "interrupted")],
    ids=["failed", "interrupted"],
)
def test_a_push_that_does_not_finish(settings: Settings, harbour: Harbour, ending: BaseException, outcome: str) -> None:
    """It is recorded as what it was, without an image, and raised as what it was."""
    harbour.ending, harbour.until = ending, 0
    with pytest.raises(type(ending)):
        shipping.push_variants(settings, {PRODUCTION: ("shop:1",)}, force=False, actions=harbour.actions())
    assert [(one["outcome"], one["image"]) for one in harbour.records] == [(outcome, None)]


def test_a_push_that_fails_half_way(settings: Settings, harbour: Harbour) -> None:
    """What arrived under all its names is recorded as that, and only the rest as failed."""
    harbour.ending, harbour.until = DockyardError("denied"), 3
    wanted = {PRODUCTION: ("shop:1", "shop:2"), TEST: ("shop:1-test", "shop:2-test")}
    with pytest.raises(DockyardError, match="denied"):
        shipping.push_variants(settings, wanted, force=False, actions=harbour.actions())
    assert [(one["target"], one["outcome"]) for one in harbour.records] == [
        ("production", "passed"),
        ("test", "failed"),
    ]
