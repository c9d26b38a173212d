"""Ensuring base images: who is asked, what is made, and who is named as missing."""

import io
import json
import os
import shutil
import signal
import tarfile
import threading
import time
from dataclasses import replace

import pytest

from dockyard import files
from dockyard.bases import cache, debian, lookup, parallel, resolve
from dockyard.bases.cache import Image, Record
from dockyard.bases.lookup import Answer, Missing, UnavailableError
from dockyard.errors import DockyardError
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from tests.progress import LINES
from tests.scripted_docker import Docker

OWN = debian.own_platform()
OTHER_ONE = "linux/riscv64" if OWN == "linux/arm64" else "linux/arm64"
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


class World(Docker):
    """A registry, a mirror and a cache of made-up content, and a note of everything that is asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.absent: list[str] = []
        self.offered: dict[str, dict[str, str]] = {}
        self.unavailable = {"3.12": UnavailableError("no Debian release ships Python 3.12", "try a registry")}
        self.trouble: DockyardError | None = None
        self.made: list[str] = []
        self.loaded: list[str] = []
        self.says = {"imagetools": self.ask, "load": self.load}

    def ask(self, command: Command) -> Completed:
        """Answer as the registry, which is out of reach but for what is scripted."""
        name = command.argv[4]
        if name in self.registry:
            return Completed(0, json.dumps({"digest": self.registry[name]}), "", 0.1)
        return Completed(1, "", "ERROR: not found" if name in self.absent else "ERROR: no such host", 0.1)

    @property
    def questions(self) -> list[str]:
        """What the registry was asked for."""
        return sorted(command.argv[4] for command in self.asked if "imagetools" in command.argv)

    def load(self, command: Command) -> str:
        """Take an image, as an engine does."""
        with tarfile.open(fileobj=io.BytesIO(command.input or b"")) as archive:
            listed = archive.extractfile("manifest.json")
            assert listed
            self.loaded += json.loads(listed.read())[0]["RepoTags"]
        return ""

    def keep(self, python: str, **packages: str) -> Record:
        """Put a base of today's recipe into the cache."""
        held = {f"python{python}": f"{python}.1-1", **packages}
        made = files.folder() / "made"
        made.mkdir(parents=True)
        (made.parent / "tree").write_bytes(python.encode())
        image = cache.write_layout(made.parent / "tree", made, "amd64", "test", {})
        here = debian.architecture()
        found = Record(python, f"{python}.1", "trixie", here, debian.current(python), held, image, "")
        return cache.store_record(made, found)

    def ensure(self, python: str, *, allow_expired: bool, anew: bool = False) -> Record:
        """Make a base as debian.ensure_base does."""
        if self.trouble:
            raise self.trouble
        if python in self.unavailable:
            raise self.unavailable[python]
        found = debian.cached(python)
        if found is None or anew:
            self.made.append(python)
            found = self.keep(python)
        return found

    def simulate(self, python: str, *, allow_expired: bool) -> dict[str, str]:
        """Say what the mirror offers."""
        if python in self.unavailable:
            raise self.unavailable[python]
        return self.offered[python]


