"""Build and start the images that the benchmark compares, and take the time.

BuildKit knows a step again by its input and a layer by its content, from other runs too. So the base, and a
file in each of our layers, are another one in every run: nothing that is measured was built before. The layers' times
stay what they are, since BuildKit does not go by them: it would copy those of a benchmark into the next real image.
"""

import itertools
import json
import os
import secrets
import shutil
import tarfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from aims import MEASURES, OURS, YARDSTICKS

from dockyard.bases.resolve import Base
from dockyard.engine.client import Engine
from dockyard.errors import CommandError, DockyardError
from dockyard.image.interpreter import STAGE
from dockyard.process import capture

Say = Callable[[str], None]
RECIPES = Path(__file__).parent / "recipes"
APP = RECIPES / "app"
COMMAND = (
    "gunicorn", "--bind=0.0.0.0:8000", "--workers=1", "--no-control-socket", "--worker-tmp-dir=/dev/shm",
    "shop:create_app()",
)  # fmt: skip
PATIENCE = 60.0
PAUSE = 0.002
ATTEMPTS = 3
REST = 10.0
"""Seconds before a build that asks the network much: some name servers answer only so many questions at a time."""

SETTLE = "    for folder, folders, names in os.walk(layer, topdown=False):\n"
"""The line by which the last step of every layer of ours begins."""

TIMES = {"start": 3, "source": 2, "same": 2}
"""Turns in a round: what takes little time is measured more often."""


