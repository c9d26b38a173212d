"""The layers of the interpreter, kept with the base that they are made from: when they serve, and when they do not."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard import files
from dockyard.bases.debian import own_platform
from dockyard.bases.resolve import Base
from dockyard.engine.client import Engine
from dockyard.engine.inside import PAYLOAD
from dockyard.image.bake import BakeTarget
from dockyard.image.dockerfile import parse_dockerfile
from dockyard.image.interpreter import INDEX, STAGE, Keeper, collect_stages, remove_layers
from dockyard.settings import Settings

BASE = Base("3.12", "python:3.12-slim", "registry", "python:3.12-slim@sha256:1", "sha256:1")
ENGINE = Engine("host", "28.5.2", True, 4, {})
RUNTIME = """\
ARG PYTHON_VERSION=3.13
FROM scratch AS dockyard
FROM python:${PYTHON_VERSION}-slim AS base
COPY --from=dockyard / /dockyard/
RUN --network=none --mount=from=dockyard,target=/dockyard python /dockyard library
FROM base AS runtime
ARG KEEP=""
RUN --mount=type=secret,id=ca --mount=type=cache,target=/c python /dockyard runtime /layers --keep "${KEEP}"
FROM scratch AS interpreter
COPY --link --from=runtime /layers/runtime/ /
"""
DOCKERFILE = f"""{RUNTIME}FROM base AS application
COPY shop /app/shop
FROM interpreter AS production
COPY --from=application /app /app
CMD ["shop"]
FROM base AS development
CMD ["flask", "run"]
"""


def image(**changes: Any) -> BakeTarget:
    """Return an image as a build plans it."""
    arguments = {"PYTHON_VERSION": "3.12", "SOURCE_DATE_EPOCH": "1700000000", **changes.pop("arguments", {})}
    known: dict[str, Any] = {"name": "production-3_12", "target": "production", "references": ("shop:1",)}
    return BakeTarget(**{**known, "arguments": arguments, "contexts": {BASE.reference: BASE.context}, **changes})


class Maker:
    """BuildKit, which writes an image of one layer into a layout."""

    def __init__(self) -> None:
        self.asked: list[BakeTarget] = []

    def __call__(self, wanted: BakeTarget) -> None:
        """Write what is wanted where it says."""
        self.asked.append(wanted)
        layout = Path(wanted.output[0].partition("dest=")[2])
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def write(content: bytes) -> dict[str, Any]:
            digest = hashlib.sha256(content).hexdigest()
            (blobs / digest).write_bytes(content)
            return {"digest": f"sha256:{digest}", "size": len(content)}

        epoch = "1970-01-01T00:00:00Z"
        config = {"created": epoch, "config": {"Env": ["A=b"]}, "history": [{"created": epoch, "created_by": "COPY"}]}
        manifest = {"config": write(json.dumps(config).encode()), "layers": [write(b"a layer")]}
        (layout / INDEX).write_text(json.dumps({"manifests": [write(json.dumps(manifest).encode())]}))


@pytest.fixture
def maker() -> Maker:
    """Return a BuildKit."""
    return Maker()


@pytest.fixture
def keeper(settings: Settings, maker: Maker) -> Keeper:
    """Return what keeps layers for a project that has the stage."""
    (settings.root / "Dockerfile").write_text(DOCKERFILE)
    return Keeper(settings, ENGINE, (BASE,), maker)


def read_context(supplied: BakeTarget) -> dict[str, Any]:
    """Return the configuration and the layers of what stands in for the stage."""
    layout, _, digest = supplied.contexts[STAGE].removeprefix("oci-layout://").partition("@")
    blobs = Path(layout) / "blobs" / "sha256"
    manifest = json.loads((blobs / digest.partition(":")[2]).read_bytes())
    config = (blobs / manifest["config"]["digest"].partition(":")[2]).read_bytes()
    assert manifest["config"]["size"] == len(config)
    return {**json.loads(config), "layers": manifest["layers"]}


def test_they_are_made_once(keeper: Keeper, maker: Maker) -> None:
    """The first build makes them, without what is the image's own; the next ones find them, whatever their commit."""
    first = keeper.supply(image(labels={"a": "b"}, cache_to=("x",), secrets=("id=ca,src=/ca",)), anew=False)
    (made,) = maker.asked
    assert (made.target, made.references, made.labels, made.cache_to) == (STAGE, (), {}, ())
    assert (made.arguments["SOURCE_DATE_EPOCH"], made.secrets) == ("0", ("id=ca,src=/ca",))
    assert first.contexts[BASE.reference] == BASE.context
    later = keeper.supply(image(arguments={"SOURCE_DATE_EPOCH": "1800000000"}), anew=False)
    assert len(maker.asked) == 1
    assert read_context(first)["layers"] == read_context(later)["layers"]
    assert keeper.supply(image(), anew=False).contexts[STAGE] == first.contexts[STAGE] != later.contexts[STAGE]


