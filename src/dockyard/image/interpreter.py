"""Keep what a Dockerfile's stage `interpreter` makes, packed, with the base images that it is made from.

It depends on the base, a few lines of the Dockerfile and the program in the build, not on sources or locks.
A build to which BuildKit's cache has nothing to give takes these layers as they are. Only the times in the image's
configuration follow the commit, so that the image is the same, to the digest, as one that was made without.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dockyard import files
from dockyard.bases.cache import add_document, locate_blob
from dockyard.bases.debian import own_platform
from dockyard.bases.lookup import Base
from dockyard.engine.client import Engine
from dockyard.image.bake import BakeTarget
from dockyard.image.dockerfile import Dockerfile, Instruction, Stage, read_dockerfile, split_words
from dockyard.settings import Settings

STAGE = "interpreter"
PROGRAM = "dockyard"
"""The stage of the program in the build, which all projects but one leave to a named context."""

OWN_PROGRAM = Path("src", "dockyard", "payload")
"""Where that one has the program itself."""

EPOCH = "SOURCE_DATE_EPOCH"
FORGOTTEN = 30 * 86400
"""Seconds after which layers that no build has used leave the cache."""

INDEX = "index.json"
"""What makes a folder an OCI layout: without it, nothing in there counts."""


@dataclass(frozen=True)
class Keeper:
    """What images are made with, and `make`, which builds one of them and writes it where its `output` says."""

    settings: Settings
    engine: Engine
    bases: Sequence[Base]
    make: Callable[[BakeTarget], None]

    def supply(self, image: BakeTarget, *, anew: bool) -> BakeTarget:
        """Return an image with the kept layers as a named context; they are made now where there are none.

        With `anew` what is kept is forgotten, as what BuildKit's cache has is. An image stays as it is without such a
        stage, where that is made of sources or of images that may change, for another platform, or by a builder or an
        engine that keeps no layouts.
        """
        place = self.locate(image) if self.engine.snapshotter and not self.settings.builder else None
        if place and anew:
            remove_layers(place)
        if not place or anew:
            return image
        with files.disk_errors():
            if not read_manifest(place):
                keep_layers(place, image, self.make)
            os.utime(place)
            context = f"oci-layout://{place}@{date_image(place, int(image.arguments[EPOCH]))}"
        return replace(image, contexts={**image.contexts, STAGE: context})

    def locate(self, image: BakeTarget) -> Path | None:
        """Return where the layers that an image is made with are kept, by all that they and their packing depend on."""
        (base,) = (base for base in self.bases if base.python == image.arguments["PYTHON_VERSION"])
        dockerfile = read_dockerfile(self.settings.root, image.dockerfile, image.arguments)
        stages = collect_stages(dockerfile, STAGE, {base.reference, PROGRAM})
        used = collect_stages(dockerfile, image.target) or ()
        if not stages or STAGE not in {stage.name for stage in used} or not {*image.platforms} <= {own_platform()}:
            return None
        lines = [line for stage in stages for line in stage.instructions]
        names = {word.partition("=")[0] for line in lines if line.keyword == "ARG" for word in split_words(line.rest)}
        program = sorted(Path(image.contexts.get(PROGRAM, self.settings.root / OWN_PROGRAM)).glob("*.*"))
        parts = (
            *(self.engine.version, base.digest, *(stage.base for stage in stages)),
            *(str((line.keyword, line.flags, line.rest, line.heredocs)) for line in lines),
            *(f"{name}={dockerfile.defaults.get(name, image.arguments.get(name))}" for name in sorted(names)),
            *(path.read_text("utf-8") for path in program),
        )
        return files.folder() / f"{STAGE}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def collect_stages(dockerfile: Dockerfile, name: str, given: Set[str] | None = None) -> tuple[Stage, ...] | None:
    """Return a stage and all that it is made of; None where that is more than stages and what is `given` (pure).

    Without `given`, what is no stage does not count.
    """
    named = {stage.name or str(stage.number): stage for stage in dockerfile.stages}
    found: dict[str, Stage] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in named and one not in found and one not in (given or ()):
            found[one] = named[one]
            waiting += [found[one].base, *(source for line in found[one].instructions for source in read_sources(line))]
        elif given is not None and one not in {*found, *given, "scratch"}:
            return None
    return tuple(found.values())


def read_sources(line: Instruction) -> Iterator[str]:
    """Yield the stages and images that an instruction reads; an empty name stands for the sources (pure)."""
    options = [flag.partition("=")[::2] for flag in line.flags]
    if line.keyword in ("COPY", "ADD"):
        yield dict(options).get("--from", "")
    for flag, value in options:
        mount = dict(part.partition("=")[::2] for part in value.split(","))
        if flag == "--mount" and mount.get("type", "bind") == "bind":
            yield mount.get("from", "")


def keep_layers(place: Path, image: BakeTarget, make: Callable[[BakeTarget], None]) -> None:
    """Build the stage into an OCI layout, which is there whole or not at all; forget what was not used for long."""
    files.make_folder(place.parent)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{STAGE}-") as folder:
        layout = Path(folder) / "layout"
        make(
            replace(
                image,
                name=STAGE,
                target=STAGE,
                output=(f"type=oci,tar=false,dest={layout}",),
                arguments={**image.arguments, EPOCH: "0"},
                references=(),
                labels={},
                cache_to=(),
            )
        )
        if not read_manifest(place):  # else another build was faster
            shutil.rmtree(place, ignore_errors=True)
            layout.rename(place)
    for old in place.parent.glob(f"{STAGE}-*"):
        if old.stat().st_mtime < time.time() - FORGOTTEN:
            remove_layers(old)


def remove_layers(place: Path) -> None:
    """Take kept layers away: they do not count any more as soon as this begins."""
    (place / INDEX).unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def read_manifest(layout: Path) -> dict[str, Any]:
    """Return the manifest of a layout; an empty one where it, or a part of what it names, is not there whole."""
    try:
        (described,) = json.loads((layout / INDEX).read_text("utf-8"))["manifests"]
        manifest: dict[str, Any] = json.loads(locate_blob(layout, described["digest"]).read_text("utf-8"))
        parts = (described, manifest["config"], *manifest["layers"])
        whole = all(locate_blob(layout, part["digest"]).stat().st_size == part["size"] for part in parts)
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return manifest if whole else {}


def date_image(layout: Path, epoch: int) -> str:
    """Return the digest of the manifest whose image was made at `epoch`, in seconds; its layers are the kept ones."""
    manifest = read_manifest(layout)
    config = json.loads(locate_blob(layout, manifest["config"]["digest"]).read_text("utf-8"))
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    history = [{**entry, "created": created} for entry in config["history"]]
    dated = add_document(layout, "config", {**config, "created": created, "history": history})
    return str(add_document(layout, "manifest", {**manifest, "config": dated})["digest"])
