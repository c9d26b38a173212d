"""What `invoke reproduce` builds, what it compares, what it says, and that nothing of it stays."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from invoke.exceptions import Exit

from dockyard.bases.resolve import Base
from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.git import Git
from dockyard.image import build
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.tasks import verify as tasks
from dockyard.tasks.boundary import boundary
from dockyard.verify import reproduce
from dockyard.verify.compare import Difference
from dockyard.verify.model import ImageQuery
from dockyard.verify.reproduce import Comparison, find_changed_inputs, summarize

from . import saved_images
from .conftest import replace_everywhere
from .saved_images import Entry, saved
from .scripted_docker import Docker

GIT = Git("0123456789abcdef0123456789abcdef01234567", 1_700_000_000, "main")
BASE = Base("3.13", "python:3.13-slim", "registry", "python:3.13-slim@sha256:3", "sha256:3")
REVISION = "org.opencontainers.image.revision"
FILE = Entry("/a", b"x\n")


def pack(entries: list[Entry], level: int = 9) -> bytes:
    """Return an image of one layer as an engine saves it."""
    return saved_images.archive([saved_images.layer(entries)], level)


class Yard(Docker):
    """An engine with images; building gives the temporary name the image `built`."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__()
        self.labels = {**labels}
        self.images["shop:production"] = {"Id": "sha256:old", "Config": {"Labels": self.labels}}
        self.registry["python:3.13-slim"] = "sha256:3"
        self.says = {"bake": self.bake, "du": self.list_mounts, "prune": self.forget}
        self.built = "sha256:old"
        self.built_as: list[str] = []
        self.arguments: tuple[str, ...] = ()
        self.trouble: BaseException | None = None
        self.meanwhile: dict[str, dict[str, Any]] = {}
        self.mounts = {"other": "bench/dockyard-pip"}

    def list_mounts(self, _command: Command) -> str:
        """Say what buildx says of cache mounts."""
        return "\n".join(
            f'ID:\t{key}\nDescription:\tmount /x with id "{where}"\n' for key, where in self.mounts.items()
        )

    def forget(self, command: Command) -> str:
        """Forget one cache mount."""
        return self.mounts.pop(command.argv[-1].removeprefix("--filter=id="))

    def bake(self, command: Command) -> str:
        """Build."""
        (target,) = json.loads(command.input or b"")["target"].values()
        self.arguments = command.argv
        self.built_as = target["tags"]
        self.mounts["own"] = f"{target['args']['BUILDKIT_CACHE_MOUNT_NS']}/dockyard-pip"
        self.images |= {target["tags"][0]: {"Id": self.built}, **self.meanwhile}
        if self.trouble:
            raise self.trouble
        return ""


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Yard]:
    """Yield the engine, beside a project with a production target."""
    (settings.root / "Dockerfile").write_text("FROM scratch AS base\nFROM base AS production\n")
    replace_everywhere(monkeypatch, "read_git", lambda _root: GIT)
    (planned,) = build.plan_images(settings, replace(build.read_world(settings), bases=(BASE,)), build.Request())
    made = Yard(planned.labels)
    yield made
    assert not [name for name in made.images if name.startswith("dockyard-reproduce/")]
    assert made.mounts == {"other": "bench/dockyard-pip"}


def run(yard: Yard, settings: Settings, **asked: str) -> Comparison:
    """Reproduce with the scripted engine."""
    return reproduce.reproduce_image(settings, ImageQuery(**asked), engine=yard.engine)


def test_the_same_digest_needs_no_reading(yard: Yard, settings: Settings) -> None:
    """Built without cache, under one name of its own that is gone afterwards; the image that was there stays."""
    outcome = run(yard, settings)
    assert (outcome.verdict, outcome.notes, outcome.existing) == ("identical", (), "sha256:old")
    assert summarize(outcome) == "shop:production is reproducible: sha256:old, built anew sha256:old"
    assert "--no-cache" in yard.arguments
    assert [name.partition(":")[0] for name in yard.built_as] == ["dockyard-reproduce/shop"]
    assert yard.images.keys() == {"shop:production"}


def test_other_digests_are_looked_into(yard: Yard, settings: Settings) -> None:
    """The existing image is read by its digest, and the differences come from what was read."""
    yard.built = "sha256:new"
    yard.archives = {"sha256:old": pack([FILE]), "sha256:new": pack([replace(FILE, mode=0o600)])}
    yard.meanwhile = {"shop:production": {"Id": "sha256:moved"}}
    outcome = run(yard, settings)
    assert [(one.path, one.how) for one in outcome.differences] == [("/a", "mode")]
    assert (outcome.existing, outcome.rebuilt) == (saved([FILE]).manifest, saved([replace(FILE, mode=0o600)]).manifest)


def test_another_engine_compresses_otherwise(yard: Yard, settings: Settings) -> None:
    """Other manifests of the same content are fine, and said to be what they are."""
    yard.built = "sha256:new"
    long = Entry("/long", bytes(range(256)) * 400)
    yard.archives = {"sha256:old": pack([long], level=9), "sha256:new": pack([long], level=1)}
    outcome = run(yard, settings)
    assert outcome.verdict == "recompressed"
    assert "is reproducible: the same configuration and layers, compressed otherwise" in summarize(outcome)


def test_an_index_around_the_same_image(yard: Yard, settings: Settings) -> None:
    """An image with attestations goes by its index's digest: the manifests inside count."""
    yard.built = "sha256:new"
    yard.archives = {"sha256:old": pack([FILE]), "sha256:new": pack([FILE])}
    outcome = run(yard, settings)
    assert outcome.verdict == "identical"
    assert outcome.existing == outcome.rebuilt == saved([FILE]).manifest


