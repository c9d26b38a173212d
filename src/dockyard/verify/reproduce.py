"""Build an image anew, without any cache, and hold it against the one that there is."""

import logging
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dockyard.bases.resolve import ensure_bases
from dockyard.engine import archive
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.image import build, names, records
from dockyard.image.build import Job, Request
from dockyard.image.record_types import Details
from dockyard.settings import Settings
from dockyard.verify.compare import Difference, Likeness, compare_images, read_entry
from dockyard.verify.model import ImageQuery
from dockyard.verify.verify import require_image

log = logging.getLogger(__name__)


OWN = "dockyard-reproduce"
"""What the names of images and cache mounts begin with that are made for one comparison."""
MOUNTS = "BUILDKIT_CACHE_MOUNT_NS"
"""The build argument by which BuildKit keeps the cache mounts of one build apart; the image does not show it."""
PREFIX = "org.opencontainers.image."
TOLD = {
    f"{PREFIX}revision": "it was made from the commit {before}, this tree is {after}",
    f"{PREFIX}base.digest": "it was made on the base {before}, the one at hand now is {after}",
    f"{PREFIX}base.name": "it was made on {before}, the settings now say {after}",
    "io.dockyard.target": "it is the target {before}, and {after} is built here",
    "io.dockyard.python": "it has Python {before}, and {after} is built here",
}
"""Labels that say what an image was made from: where these differ, so will the images."""


@dataclass(frozen=True)
class Comparison:
    """How it went: digests as the engine names images, `notes` say which inputs were others than at first."""

    image: str
    verdict: Likeness
    existing: str
    rebuilt: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    seconds: float = 0.0


def reproduce_image(settings: Settings, query: ImageQuery, *, engine: Engine | None = None) -> Comparison:
    """Build a variant without cache under a name of its own, compare, and remove it again."""
    request = Request((query.target,), (query.python,) if query.python else (), no_cache=True)
    (variant,) = request.variants(settings)
    build.plan_images(settings, build.read_world(settings), request)  # a wrong target is said before an engine starts
    reference = query.image or names.local_name(settings, variant)
    engine = engine or find_engine(settings)
    existing = require_image(engine, reference, variant, query)
    with records.record_run(settings, "reproduce") as recording:
        recording.details = {"target": variant.target, "python": variant.python}
        recording.details["engine"] = records.describe_engine(engine)
        job = plan_rebuild(settings, engine, request, recording)
        outcome = rebuild_and_compare(job, reference, existing)
        recording.details |= describe_comparison(outcome)
        recording.failed = outcome.verdict == "different"
    return replace(outcome, seconds=recording.seconds())


def rebuild_and_compare(job: Job, reference: str, existing: Mapping[str, Any]) -> Comparison:
    """Build an image anew, return how it differs from the one that there is, and leave nothing of it."""
    notes = tuple(find_changed_inputs((existing.get("Config") or {}).get("Labels") or {}, job.planned[0].labels))
    for note in notes:
        log.info(f"{reference}: {note}")
    name = job.planned[0].references[0]
    try:
        with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
            build.solve(job, Path(folder) / "metadata.json")
        digests = existing["Id"], (job.engine.inspect_image(name) or {"Id": ""})["Id"]
        if digests[0] == digests[1]:
            return Comparison(reference, "identical", *digests, (), notes)
        log.info("the digests differ: reading both images")
        with job.recording.step("compare the images"):
            # By digest: the name may have been given to another image meanwhile.
            before, after = (archive.read_image(job.engine, one, read_entry) for one in (digests[0], name))
        if before.manifest and after.manifest:  # an index has another digest with what else is in it
            digests = before.manifest, after.manifest
        likeness, differences = compare_images(before, after)
        return Comparison(reference, likeness, *digests, differences, notes)
    finally:
        job.engine.attempt("rmi", name)
        forget_mounts(job)


def describe_comparison(outcome: Comparison) -> Details:
    """Return what a run record holds of an outcome (pure)."""
    details: Details = {
        "reproduce": {
            "verdict": outcome.verdict,
            "existing": outcome.existing,
            "rebuilt": outcome.rebuilt,
            "differences": len(outcome.differences),
        },
        "image": {"reference": outcome.image, "digest": outcome.existing},
    }
    if outcome.verdict == "different":
        details["error"] = f"{len(outcome.differences)} differences"
    return details


def plan_rebuild(settings: Settings, engine: Engine, request: Request, recording: records.Recording) -> Job:
    """Return the one build that is asked for, under a name that no other image has."""
    bases, missing = ensure_bases(settings, engine, request.pythons or (settings.python,), run=False)
    if missing:
        raise DockyardError(f"Python {missing[0].python} cannot be built here: {missing[0].reason}")
    found = replace(build.read_world(settings), bases=bases)
    (image,) = build.plan_images(settings, found, request)
    token = secrets.token_hex(6)
    own = replace(
        image,
        references=(f"{OWN}/{settings.image}:{token}",),
        # `--no-cache` empties the cache mounts that it meets, and later builds would miss what was in them: so it gets
        # its own, in which nothing is that was fetched or compiled before.
        arguments={**image.arguments, MOUNTS: f"{OWN}-{token}"},
    )
    return Job(settings, engine, found, request, (own,), recording)


def forget_mounts(job: Job) -> None:
    """Remove the cache mounts that this one build has filled, and no others."""
    builder = (f"--builder={job.settings.builder}",) if job.settings.builder else ()
    listing = ("buildx", "du", *builder, "--verbose", "--filter=type=exec.cachemount")
    said = job.engine.attempt(*listing).stdout
    for record in find_mounts(said, job.planned[0].arguments[MOUNTS]):
        job.engine.attempt("buildx", "prune", *builder, "--force", f"--filter=id={record}")


def find_mounts(listing: str, namespace: str) -> tuple[str, ...]:
    """Return the records of a namespace's cache mounts in what `buildx du --verbose` prints (pure)."""
    lines_of_one = r"(?:.+\n)*?"  # an empty line stands between two
    described = rf'Description:.* with id "{re.escape(namespace)}/'
    return tuple(re.findall(rf"^ID:\s*(\S+)\n{lines_of_one}{described}", listing, re.MULTILINE))


def find_changed_inputs(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yield which inputs of a build are others than an image's labels say (pure)."""
    for name, text in TOLD.items():
        if before.get(name, "") != after.get(name, ""):
            yield text.format(before=before.get(name) or "none", after=after.get(name) or "none")


def summarize(outcome: Comparison) -> str:
    """Return the one line that says how it went."""
    packed = "the same configuration and layers, compressed otherwise by another engine: "
    how = "not reproducible: " if outcome.verdict == "different" else "reproducible: "
    how += packed if outcome.verdict == "recompressed" else ""
    return f"{outcome.image} is {how}{outcome.existing}, built anew {outcome.rebuilt}"