@dataclass
class Bench:
    """The images of one run: their contexts lie in `folder`, their cache mounts are this run's own."""

    engine: Engine
    folder: Path
    root: Path
    base: Base
    ca: Path | None
    run: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")
    names: tuple[str, ...] = ()
    contexts: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    made: set[str] = field(default_factory=set)

    def prepare(self, names: Sequence[str], say: Say) -> None:
        """Make base and contexts, and build every image once: a recipe that does not work is found here."""
        say("the base without bytecode, and uv")
        self.contexts = {self.base.reference: self.base.context}
        self.build_into("uv-program", "type=local,dest=")
        self.contexts = {self.base.reference: self.make_base(), "uv": str(self.folder / "uv-program")}
        for name in names:
            say(f"{name}: the first build")
            make_context(self.root, self.context(name), name, run=self.run)
            self.build(name)
        if OURS in names:
            self.kept = (f"--build-context={STAGE}={self.keep_interpreter(OURS)[1]}",)
        self.names = tuple(names)

    def make_base(self) -> str:
        """Make the base that all recipes start from, another one in every run, and return its build context."""
        folder = self.folder / "base"
        self.build_into("base", "type=oci,tar=false,dest=", f"--build-arg=RUN={self.run}")
        (manifest,) = json.loads((folder / "index.json").read_text("utf-8"))["manifests"]
        return f"oci-layout://{folder}@{manifest['digest']}"

    def measure(self, rounds: int, say: Say) -> dict[str, dict[str, list[float]]]:
        """Return all values: measure, recipe, one value per round."""
        changes = changed_blocks((APP / "changes.txt").read_text("utf-8"))
        blocks = {name: itertools.cycle(changes) for name in self.names}
        samples: dict[str, dict[str, list[float]]] = {measure.name: {} for measure in MEASURES}
        yardsticks = {one.name for one in YARDSTICKS}
        packed = [name for name in self.names if name not in yardsticks]
        for name in packed:
            samples["size"][name] = [float(self.size(name))]
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            order = rotated(self.names, number)
            takes: dict[str, Callable[[str], float]] = {
                "start": partial(self.start, processes=samples["process"]),
                # Another version in every attempt: one that fails late has filled the caches.
                "dependency": lambda name: self.change_dependency(name, next(blocks[name])),
                "source": self.change_source,
                "same": self.build,
                **({"nothing": self.build_from_nothing} if number % 2 == 0 else {}),
                "interpreter": lambda name: self.keep_interpreter(name, "--no-cache")[0],
            }
            for measure, take in takes.items():
                turns = order if measure in ("source", "same") else [name for name in order if name in packed]
                turns = [name for name in turns if measure != "interpreter" or name == OURS]
                for name in turns * TIMES.get(measure, 1):
                    os.sync()  # what the build before has written is no load on this one
                    time.sleep(REST if measure == "nothing" else 0)
                    samples[measure].setdefault(name, []).append(again(partial(take, name), say))
                    say(f"  {measure} {name}: {samples[measure][name][-1]:.2f} s")
                    if measure == "dependency":
                        again(partial(self.build, name), say)  # back to what it was, for the measures that follow
        return samples

    def context(self, name: str) -> Path:
        """Return the folder that a recipe is built from."""
        return self.folder / "contexts" / name

    def image(self, name: str) -> str:
        """Return the name of a recipe's image."""
        return f"dockyard-bench/{name}:{self.run}"

    def build(self, name: str, *options: str, caches: str = "") -> float:
        """Build a recipe's image into the engine and return the seconds that it took."""
        iid = self.folder / f"{name}.iid"
        # As `invoke build` has it: the lock has wheels of all, and the interpreter's layers are kept with the base.
        target = ("--target=production", "--build-arg=WHEELS_FROM=scratch", *self.kept) if name == OURS else ()
        seconds = capture(
            self.engine.command(
                *("buildx", "build", "--quiet", "--load", "--provenance=false", *target),
                *(f"--file={self.context(name) / 'Dockerfile'}", f"--iidfile={iid}", f"--tag={self.image(name)}"),
                *(f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={caches or self.run}", "--build-arg=SOURCE_DATE_EPOCH=0"),
                *(*self.given(), *options, str(self.context(name))),
            )
        ).seconds
        self.made.add(iid.read_text("utf-8").strip())
        return seconds

    def keep_interpreter(self, name: str, *options: str) -> tuple[float, str]:
        """Build what Dockyard keeps with a base; return the seconds that it took, and its build context."""
        layout = self.folder / f"interpreter-{secrets.token_hex(4)}"
        seconds = capture(
            self.engine.command(
                *("buildx", "build", "--quiet", "--provenance=false", f"--target={STAGE}", *options),
                *(f"--output=type=oci,tar=false,dest={layout}", f"--file={self.context(name) / 'Dockerfile'}"),
                *("--build-arg=SOURCE_DATE_EPOCH=0", *self.given(), str(self.context(name))),
            )
        ).seconds
        (manifest,) = json.loads((layout / "index.json").read_text("utf-8"))["manifests"]
        return seconds, f"oci-layout://{layout}@{manifest['digest']}"

    def build_into(self, name: str, output: str, *options: str) -> None:
        """Build what recipes need into a folder of its own."""
        capture(
            self.engine.command(
                *("buildx", "build", "--quiet", "--provenance=false", f"--output={output}{self.folder / name}"),
                *(f"--file={RECIPES / name}.Dockerfile", *options, *self.given(), str(RECIPES)),
            )
        )

    def given(self) -> tuple[str, ...]:
        """Return the options for the contexts and secrets that every build gets."""
        named = tuple(f"--build-context={name}={value}" for name, value in self.contexts.items())
        return (*named, *((f"--secret=id=ca,src={self.ca}",) if self.ca else ()))

    def build_from_nothing(self, name: str) -> float:
        """Build every step; BuildKit empties the cache mounts for it, so they are others than this run's."""
        return self.build(name, "--no-cache", caches=f"{self.run}-{name}")

    def change_dependency(self, name: str, block: str) -> float:
        """Build with another version of one package, then put the lock back."""
        locks = lock_files(self.context(name))
        before = [lock.read_text("utf-8") for lock in locks]
        for lock, text in zip(locks, before, strict=True):
            lock.write_text(with_block(text, block), "utf-8")
        try:
            return self.build(name)
        finally:
            for lock, text in zip(locks, before, strict=True):
                lock.write_text(text, "utf-8")

    def change_source(self, name: str) -> float:
        """Build after one line of source has changed to what it never was."""
        file = self.context(name) / "src" / "shop" / "__init__.py"
        lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("__version__")]
        file.write_text("\n".join([*lines, f'__version__ = "{secrets.token_hex(8)}"', ""]), "utf-8")
        return self.build(name)

    def start(self, name: str, processes: dict[str, list[float]]) -> float:
        """Start a container and return the seconds until its first answer; add those since its process began."""
        containers = self.engine.client().containers
        made = containers.create(self.image(name), list(COMMAND), ports={"8000/tcp": ("127.0.0.1", 0)})
        try:
            begun = time.monotonic()
            made.start()
            made.reload()
            port = int((made.ports["8000/tcp"] or [{}])[0]["HostPort"])
            while not answers(port):
                if time.monotonic() - begun > PATIENCE:
                    raise DockyardError(f"{name} did not answer in time: {made.logs(tail=20).decode()}")
                time.sleep(PAUSE)
            took, now = time.monotonic() - begun, time.time()
            processes.setdefault(name, []).append(now - seconds_of(made.attrs["State"]["StartedAt"]))
            return took
        finally:
            made.remove(force=True)

    def size(self, name: str) -> int:
        """Return the bytes of an image's layers as a registry holds them."""
        archive = self.folder / "image.tar"
        capture(self.engine.command("save", f"--output={archive}", self.image(name)))
        try:
            return layers_size(archive)
        finally:
            archive.unlink()

    def remove(self) -> None:
        """Take away this run's images; the cache mounts are left to the engine's own care."""
        names = [self.image(name) for name in self.names]
        for found in (*names, *self.made):
            capture(self.engine.command("image", "rm", "--force", found), check=False)


