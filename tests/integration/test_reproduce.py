"""Reproducing images for real: everything varied that one machine can vary, and an image that cannot be reproduced."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.process import capture
from dockyard.settings import Settings, load
from dockyard.verify import reproduce
from dockyard.verify.model import ImageQuery
from tests.integration.checkout import COMMIT, committed, copied, elsewhere, git, invoke, plain

TABLE = '[tool.dockyard]\napp = "shop:app"\nimage = "{image}"\n'


@pytest.fixture
def renamed(unique: str) -> Mapping[str, str]:
    """Return the environment that gives a project's images a name of this test's own."""
    return {"DOCKYARD_IMAGE": unique}


def test_everything_varied(
    engine: Engine, unique: str, renamed: Mapping[str, str], tmp_path: Path, project: Settings
) -> None:
    """Another path, umask, locale, time zone, home and clock of files, no cache: the same manifest digest.

    The first build may use every cache there is; the second, by `invoke reproduce`, uses none.
    """
    here, there = tmp_path / "here", tmp_path / "a longer path" / "there"
    copied(here, 0o022, 1_600_000_000)
    committed(here)
    made = invoke(here, "022", {**plain(), **engine.environment, **renamed}, "build", "--json")
    assert made.ok, made.stderr[-2000:]
    digest = json.loads(made.stdout)["images"][0]["digest"]
    copied(there, 0o077, 1_650_000_000.5)
    committed(there)
    changes = {**engine.environment, **elsewhere(tmp_path / "home"), **renamed}
    told = invoke(there, "077", changes, "reproduce", "--json")
    assert told.ok, told.stderr[-2000:]
    outcome = json.loads(told.stdout)
    assert (outcome["verdict"], outcome["notes"]) == ("identical", [])
    assert outcome["existing"] == outcome["rebuilt"]
    assert outcome["existing"] == digest or not engine.snapshotter
    assert "dockyard-reproduce" not in capture(engine.command("images")).stdout.replace("REPOSITORY", "")


def small(root: Path, image: str, instruction: str, engine: Engine) -> Settings:
    """Build an image of one instruction on the default base, and return its project's settings."""
    root.mkdir()
    (root / "pyproject.toml").write_text(TABLE.format(image=image))
    (root / ".gitignore").write_text(".dockyard/\n")
    (root / "Dockerfile").write_text(
        f"FROM python:3.13-slim AS base\nRUN {instruction}\nFROM scratch AS production\nCOPY --from=base /made /made\n"
    )
    committed(root)
    settings = load(root, {})
    from dockyard.image import build

    build.build_images(settings, build.Request(), engine=engine)
    return settings


def test_an_image_that_cannot_be_reproduced(engine: Engine, unique: str, tmp_path: Path) -> None:
    """A date written to a file: the layer, the file, both lines, and what else the clock got into."""
    instruction = "mkdir /made && date +%s.%N > /made/when && echo same > /made/what && umask 077 && mkdir /made/x"
    settings = small(tmp_path / "shop", unique, instruction, engine)
    time.sleep(1.1)  # layers know times by the second: a quick machine would build twice within one
    outcome = reproduce.reproduce_image(settings, ImageQuery(), engine=engine)
    assert outcome.verdict == "different"
    (changed,) = [finding for finding in outcome.differences if finding.how == "content"]
    assert (changed.path, changed.layer) == ("/made/when", 1)
    assert "COPY /made /made" in changed.instruction
    assert [line[0] for line in changed.diff] == ["@", "-", "+"]
    assert {finding.path for finding in outcome.differences if finding.how == "time"} >= {"/made/when", "/made/what"}
    assert not [finding for finding in outcome.differences if finding.how == "mode"]
    assert not [finding for finding in outcome.differences if finding.path == "/made/what" and finding.how != "time"]
    assert capture(engine.command("images", "--quiet", f"dockyard-reproduce/{unique}")).stdout == ""


def test_a_cache_mount_hides_nothing(engine: Engine, unique: str, tmp_path: Path) -> None:
    """A file that a first build put into a cache mount is not there for the second, and nothing of that stays."""
    folder = "--mount=type=cache,target=/kept"
    instruction = f"{folder} test -e /kept/a || date +%s.%N > /kept/a; mkdir /made && cp /kept/a /made/a"
    settings = small(tmp_path / "shop", unique, instruction, engine)
    outcome = reproduce.reproduce_image(settings, ImageQuery(), engine=engine)
    assert "/made/a" in {finding.path for finding in outcome.differences if finding.how == "content"}
    listed = capture(engine.command("buildx", "du", "--verbose", "--filter=type=exec.cachemount")).stdout
    assert not [line for line in listed.splitlines() if "dockyard-reproduce-" in line and "/kept" in line]


def test_another_commit_is_named_as_the_cause(engine: Engine, unique: str, tmp_path: Path, said: list[str]) -> None:
    """An image of an older commit differs from what the tree makes now, and it is said why."""
    settings = small(tmp_path / "shop", unique, "mkdir -p /made && touch -d @0 /made/what /made", engine)
    before = read_git(settings.root)
    git(settings.root, *COMMIT, "--allow-empty")
    after = read_git(settings.root)
    outcome = reproduce.reproduce_image(settings, ImageQuery(), engine=engine)
    assert before
    assert after
    assert outcome.notes == (f"it was made from the commit {before.commit}, this tree is {after.commit}",)
    assert any(outcome.notes[0] in line for line in said)
    assert {finding.layer for finding in outcome.differences} == {0}


def test_nothing_to_compare_with(engine: Engine, unique: str, tmp_path: Path) -> None:
    """Without an image there is nothing to reproduce: the tip names the command that makes it."""
    (tmp_path / "pyproject.toml").write_text(TABLE.format(image=unique))
    (tmp_path / "Dockerfile").write_text("FROM python:3.13-slim AS production\n")
    with pytest.raises(DockyardError, match=f"there is no image {unique}:production") as caught:
        reproduce.reproduce_image(load(tmp_path, {}), ImageQuery(), engine=engine)
    assert caught.value.hint == "`invoke build --target production --python 3.13` makes it"