def record(python: str, **packages: str) -> Record:
    """Return a base as the cache describes it."""
    image = Image("sha256:m", "sha256:c", "sha256:l", "sha256:d", 5)
    held = {f"python{python}": f"{python}.1-1", **packages}
    return Record(python, f"{python}.1", "trixie", "amd64", "today", held, image, f"python-{python}")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world in which nothing is cached, no registry answers, and Debian has all but 3.12."""
    made = World()
    # Making a base takes minutes, and a mirror: tests/integration/test_bases.py does.
    monkeypatch.setattr(debian, "ensure_base", made.ensure)
    monkeypatch.setattr(debian, "simulate", made.simulate)
    return made


def test_a_build_reads_a_base_from_the_cache(world: World, settings: Settings) -> None:
    """Only an engine whose BuildKit cannot do that needs a copy of its own."""
    resolve.ensure_bases(settings, world.engine, ["3.13"], run=False)
    assert world.loaded == []
    resolve.ensure_bases(settings, replace(world.engine, snapshotter=False), ["3.13"], run=False)
    assert world.loaded == ["dockyard-base/python:3.13-slim"]


def test_auto_without_a_registry(world: World, settings: Settings) -> None:
    """The registry is asked about all at once, then packages are taken, and a Python without one is named."""
    found, missing = resolve.ensure_bases(settings, world.engine, ["3.12", "3.13"])
    assert world.questions == ["python:3.12-slim", "python:3.13-slim"]
    assert [(base.python, base.source, base.image) for base in found] == [
        ("3.13", "debian", "dockyard-base/python:3.13-slim")
    ]
    assert [absent.python for absent in missing] == ["3.12"]
    assert missing[0].reason == (
        "no Debian release ships Python 3.12 "
        "(Debian packages make 3.11, 3.13, 3.14, 3.15; a registry may have others); the registry: no such host"
    )
    assert world.loaded == ["dockyard-base/python:3.13-slim"]
    assert LINES == ["base images: Python 3.13 from Debian packages (no such host)"]


@pytest.mark.parametrize("base", ["auto", "debian"])
def test_a_python_without_a_base_is_told_before_others_are_made(world: World, settings: Settings, base: str) -> None:
    """Whoever is told may end it there, which takes no minutes; what only an attempt shows is told after that."""
    world.unavailable["3.14"] = UnavailableError("its release has expired")
    told: list[tuple[str, list[str]]] = []
    wanted = settings._replace(base=base)
    _, missing = resolve.ensure_bases(
        wanted, world.engine, ["3.14", "3.13", "3.12"], heed=lambda lost: told.append((lost.python, [*world.made]))
    )
    assert told == [("3.12", []), ("3.14", ["3.13"])]
    assert [lost.python for lost in missing] == ["3.14", "3.12"]

    def refuse(lost: Missing) -> None:
        raise DockyardError(lost.reason)

    shutil.rmtree(files.folder())
    world.made.clear()
    with pytest.raises(DockyardError, match=r"no Debian release ships Python 3\.12"):
        resolve.ensure_bases(wanted, world.engine, ["3.13", "3.12"], heed=refuse)
    assert world.made == []


def test_what_a_registry_lacks_is_told_too(world: World, settings: Settings) -> None:
    """By the same word."""
    world.absent.append("python:3.12-slim")
    told: list[Missing] = []
    _, missing = resolve.ensure_bases(settings._replace(base="registry"), world.engine, ["3.12"], heed=told.append)
    assert tuple(told) == missing != ()


def test_nothing_is_asked_when_all_is_at_hand(world: World, settings: Settings) -> None:
    """A second build asks no registry and makes nothing."""
    world.keep("3.13")
    resolve.ensure_bases(settings, world.engine, ["3.13"])
    assert (world.questions, world.made) == ([], [])


@pytest.mark.parametrize("base", ["auto", "debian"])
def test_another_platform_without_a_registry(world: World, settings: Settings, base: str) -> None:
    """BuildKit would build on the base of this machine and name the image after the other platform."""
    world.keep("3.13")
    asked = settings._replace(base=base, platforms=(f"{OWN}/v2", OTHER_ONE))
    with pytest.raises(DockyardError) as caught:
        resolve.ensure_bases(asked, world.engine, ["3.13"], run=False)
    why = " (no such host)" if base == "auto" else ""
    assert caught.value.message == (
        f"nothing can be built for {OTHER_ONE} here: the base image of Python 3.13 is made from Debian packages, "
        f"for {OWN} alone{why}"
    )
    assert world.made == []
    (found,), _ = resolve.ensure_bases(asked, world.engine, ["3.13"])
    assert found.source == "debian", "to run it here, this machine's is the right one"
    ours = asked._replace(platforms=(f"{OWN}/v2", OWN.partition("/")[2]))
    assert resolve.ensure_bases(ours, world.engine, ["3.13"], run=False)[0] == (found,)


def test_another_platform_with_a_registry(world: World, settings: Settings) -> None:
    """It is asked even though a base from packages is at hand, which is of no use here."""
    world.keep("3.13")
    world.registry["python:3.13-slim"] = DIGEST
    asked = settings._replace(platforms=(OTHER_ONE,))
    found, _ = resolve.ensure_bases(asked, world.engine, ["3.13"], run=False)
    assert (found[0].source, found[0].digest) == ("registry", DIGEST)


def test_auto_with_a_registry(world: World, settings: Settings) -> None:
    """An answer is used with its digest, and the other Python comes from packages."""
    world.registry["python:3.12-slim"] = DIGEST
    found, missing = resolve.ensure_bases(settings, world.engine, ["3.13", "3.12"])
    assert [(base.python, base.source) for base in found] == [("3.13", "debian"), ("3.12", "registry")]
    assert found[1].image == f"python:3.12-slim@{DIGEST}"
    assert found[1].context == f"docker-image://python:3.12-slim@{DIGEST}"
    assert missing == ()


def test_a_pin_is_obeyed_without_asking(world: World, settings: Settings) -> None:
    """`registry` with a pin needs no network of its own."""
    lookup.write_bases_lock(settings.root, {"3.13": OTHER})
    found, _ = resolve.ensure_bases(settings._replace(base="registry"), world.engine, ["3.13"])
    assert found[0].digest == OTHER
    assert world.questions == []


def test_auto_asks_for_the_pinned_image(world: World, settings: Settings) -> None:
    """What the registry must have is the pinned digest, not just the tag."""
    lookup.write_bases_lock(settings.root, {"3.13": OTHER})
    world.registry[f"python:3.13-slim@{OTHER}"] = OTHER
    found, _ = resolve.ensure_bases(settings, world.engine, ["3.13"])
    assert (found[0].source, found[0].digest) == ("registry", OTHER)


def test_a_silent_registry_is_left_alone_for_a_while(world: World, settings: Settings) -> None:
    """A no-op build is not slowed by a registry that lately did not answer."""
    lookup.write_bases_lock(settings.root, {"3.13": OTHER})
    lookup.remember_answers({f"python:3.13-slim@{OTHER}": Answer(reason="no such host", at=time.time())})
    found, _ = resolve.ensure_bases(settings, world.engine, ["3.13"])
    assert (world.questions, found[0].source) == ([], "debian")


def test_registry_only_and_silent(world: World, settings: Settings) -> None:
    """`registry` never becomes packages by itself: the error says how to get them."""
    with pytest.raises(DockyardError, match=r"does not say what python:3\.13-slim is: no such host") as caught:
        resolve.ensure_bases(settings._replace(base="registry"), world.engine, ["3.13"])
    assert 'base = "debian"' in caught.value.hint


def test_registry_without_that_python(world: World, settings: Settings) -> None:
    """A tag that does not exist is a missing Python, not a failure of all."""
    world.absent.append("python:3.12-slim")
    _, missing = resolve.ensure_bases(settings._replace(base="registry"), world.engine, ["3.12"])
    assert missing == (resolve.Missing("3.12", "the registry has no python:3.12-slim"),)


def test_trouble_is_raised(world: World, settings: Settings) -> None:
    """A full disk is no missing Python."""
    world.trouble = DockyardError("the disk is full")
    with pytest.raises(DockyardError, match="the disk is full"):
        resolve.ensure_bases(settings._replace(base="debian"), world.engine, ["3.13"])


def test_update_moves_pins(world: World, settings: Settings) -> None:
    """Where the registry answers, pins go from the old digest to the new, and are written on apply only."""
    lookup.write_bases_lock(settings.root, {"3.13": OTHER})
    world.registry |= {f"python:{python}-slim": DIGEST for python in ("3.12", "3.13")}
    changes, missing = resolve.plan_updates(settings, world.engine, ["3.12", "3.13"])
    assert [(change.python, change.before, change.after, change.pending) for change in changes] == [
        ("3.12", "", DIGEST, True),
        ("3.13", OTHER, DIGEST, True),
    ]
    assert missing == ()
    assert lookup.read_bases_lock(settings.root)["3.13"] == OTHER
    resolve.apply_updates(settings, world.engine, changes)
    assert lookup.read_bases_lock(settings.root) == {
        "3.12": DIGEST,
        "3.13": DIGEST,
    }
    again, _ = resolve.plan_updates(settings, world.engine, ["3.12", "3.13"])
    assert not [change for change in again if change.pending]


def test_update_of_services(world: World, settings: Settings, said: list[str]) -> None:
    """Their images are pinned by the same file where the registry answers, and left alone, with why, where not."""
    world.registry |= {"postgres:17": DIGEST}
    world.keep("3.13")
    world.offered["3.13"] = {"python3.13": "3.13.1-1"}
    changes, missing = resolve.plan_updates(settings, world.engine, ["3.13", "postgres:17", "redis:8"])
    assert [(change.python, change.source, change.after) for change in changes if change.pending] == [
        ("postgres:17", "registry", DIGEST)
    ]
    assert missing == ()
    assert [line for line in said if line.startswith("redis:8 stays as it is: ")]
    resolve.apply_updates(settings, world.engine, changes)
    assert lookup.read_bases_lock(settings.root) == {"postgres:17": DIGEST}


def test_update_of_packages(world: World, settings: Settings) -> None:
    """A package that the mirror has in a newer version makes a change; apply makes the base anew and loads it."""
    world.keep("3.13", libc6="1")
    world.offered["3.13"] = {"python3.13": "3.13.1-1", "libc6": "2", "extra": "1"}
    changes, missing = resolve.plan_updates(settings._replace(base="debian"), world.engine, ["3.12", "3.13"])
    assert [dict(change.packages) for change in changes] == [{"libc6": ("1", "2")}]
    assert [absent.python for absent in missing] == ["3.12"]
    assert world.questions == []
    resolve.apply_updates(settings, world.engine, changes)
    assert (world.made, world.loaded) == (["3.13"], ["dockyard-base/python:3.13-slim"])


@pytest.mark.parametrize(
    ("before", "pending"),
    [(record("3.13"), False), (None, True), (replace(record("3.13"), recipe="yesterday"), True)],
    ids=["same", "none yet", "older recipe"],
)
def test_packages_that_did_not_move(before: Record | None, pending: bool) -> None:
    """The same versions are no change; a base that is not there, or of another recipe, is one."""
    assert resolve.move_packages("3.13", before, "today", {"python3.13": "3.13.1-1"}).pending is pending


def test_update_in_a_registry_that_is_silent(world: World, settings: Settings) -> None:
    """`base = "registry"` cannot be updated without an answer."""
    with pytest.raises(DockyardError, match="does not say"):
        resolve.plan_updates(settings._replace(base="registry"), world.engine, ["3.13"])


def test_listing_asks_nobody(world: World, settings: Settings) -> None:
    """The list tells of pins, bases and those that no release ships."""
    lookup.write_bases_lock(settings.root, {"3.12": DIGEST})
    world.keep("3.13")
    first, second = resolve.list_bases(settings, ["3.12", "3.13"])
    assert (first["pin"], first["debian"], first["release"]) == (DIGEST, None, None)
    assert (second["pin"], second["debian"]["version"], second["release"]) == (None, "3.13.1", "trixie")
    assert world.questions == []


def test_side_by_side_keeps_order() -> None:
    """Every item has its outcome, in the order given; an error is raised when all have ended."""
    ended = []

    def work(item: str) -> str:
        if item == "b":
            raise DockyardError("no b")
        ended.append(item)
        return item.upper()

    assert list(parallel.run_each(work, ["c", "a"]).items()) == [("c", "C"), ("a", "A")]
    with pytest.raises(DockyardError, match="no b"):
        parallel.run_each(work, ["b", "d", "e"])
    assert {"d", "e"} <= {*ended}


def test_an_interrupt_ends_the_others() -> None:
    """Ctrl-C while several work: what they wait for is ended, those not begun never begin, and it goes on."""
    ended, begun = threading.Event(), []

    def end(_threads: object, _told: object) -> set[int]:
        ended.set()
        return set()

    def work(item: str) -> None:
        begun.append(item)
        if item == "a":
            os.kill(os.getpid(), signal.SIGINT)
        assert ended.wait(10)

    with pytest.raises(KeyboardInterrupt):
        parallel.run_each(work, ["a", "b", "c", "d"], 1, end)
    assert ended.is_set()
    assert "d" not in begun
