"""Pushing what was built: the names, the order of what is asked, and what is recorded."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import fastjsonschema
import pytest

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.git import Git
from dockyard.image.build import Built, Request, choose_references
from dockyard.image.names import Variant
from dockyard.image.records import FOLDER
from dockyard.registry.client import ATTEMPTS
from dockyard.registry.errors import Kind, RegistryError
from dockyard.registry.push import build_and_push, push_variants
from dockyard.settings import Settings
from tests.conftest import replace_everywhere
from tests.test_push import DIGEST, FRESH, HOST, FakeEngine, FakeRegistry, failing

SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json"
GIT = Git("0123456789abcdef0123456789abcdef01234567", 1_700_000_000, "main", "v1.2.3")
DIRTY = Git(GIT.commit, GIT.time, "main", "v1.2.3", dirty=True)
PRODUCTION = Variant("production", "3.13")
TEST = Variant("test", "3.12")
SHOP = f"{HOST}/shop"
CHECKED = f"shop {ATTEMPTS}"
"""What a registry notes of a question whether a push could begin."""


class Harbour:
    """A project, and an engine and a registry that a push meets."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings._replace(registry=HOST)
        self.registry = FakeRegistry()
        self.git: Git | None = GIT
        self.built: list[Request] = []

    def build(
        self, settings: Settings, request: Request, *, engine: Engine
    ) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
        """Stand in for a build that pushes; the registry was asked before, and has not been looked at."""
        assert (self.registry.checks, self.registry.measured) == ([CHECKED], [])
        self.built.append(request)
        named = choose_references(settings, request)[PRODUCTION]
        built = Built(PRODUCTION, named, DIGEST, 0, (), 1.0, {"steps": 1, "cached": 0})
        return (built,), (Missing("3.12", "nobody ships it"),)

    def build_and_push(self, request: Request) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
        """Let the build push."""
        engine = cast("Engine", FakeEngine())
        reach = lambda *_: self.registry  # noqa: E731
        return build_and_push(self.settings, request, engine=engine, reach=reach, build=self.build)

    def push(self, wanted: Mapping[Variant, Sequence[str]], *stories: Any, force: bool = False) -> list[str]:
        """Push what an engine has that tells these stories; return the names of what was pushed."""
        engine = FakeEngine(*stories, images=[name for named in wanted.values() for name in named])
        pushed = push_variants(
            self.settings, wanted, force=force, engine=cast("Engine", engine), reach=lambda *_: self.registry
        )
        return [image.reference for image in pushed]

    def records(self) -> list[dict[str, Any]]:
        """Return what was recorded; a record must have the documented form."""
        check = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
        files = (self.settings.root / FOLDER).glob("*.json")
        return sorted((check(json.loads(path.read_text())) for path in files), key=lambda record: record["target"])


@pytest.fixture
def harbour(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Harbour:
    """Return what stands around a push of this project, which is at a commit."""
    (settings.root / "Dockerfile").write_text("FROM x AS test\nFROM x AS production\n")
    made = Harbour(settings)
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


def test_build_and_push(harbour: Harbour) -> None:
    """The registry is asked before the build and checked after it, under every name; its size is the image's."""
    (built,), missing = harbour.build_and_push(Request(push=True))
    assert harbour.registry.measured == ["1.2.3", "0123456789ab"]
    assert (built.size, built.digest) == (20_000_700, DIGEST)
    assert [absent.python for absent in missing] == ["3.12"]


def test_a_registry_that_would_refuse(harbour: Harbour) -> None:
    """Nobody waits for a build that cannot be pushed."""
    harbour.registry.refusal = RegistryError(Kind.DENIED, "denied")
    with pytest.raises(RegistryError, match="denied"):
        harbour.build_and_push(Request(push=True))
    assert harbour.built == []


def test_an_unknown_target(harbour: Harbour) -> None:
    """It is told before a registry is asked."""
    with pytest.raises(UsageError, match="the Dockerfile has no target 'prod'"):
        harbour.build_and_push(Request(("prod",), push=True))
    assert harbour.registry.checks == []


def test_uncommitted_changes(harbour: Harbour) -> None:
    """They are refused before anything else, unless forced."""
    harbour.git = DIRTY
    with pytest.raises(DockyardError, match="built from uncommitted changes"):
        harbour.build_and_push(Request(push=True))
    wanted: dict[Variant, Sequence[str]] = {PRODUCTION: [f"{SHOP}:0123456789ab-dirty"]}
    with pytest.raises(DockyardError, match="built from uncommitted changes"):
        harbour.push(wanted, FRESH)
    assert (harbour.registry.checks, harbour.records()) == ([], [])
    assert harbour.push(wanted, FRESH, force=True) == wanted[PRODUCTION]


def test_ship(harbour: Harbour) -> None:
    """All names go in one push; each image has one record, under its first name."""
    names = [f"{SHOP}:1", f"{SHOP}:2", f"{SHOP}:1-test-py3.12"]
    assert harbour.push({PRODUCTION: names[:2], TEST: names[2:]}, FRESH, FRESH, FRESH) == names
    assert harbour.registry.checks == [CHECKED]
    records = harbour.records()
    image = {"digest": DIGEST, "pull_bytes": 20_000_700}
    assert [step["name"] for step in records[0]["steps"]] == names
    assert [(one["kind"], one["outcome"], one["target"], one["python"], one["image"]) for one in records] == [
        ("push", "passed", "production", "3.13", {"reference": names[0], **image}),
        ("push", "passed", "test", "3.12", {"reference": names[2], **image}),
    ]


def interrupted() -> Any:
    """Tell the story of a push in the middle of which somebody presses Ctrl-C."""
    yield FRESH[0]
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("story", "ending", "outcome"),
    [(failing("denied"), RegistryError, "failed"), (interrupted(), KeyboardInterrupt, "interrupted")],
    ids=["failed", "interrupted"],
)
def test_a_push_that_does_not_finish(harbour: Harbour, story: Any, ending: type[BaseException], outcome: str) -> None:
    """It is recorded as what it was, without an image, and raised as what it was."""
    with pytest.raises(ending):
        harbour.push({PRODUCTION: [f"{SHOP}:1"]}, story)
    assert [(one["outcome"], one["image"]) for one in harbour.records()] == [(outcome, None)]


def test_a_push_that_fails_half_way(harbour: Harbour) -> None:
    """What arrived under all its names is recorded as that, and only the rest as failed."""
    wanted = {PRODUCTION: [f"{SHOP}:1", f"{SHOP}:2"], TEST: [f"{SHOP}:1-test", f"{SHOP}:2-test"]}
    with pytest.raises(RegistryError, match="denied"):
        harbour.push(wanted, FRESH, FRESH, FRESH, failing("denied"))
    assert [(one["target"], one["outcome"]) for one in harbour.records()] == [
        ("production", "passed"),
        ("test", "failed"),
    ]
