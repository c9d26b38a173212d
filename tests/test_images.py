"""What images are called and labelled with."""

import dataclasses

import pytest

from dockyard.errors import UsageError
from dockyard.git import Git
from dockyard.image import names
from dockyard.image.names import Variant
from dockyard.settings import Settings

SHA = "0123456789abcdef0123456789abcdef01234567"
CLEAN = Git(SHA, 1_700_000_000, "main")
TAGGED = dataclasses.replace(CLEAN, tag="v1.2.3")
DIRTY = dataclasses.replace(TAGGED, dirty=True)
PRODUCTION = Variant("production", "3.13")
OTHER = Variant("test", "3.12")

TAGS: dict[str, tuple[Git | None, Variant, tuple[str, ...], tuple[str, ...]]] = {
    "commit": (CLEAN, PRODUCTION, (), ("shop:0123456789ab",)),
    "version first": (TAGGED, PRODUCTION, (), ("shop:1.2.3", "shop:0123456789ab")),
    "dirty hides the version": (DIRTY, PRODUCTION, (), ("shop:0123456789ab-dirty",)),
    "other target and python": (TAGGED, OTHER, (), ("shop:1.2.3-test-py3.12", "shop:0123456789ab-test-py3.12")),
    "chosen": (DIRTY, OTHER, ("a", "b"), ("shop:a-test-py3.12", "shop:b-test-py3.12")),
    "chosen without git": (None, PRODUCTION, ("a",), ("shop:a",)),
    "local version": (dataclasses.replace(CLEAN, tag="v1.0+x"), PRODUCTION, (), ("shop:1.0-x", "shop:0123456789ab")),
    "not a version": (dataclasses.replace(CLEAN, tag="before-lunch"), PRODUCTION, (), ("shop:0123456789ab",)),
}


@pytest.mark.parametrize(("git", "variant", "chosen", "expected"), TAGS.values(), ids=TAGS)
def test_tags(
    settings: Settings, git: Git | None, variant: Variant, chosen: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """Tags tell version, commit, target and Python, in that order, and only where they differ from the default."""
    assert names.choose_tags(settings, git, variant, chosen) == expected


def test_nothing_to_take_a_tag_from(settings: Settings) -> None:
    """Without git and without a name of one's own."""
    with pytest.raises(UsageError, match="no git commit to take a tag from") as caught:
        names.choose_tags(settings, None, PRODUCTION)
    assert "--tag" in caught.value.hint


def test_tags_carry_the_registry(settings: Settings) -> None:
    """With a registry set, every reference begins with it."""
    there = settings._replace(registry="localhost:5000/team")
    assert names.choose_tags(there, None, PRODUCTION, ["1"]) == ("localhost:5000/team/shop:1",)


@pytest.mark.parametrize("tag", ["", "-a", ".a", "a/b", "a:b", "a b", "ä", "a" * 129, "a\n"])
def test_a_tag_that_is_none(settings: Settings, tag: str) -> None:
    """What a registry would refuse is refused before anything is built."""
    with pytest.raises(UsageError, match="cannot be an image tag"):
        names.choose_tags(settings, None, PRODUCTION, [tag])


def test_a_tag_that_its_suffix_makes_too_long(settings: Settings) -> None:
    """What counts is the whole tag, with target and Python."""
    longest = "a" * 128
    assert names.choose_tags(settings, None, PRODUCTION, [longest]) == (f"shop:{longest}",)
    with pytest.raises(UsageError, match="cannot be an image tag"):
        names.choose_tags(settings, None, OTHER, [longest])


@pytest.mark.parametrize(
    ("variant", "name"),
    [(PRODUCTION, "shop:production"), (OTHER, "shop:test-py3.12"), (Variant("test", "3.13"), "shop:test")],
)
def test_the_moving_name_is_local(settings: Settings, variant: Variant, name: str) -> None:
    """Stacks and tests find an image by a name without registry, so that it cannot be pushed by accident."""
    there = settings._replace(registry="localhost:5000")
    assert names.local_name(there, variant) == name


@pytest.mark.parametrize(
    ("variant", "name"), [(PRODUCTION, "production-3_13"), (Variant("web.app", "3.12"), "web_app-3_12")]
)
def test_bake_names_have_no_dot(variant: Variant, name: str) -> None:
    """Bake refuses a target whose name has one."""
    assert variant.name == name


def test_epoch() -> None:
    """A build is dated with its commit, or with a time that never changes."""
    assert names.epoch(CLEAN) == 1_700_000_000
    assert names.epoch(None) == names.epoch(None) == 315_532_800


def test_labels(settings: Settings) -> None:
    """Labels use the OCI keys, and what is unknown is left out."""
    assert names.make_labels(settings, TAGGED, OTHER, "python:3.12-slim", "sha256:b") == {
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.revision": SHA,
        "org.opencontainers.image.version": "1.2.3",
        "org.opencontainers.image.base.name": "python:3.12-slim",
        "org.opencontainers.image.base.digest": "sha256:b",
        "io.dockyard.target": "test",
        "io.dockyard.python": "3.12",
    }


def test_labels_of_a_dirty_tree_claim_no_version(settings: Settings) -> None:
    """Uncommitted changes are no release, whatever tag the commit has."""
    found = names.make_labels(settings, DIRTY, PRODUCTION, "python:3.13-slim", "")
    assert found["org.opencontainers.image.revision"] == f"{SHA}-dirty"
    assert not {"org.opencontainers.image.version", "org.opencontainers.image.base.digest"} & found.keys()


def test_labels_without_git(settings: Settings) -> None:
    """A build outside a repository names no revision."""
    found = names.make_labels(settings, None, PRODUCTION, "b", "")
    assert "org.opencontainers.image.revision" not in found
    assert found["org.opencontainers.image.created"] == "1980-01-01T00:00:00Z"