def test_their_times_are_the_commits(keeper: Keeper) -> None:
    """All else of the configuration is what was built: so the image has one digest, made with them or without."""
    config = read_context(keeper.supply(image(), anew=False))
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["history"] == [{"created": "2023-11-14T22:13:20Z", "created_by": "COPY"}]
    assert config["config"] == {"Env": ["A=b"]}


def test_a_build_without_cache_forgets_them(keeper: Keeper, maker: Maker) -> None:
    """Else the next build would go back to older Debian packages than this one has installed."""
    keeper.supply(image(), anew=False)
    assert keeper.supply(image(), anew=True) == image()
    keeper.supply(image(), anew=False)
    assert len(maker.asked) == 2


def edit(old: str, new: str) -> Callable[[Keeper], Keeper]:
    """Return what changes a line of the Dockerfile."""

    def change(keeper: Keeper) -> Keeper:
        path = keeper.settings.root / "Dockerfile"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        return keeper

    return change


def write_program(keeper: Keeper) -> Keeper:
    """Give the project a program in the build that is its own."""
    own = keeper.settings.root / "src" / "dockyard" / "payload"
    own.mkdir(parents=True)
    (own / "__main__.py").write_text("import this\n")
    return keeper


ANEW: dict[str, tuple[Callable[[Keeper], Keeper], BakeTarget]] = {
    "a step of the base": (edit("dockyard library", "dockyard library --all"), image()),
    "a step of the runtime": (edit("type=secret,id=ca", "type=secret,id=other"), image()),
    "the stage itself": (edit("/layers/runtime/ /", "/layers/runtime/ /opt/"), image()),
    "an argument's default": (edit('KEEP=""', 'KEEP="/x"'), image()),
    "keep in the settings": (lambda keeper: keeper, image(arguments={"KEEP": "/usr/bin/git"})),
    "the base": (lambda keeper: replace(keeper, bases=(replace(BASE, digest="sha256:2"),)), image()),
    "the engine, which packs": (lambda keeper: replace(keeper, engine=replace(ENGINE, version="29.0")), image()),
    "the program": (write_program, image()),
    "a program that is given": (lambda keeper: keeper, image(contexts={"dockyard": str(PAYLOAD)})),
}


@pytest.mark.parametrize(("change", "wanted"), ANEW.values(), ids=ANEW)
def test_what_makes_them_anew(
    keeper: Keeper, maker: Maker, change: Callable[[Keeper], Keeper], wanted: BakeTarget
) -> None:
    """All that they depend on: the same again is then made once more, and kept too."""
    keeper.supply(image(), anew=False)
    changed = change(keeper)
    assert changed.supply(wanted, anew=False).contexts[STAGE]
    assert changed.supply(wanted, anew=False).contexts[STAGE]
    assert len(maker.asked) == 2