def test_other_inputs_are_said_first(yard: Yard, settings: Settings, said: list[str]) -> None:
    """An image of another commit cannot be the same: that is said before the long build."""
    yard.labels[REVISION] = "ffff"
    outcome = run(yard, settings)
    assert outcome.notes == (f"it was made from the commit ffff, this tree is {GIT.commit}",)
    assert said[1] == f"shop:production: {outcome.notes[0]}"


def test_only_the_mounts_of_one_build_are_found() -> None:
    """As buildx prints them; mounts without a namespace, or of a longer one, belong to others."""
    printed = """\
ID:\t\tone
Reclaimable:\ttrue
Description:\tcached mount /root/.cache/pip from exec /bin/sh -c pip: install with id "ns/dockyard-pip"
Type:\t\texec.cachemount

ID:\t\ttwo
Description:\tcached mount /c from exec x with id "/dockyard-pip"

ID:\t\tthree
Description:\tcached mount /c from exec x with id "ns-more/dockyard-pip"

Reclaimable:\t1 GB
Total:\t2 GB
"""
    assert reproduce.find_mounts(printed, "ns") == ("one",)
    assert reproduce.find_mounts("", "ns") == ()


def test_inputs_without_labels() -> None:
    """An image without labels is not of our making; a label of both sides that agrees is no news."""
    assert list(find_changed_inputs({}, {REVISION: "1"})) == ["it was made from the commit none, this tree is 1"]
    assert list(find_changed_inputs({REVISION: "1", "other": "2"}, {REVISION: "1"})) == []


@pytest.mark.parametrize("trouble", [CommandError("x", returncode=1), KeyboardInterrupt()])
def test_a_build_that_fails_or_is_interrupted_leaves_nothing(
    yard: Yard, settings: Settings, trouble: BaseException
) -> None:
    """The temporary name is taken away (the fixture looks), and the failure is told as a build's."""
    yard.trouble = trouble
    with pytest.raises(DockyardError if isinstance(trouble, Exception) else KeyboardInterrupt):
        run(yard, settings)


def test_what_is_not_there(yard: Yard, settings: Settings) -> None:
    """No image, no such target, no such Python, no base: each is told before anything is built."""
    with pytest.raises(DockyardError, match=r"there is no image shop:production-py3\.12") as caught:
        run(yard, settings, python="3.12")
    assert caught.value.hint == "`invoke build --target production --python 3.12` makes it"
    with pytest.raises(DockyardError, match="there is no image host/shop:1") as caught:
        run(yard, settings, image="host/shop:1")
    assert caught.value.hint == "`docker pull host/shop:1` brings it"
    with pytest.raises(UsageError, match="no target 'other'"):
        run(yard, settings, target="other")
    with pytest.raises(UsageError, match=r"Python 3\.9 is not supported"):
        run(yard, settings, python="3.9")
    yard.registry.clear()
    with pytest.raises(DockyardError, match="cannot be built here: the registry has no python"):
        run(yard, settings._replace(base="registry"))
    assert yard.built_as == []


def test_an_engine_that_does_not_answer(yard: Yard, settings: Settings) -> None:
    """It is not taken for an engine without the image."""
    yard.says["inspect"] = Completed(1, "", "Cannot connect to the Docker daemon", 0.1)
    with pytest.raises(DockyardError, match="cannot say what shop:production is: Cannot connect"):
        run(yard, settings)


OUTCOME = Comparison("shop:production", "different", "sha256:1", "sha256:2", (), (), 1.0)
CONTENT = Difference(2, "COPY /made /made # buildkit", "/made/when", "content", "sha256:1", "sha256:2", ("-a", "+b"))


def ended(outcome: Comparison, **options: Any) -> int:
    """Tell an outcome as the task does, and return its exit code."""
    try:
        boundary(tasks.tell_outcome)(outcome, **options)
    except Exit as error:
        return int(error.code or 0)
    return 0


def test_the_task_tells_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The result is one line on stdout with both digests, and the exit code 0; so for another compression."""
    for verdict in ("identical", "recompressed"):
        outcome = replace(OUTCOME, verdict=verdict)
        assert ended(outcome) == 0
        assert capsys.readouterr().out == summarize(outcome) + "\n"


def test_the_task_tells_each_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """A table, then the lines that differ, then the error with a tip; exit code 1."""
    assert ended(replace(OUTCOME, differences=(CONTENT,))) == 1
    out, err = capsys.readouterr()
    assert "2: COPY /made /made" in out
    assert "/made/when:\n  -a\n  +b\n" in out
    assert "ERROR shop:production is not reproducible: sha256:1, built anew sha256:2" in err
    assert "TIP   write nothing into files that another build would write otherwise" in err


def test_the_task_shows_so_many_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand files that differ in time do not fill the screen."""
    assert ended(replace(OUTCOME, differences=(CONTENT,) * (tasks.ROWS + 7))) == 1
    out, err = capsys.readouterr()
    assert out.count("/made/when:") == out.count("2: COPY") == tasks.ROWS
    assert "and 7 more: --json shows them all" in err


def test_the_task_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """All there is, for machines; inputs that were others are the tip."""
    outcome = replace(OUTCOME, differences=(CONTENT,), notes=("other commit",))
    assert ended(outcome, json=True) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["verdict"], document["notes"]) == ("different", ["other commit"])
    assert document["differences"][0]["path"] == "/made/when"
    assert "TIP   build from the same inputs: see above" in err