def again(take: Callable[[], float], say: Say) -> float:
    """Return what a measurement gives; one that fails, because an index did not answer, is made again and not counted.

    Waiting for a slow index does count: medians are there for that.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return take()
        except CommandError as error:
            say(f"  failed, and not counted: {(error.output or error.message).strip().splitlines()[-1]}")
    return take()


def make_context(root: Path, folder: Path, name: str, *, run: str) -> None:
    """Lay out what one recipe is built from; ours is the repository's Dockerfile with another app in it.

    The layers of other recipes are new in every run, since they hold the time. Ours would be known again from the
    last one, and be packed for nothing: here each holds a file that names the run.
    """
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if name != OURS:
        shutil.copyfile(RECIPES / f"{name}.Dockerfile", folder / "Dockerfile")
        return
    text = (root / "Dockerfile").read_text("utf-8")
    (folder / "Dockerfile").write_text(text.replace("ledger", "shop"), "utf-8")
    payload = folder / "src" / "dockyard" / "payload"
    shutil.copytree(root / "src" / "dockyard" / "payload", payload, ignore=shutil.ignore_patterns("__pycache__"))
    files = (payload / "files.py").read_text("utf-8")
    named = files.replace(SETTLE, f'    (layer / ".run").write_text("{run}")\n{SETTLE}')
    (payload / "files.py").write_text(named, "utf-8")
    lock = folder / "requirements" / "3.13" / "production.txt"
    lock.parent.mkdir(parents=True)
    shutil.copyfile(APP / "requirements.txt", lock)


def lock_files(context: Path) -> list[Path]:
    """Return every copy of the lock in a context."""
    return [*context.glob("requirements.txt"), *context.glob("requirements/*/production.txt")]


def changed_blocks(text: str) -> list[str]:
    """Return the lock entries in a file, one text each (pure)."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    starts = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    return ["\n".join(lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def with_block(lock: str, block: str) -> str:
    """Return a lock in which an entry replaces the one of the same package (pure)."""
    name = block.partition("==")[0]
    lines = lock.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(
        (number for number, line in enumerate(lines[start + 1 :], start + 1) if not line.startswith(" ")), len(lines)
    )
    return "\n".join([*lines[:start], *block.splitlines(), *lines[end:], ""])


def seconds_of(stamp: str) -> float:
    """Return an engine's time stamp, which has nine places after the point, in seconds since the epoch (pure)."""
    whole, _, rest = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}")


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Return the names with another one first in every round, so that no place in the row favours one (pure)."""
    place = number % len(names)
    return [*names[place:], *names[:place]]


def answers(port: int) -> bool:
    """Ask once whether the shop is up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def layers_size(archive: Path) -> int:
    """Return the sum of the layers' bytes in an archive that an engine saved as an OCI layout."""
    with tarfile.open(archive) as file:

        def read(name: str) -> Any:
            member = file.extractfile(name)
            return json.load(member) if member else {}

        found = read("index.json")
        while "manifests" in found:
            digest = found["manifests"][0]["digest"]
            found = read(f"blobs/{digest.replace(':', '/')}")
        return sum(int(layer["size"]) for layer in found["layers"])