SAME = {
    "the application": edit("COPY shop", "COPY store"),
    "the command": edit('CMD ["shop"]', 'CMD ["shop", "--fast"]'),
    "comments and lines": edit("FROM base AS runtime", "# Why.\n\nFROM base AS runtime"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_leaves_them_as_they_are(keeper: Keeper, maker: Maker, change: Callable[[Keeper], Keeper]) -> None:
    """What stages above them do is nothing to them."""
    keeper.supply(image(), anew=False)
    assert change(keeper).supply(image(), anew=False).contexts[STAGE]
    assert len(maker.asked) == 1


NEVER: dict[str, tuple[Callable[[Keeper], Keeper], BakeTarget]] = {
    "a target without it": (lambda keeper: keeper, image(target="development")),
    "no such stage": (edit("AS interpreter", "AS python"), image()),
    "made of sources": (edit("FROM scratch AS interpreter", "FROM scratch AS interpreter\nCOPY a /a"), image()),
    "a mount of sources": (edit("--mount=type=secret,id=ca", "--mount=target=/src"), image()),
    "an image that may move": (edit("--from=runtime", "--from=busybox"), image()),
    "another platform": (lambda keeper: keeper, image(platforms=("linux/s390x",))),
    "several platforms": (lambda keeper: keeper, image(platforms=(own_platform(), "linux/s390x"))),
    "a builder of its own": (lambda k: replace(k, settings=k.settings._replace(builder="far")), image()),
    "an engine without layouts": (lambda k: replace(k, engine=replace(ENGINE, snapshotter=False)), image()),
}


@pytest.mark.parametrize(("change", "wanted"), NEVER.values(), ids=NEVER)
def test_when_an_image_stays_as_it_is(
    keeper: Keeper, maker: Maker, change: Callable[[Keeper], Keeper], wanted: BakeTarget
) -> None:
    """Nothing is made, and BuildKit does all."""
    assert change(keeper).supply(wanted, anew=False) == wanted
    assert maker.asked == []


def test_this_machines_own_platform(keeper: Keeper) -> None:
    """Named or not, it is what the layers are for."""
    assert STAGE in keeper.supply(image(platforms=(own_platform(),)), anew=False).contexts


def test_an_end_in_between_leaves_nothing(keeper: Keeper) -> None:
    """Neither a failed build nor one that somebody stops; the next one begins anew."""

    def stop(wanted: BakeTarget) -> None:
        Path(wanted.output[0].partition("dest=")[2]).mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(keeper, make=stop).supply(image(), anew=False)
    assert [*files.folder().iterdir()] == []
    assert STAGE in keeper.supply(image(), anew=False).contexts


def test_a_faster_build(keeper: Keeper, maker: Maker) -> None:
    """Of two builds at a time, one finds the layers there when it has made its own: they are the same."""

    def read_inode(supplied: BakeTarget) -> int:
        return Path(supplied.contexts[STAGE].removeprefix("oci-layout://").partition("@")[0]).stat().st_ino

    inodes: list[int] = []

    def make(wanted: BakeTarget) -> None:
        inodes.append(read_inode(keeper.supply(image(), anew=False)))
        maker(wanted)

    slower = replace(keeper, make=make).supply(image(), anew=False)
    assert [read_inode(slower)] == inodes
    assert len(maker.asked) == 2


def test_what_no_build_has_used_for_long_goes(keeper: Keeper) -> None:
    """When others are made; what is used stays, however old it is."""
    old, used = (files.folder() / f"{STAGE}-{name}" for name in ("old", "used"))
    for place, days in ((old, 31), (used, 29)):
        place.mkdir(parents=True)
        os.utime(place, (time.time() - days * 86400,) * 2)
    keeper.supply(image(), anew=False)
    assert not old.exists()
    assert used.exists()


def test_what_is_half_removed_does_not_count(keeper: Keeper, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The removal of many files may be stopped: the first one tells."""
    kept = Path(keeper.supply(image(), anew=False).contexts[STAGE].removeprefix("oci-layout://").partition("@")[0])
    with monkeypatch.context() as stopped:
        stopped.setattr("shutil.rmtree", lambda *_given, **_options: None)
        remove_layers(kept)
    assert kept.is_dir()
    assert read_context(keeper.supply(image(), anew=False))["layers"]
    assert len(maker.asked) == 2


def spoil(blob: bool, content: bytes | None) -> Callable[[Path], None]:
    """Return what spoils the index of a layout, or its layer: by other content, or by taking it away."""

    def change(layout: Path) -> None:
        layer = layout / "blobs" / "sha256" / hashlib.sha256(b"a layer").hexdigest()
        path = layer if blob else layout / INDEX
        path.unlink() if content is None else path.write_bytes(content)

    return change


SPOILT = {
    "no index": spoil(False, None),
    "half an index": spoil(False, b'{"manifests": [{"dig'),
    "another index": spoil(False, b"[]"),
    "no manifest": spoil(False, b'{"manifests": [{"digest": "sha256:0", "size": 1}]}'),
    "no layer": spoil(True, None),
    "half a layer": spoil(True, b"a la"),
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT)
def test_what_is_spoilt_is_made_anew(keeper: Keeper, maker: Maker, change: Callable[[Path], None]) -> None:
    """A disk may have been full, or somebody tidied up."""
    first = keeper.supply(image(), anew=False).contexts[STAGE]
    change(Path(first.removeprefix("oci-layout://").partition("@")[0]))
    assert keeper.supply(image(), anew=False).contexts[STAGE] == first
    assert len(maker.asked) == 2
    assert read_context(keeper.supply(image(), anew=False))["layers"]
    assert len(maker.asked) == 2


STAGES = {
    "by name": ("FROM a AS x\nFROM scratch AS s\nCOPY --from=x /a /a\n", {"a"}, ["s", "x"]),
    "by number": ("FROM a\nFROM scratch AS s\nCOPY --from=0 /a /a\n", {"a"}, ["s", ""]),
    "by a mount": ("FROM a AS x\nFROM a AS s\nRUN --mount=type=bind,from=x,target=/x ls\n", {"a"}, ["s", "x"]),
    "what is given": ("FROM a AS x\nFROM a AS s\nRUN --mount=from=x,target=/x ls\n", {"a", "x"}, ["s"]),
    "the sources": ("FROM a AS s\nADD x /x\n", {"a"}, None),
    "an address": ("FROM a AS s\nADD https://x.example/y /y\n", {"a"}, None),
    "an image": ("FROM a AS s\nRUN --mount=from=b:1,target=/b ls\n", {"a"}, None),
    "no stage": ("FROM a AS x\n", {"a"}, None),
}


@pytest.mark.parametrize(("text", "given", "names"), STAGES.values(), ids=STAGES)
def test_what_a_stage_is_made_of(text: str, given: set[str], names: list[str] | None) -> None:
    """All stages that it reads in whatever way; none where it reads more."""
    found = collect_stages(parse_dockerfile(text), "s", given)
    assert (found and [stage.name for stage in found]) == names
