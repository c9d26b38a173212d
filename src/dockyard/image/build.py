"""Build images: read the world, decide, show the plan, execute, report and record."""

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dockyard import console
from dockyard.bases.resolve import Base, Missing, ensure_bases
from dockyard.engine.archive import describe_instruction
from dockyard.engine.client import Engine, find_engine
from dockyard.engine.inside import PAYLOAD
from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.git import Git, read_git
from dockyard.host import ca_bundle
from dockyard.image import bake, names, records
from dockyard.image.dockerfile import Dockerfile, read_dockerfile
from dockyard.image.failures import explain_failure, is_race
from dockyard.image.interpreter import OWN_PROGRAM, PROGRAM, Keeper
from dockyard.image.names import Variant
from dockyard.image.record_types import CacheRecord, Details, ImageRecord, LayerRecord, PackageRecord
from dockyard.locks import check
from dockyard.locks.indexes import Access, read_logins
from dockyard.locks.pins import parse_pins
from dockyard.process import Command, Completed, checked
from dockyard.settings import Settings

log = logging.getLogger(__name__)


KEEP = "KEEP"
LOCKS = "LOCKS"
WHEELS = "WHEELS_FROM"
VERSION = "PROJECT_VERSION"


@dataclass(frozen=True)
class Request:
    """What a person asks to be built; empty fields mean the settings' defaults."""

    targets: tuple[str, ...] = (names.PRODUCTION,)
    pythons: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    push: bool = False
    force: bool = False
    """Whether what was built from uncommitted changes is pushed all the same."""

    @property
    def result(self) -> str:
        """The option of buildx that says where images go."""
        return "--push" if self.push else "--load"

    def variants(self, settings: Settings) -> tuple[Variant, ...]:
        """Return every image asked for; raise UsageError for a Python the project does not support."""
        pythons = self.pythons or (settings.python,)
        for python in pythons:
            if python not in settings.pythons:
                raise UsageError(
                    f"Python {python} is not supported by this project: {', '.join(settings.pythons)} are",
                    "add it to pythons in [tool.dockyard] and run `invoke lock`",
                )
        return tuple(Variant(target, python) for target in self.targets for python in pythons)


@dataclass(frozen=True)
class World:
    """What is true before a build: the commit, the host's certificates and logins of indexes, the bases at hand."""

    git: Git | None
    ca: Path | None
    bases: tuple[Base, ...] = ()
    dockerfile: Dockerfile = field(default_factory=Dockerfile)
    logins: Access = field(default_factory=Access)


@dataclass(frozen=True)
class Built:
    """One finished image: its references, digest, size in bytes, and layers."""

    variant: Variant
    references: tuple[str, ...]
    digest: str
    size: int
    layers: tuple[LayerRecord, ...]
    seconds: float
    cache: CacheRecord


@dataclass(frozen=True)
class Job:
    """One solve that is about to run: what is wanted, what is true, and what was decided."""

    settings: Settings
    engine: Engine
    found: World
    request: Request
    planned: tuple[bake.BakeTarget, ...]
    recording: records.Recording


def read_world(settings: Settings) -> World:
    """Read what needs no engine."""
    return World(
        git=read_git(settings.root),
        ca=ca_bundle(),
        dockerfile=read_dockerfile(settings.root, settings.dockerfile),
        logins=read_logins(check.read_inputs(settings.root), settings.index_url, os.environ),
    )


def require_targets(targets: Sequence[str], dockerfile: Dockerfile) -> None:
    """Raise UsageError for a target that is no stage of the Dockerfile (pure)."""
    known = dockerfile.targets
    for target in targets:
        if target in known:
            continue
        if known:
            raise UsageError(f"the Dockerfile has no target {target!r}", f"its targets are {', '.join(known)}")
        told = f"the Dockerfile has no target {target!r}: none of its stages has a name"
        raise UsageError(told, f"begin one with FROM IMAGE AS {target}")


def plan_images(settings: Settings, found: World, request: Request) -> tuple[bake.BakeTarget, ...]:
    """Decide what to build: one bake target per variant whose base is at hand (pure)."""
    require_targets(request.targets, found.dockerfile)
    if settings.keep and KEEP not in found.dockerfile.arguments:
        raise DockyardError(
            f"the Dockerfile has no ARG {KEEP}, so nothing would come of keep in [tool.dockyard]",
            'give it one in the stage that makes the runtime, and there --keep "${KEEP}" to `python /dockyard runtime`',
        )
    variants, bases = request.variants(settings), {base.python: base for base in found.bases}
    if request.push:
        names.choose_tags(settings, found.git, variants[0], request.tags)  # without a name, nothing needs to be built
    planned = [
        _image(settings, found, request, variant, bases[variant.python])
        for variant in variants
        if variant.python in bases
    ]
    if settings.build_cache and len(planned) == 1:
        # Several images would overwrite each other's cache: they only read one.
        planned = [replace(planned[0], cache_to=(f"{settings.build_cache},mode=max",))]
    return tuple(planned)


def _image(settings: Settings, found: World, request: Request, variant: Variant, base: Base) -> bake.BakeTarget:
    moving = () if request.push else (names.local_name(settings, variant),)
    tagged = found.git or request.tags or request.push
    named = names.choose_tags(settings, found.git, variant, request.tags) if tagged else ()
    secrets = (
        *((f"id=ca,src={found.ca}",) if found.ca else ()),
        *(("id=pip,env=DOCKYARD_PIP_CONF",) if found.logins.pip_conf else ()),
        *(("id=netrc,env=DOCKYARD_NETRC",) if found.logins.netrc else ()),
        *(f"id={name},env={name}" for name in found.logins.variables),
    )
    # Without git the Dockerfile's own default stands.
    version = {VERSION: found.git.project_version} if found.git and VERSION in found.dockerfile.arguments else {}
    contexts = {base.reference: base.context}
    if PROGRAM in found.dockerfile.targets and not (settings.root / OWN_PROGRAM).is_dir():
        contexts[PROGRAM] = str(PAYLOAD)
    return bake.BakeTarget(
        dockerfile=settings.dockerfile,
        name=variant.name,
        target=variant.target,
        references=(*named, *moving),
        arguments={
            "PYTHON_VERSION": variant.python,
            "SOURCE_DATE_EPOCH": str(names.epoch(found.git)),
            **({KEEP: ":".join(settings.keep)} if settings.keep else {}),
            # Only locks with the hashes of some platforms say what is built from source: see locks.plan.
            **({WHEELS: "scratch"} if WHEELS in found.dockerfile.arguments and settings.hashes == "all" else {}),
            **version,
        },
        contexts=contexts,
        labels=names.make_labels(settings, found.git, variant, base.reference, base.digest),
        secrets=secrets,
        platforms=request.platforms or settings.platforms,
        cache_from=(settings.build_cache,) if settings.build_cache else (),
    )


def require_locks(settings: Settings, dockerfile: Dockerfile) -> None:
    """Raise DockyardError where a Dockerfile takes its packages from locks, and the project has none yet."""
    if LOCKS in dockerfile.arguments and check.inspect_locks(settings).unmade:
        raise DockyardError("there is no lock yet that says what the image holds", "`invoke lock` makes all")


def build_images(
    settings: Settings,
    request: Request,
    *,
    engine: Engine | None = None,
    heed: Callable[[Missing], None] = lambda lost: log.info(
        f"Python {lost.python} cannot be built here: {lost.reason}"
    ),
) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
    """Build what is asked for in one solve and record it; return the images and the Pythons without a base.

    `heed` is told of each of these before anything is built; it may raise to end all.
    """
    with records.record_run(settings, "build") as recording:
        found = read_world(settings)
        plan_images(settings, found, request)  # a wrong target is said before an engine starts
        require_locks(settings, found.dockerfile)
        variants, platforms = request.variants(settings), request.platforms or settings.platforms
        recording.git = found.git
        recording.details = {"target": variants[0].target, "python": variants[0].python}
        if len(platforms) == 1:
            recording.details["platform"] = platforms[0]
        engine = engine or find_engine(settings)
        recording.details["engine"] = records.describe_engine(engine)
        pythons = tuple(dict.fromkeys(variant.python for variant in variants))
        with recording.step("base images"):
            wanted = settings._replace(platforms=platforms)
            bases, missing = ensure_bases(wanted, engine, pythons, run=False, heed=heed)
        found = replace(found, bases=bases)
        planned = plan_images(settings, found, request)
        if not planned:
            text = "nothing can be built: no Python asked for has a base image here"
            raise DockyardError(text, "`invoke base.list` shows which have one")
        built = _run(Job(settings, engine, found, request, planned, recording))
        recording.parts = [_describe_built(settings, image) for image in built]
    return built, missing


def for_here(settings: Settings) -> Settings:
    """Return the settings for an image that runs on this machine's engine, whatever platforms are shipped (pure)."""
    return settings._replace(platforms=())


def make_command(job: Job, metadata: Path) -> Command:
    """Return the one command that builds everything planned."""
    result = "" if any(image.output for image in job.planned) else job.request.result
    arguments = bake.arguments(
        builder=job.settings.builder, no_cache=job.request.no_cache, result=result, metadata=str(metadata)
    )
    text = json.dumps(bake.document(job.planned), indent=2)
    logins = job.found.logins
    secret = {"DOCKYARD_PIP_CONF": logins.pip_conf, "DOCKYARD_NETRC": logins.netrc, **logins.variables}
    env = bake.ENVIRONMENT | {name: value for name, value in secret.items() if value}
    return job.engine.command(*arguments, cwd=job.settings.root, env=env, input=text.encode(), secrets=logins.secrets)


def _run(job: Job) -> tuple[Built, ...]:
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        metadata = Path(folder) / "metadata.json"
        threading.Thread(target=console.prepare, daemon=True).start()  # while BuildKit works, this process only waits
        said: list[str] = []

        def make(image: bake.BakeTarget) -> None:
            said.append(solve(replace(job, planned=(image,)), metadata).stdout)

        keeper = Keeper(job.settings, job.engine, job.found.bases, make)
        planned = tuple(keeper.supply(image, anew=job.request.no_cache) for image in job.planned)
        done = solve(replace(job, planned=planned), metadata)
        written = json.loads(metadata.read_text(encoding="utf-8"))
    # What steps said in between is said at the end: a later build, from the cache, will not say it.
    missing = bake.missing_libraries("".join((*said, done.stdout)))
    for library in missing:
        log.warning(f"missing shared library: {library}")
    if missing:
        log.warning("install the packages in the base stage of the Dockerfile; `invoke verify` judges what is left")
    seconds, cache = job.recording.seconds(), bake.cache_use(bake.read_steps(done.arrivals))
    made = []
    for image in job.planned:
        variant = Variant(image.target, image.arguments["PYTHON_VERSION"])
        digest = str(written.get(image.name, {}).get("containerimage.digest", ""))
        made.append(Built(variant, image.references, digest, 0, (), seconds, cache))
    if job.request.push:
        return tuple(made)
    with job.recording.step("look at the image"):
        return tuple(_inspected(job.engine, image) for image in made)


def solve(job: Job, metadata: Path, *, again: bool = True) -> Completed:
    """Run BuildKit; where the engine tripped over its own work, run it once more: it has cached what was done."""
    command, began = make_command(job, metadata), job.recording.seconds()
    done = job.engine.runner.tee(command, check=False)
    job.recording.steps += bake.read_steps(done.arrivals, began)
    try:
        return checked(command, done)
    except CommandError as error:
        told = explain_failure(error)
        if not again or not is_race(error):
            raise told from None
    log.info(f"{told.message}: trying once more")
    return solve(job, metadata, again=False)


def _inspected(engine: Engine, image: Built) -> Built:
    """Return a built image with its size and layers, as the engine that holds it knows them."""
    name = image.references[0]
    size, history = (engine.ask(f"/images/{name}/{what}") for what in ("json", "history"))
    if size is None or history is None:  # an engine without a local socket
        said = engine.run("history", "--no-trunc", "--human=false", "--format=json", name).stdout
        size, history = engine.inspect_image(name), [json.loads(line) for line in said.splitlines()]
    layers = tuple(
        LayerRecord(size_bytes=int(entry["Size"]), created_by=describe_instruction(entry["CreatedBy"]))
        for entry in reversed(history)
        if int(entry["Size"])
    )
    digests = (size.get("RootFS") or {}).get("Layers") or ()
    if len(digests) == len(layers):  # else it cannot be told which is whose
        for layer, digest in zip(layers, digests, strict=True):
            layer["digest"] = digest
    return replace(image, size=int(size["Size"]), layers=layers)


def _describe_built(settings: Settings, image: Built) -> Details:
    """Return what an image's own record holds beside what all of one build have."""
    found: ImageRecord = {"reference": image.references[0], "digest": image.digest, "layers": [*image.layers]}
    if image.size:
        found["size_bytes"] = image.size
    if packages := read_locked_packages(settings, image.variant):
        found["packages"] = packages
    return {
        "target": image.variant.target,
        "python": image.variant.python,
        "cache": image.cache,
        "image": found if image.digest else None,
    }


def read_locked_packages(settings: Settings, variant: Variant) -> list[PackageRecord]:
    """Return what the lock of a variant pins, wherever it counts; nothing where the project has no such lock."""
    try:
        text = (settings.root / check.choose_lock(settings.root, variant.target, variant.python)).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    return [{"name": pin.name, "version": pin.version or pin.address, "type": "python"} for pin in parse_pins(text)]


def choose_references(settings: Settings, request: Request) -> dict[Variant, tuple[str, ...]]:
    """Return the names under which each image is tagged or pushed; raise UsageError where nothing says what they are.

    A target that the Dockerfile has not is told here too, before anybody looks for an engine or a registry.
    """
    require_targets(request.targets, read_dockerfile(settings.root, settings.dockerfile))
    git, variants = read_git(settings.root), request.variants(settings)
    return {variant: names.choose_tags(settings, git, variant, request.tags) for variant in variants}


def retag(settings: Settings, engine: Engine, target: str, python: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the newest image of a target the tags in `chosen`, or those from git; return the references."""
    ((variant, references),) = choose_references(settings, Request((target,), (python,), tags=tuple(chosen))).items()
    local = names.local_name(settings, variant)
    if engine.inspect_image(local) is None:
        raise DockyardError(
            f"there is no image {local}", f"`invoke build --target {target} --python {python}` makes it"
        )
    for reference in references:
        engine.run("tag", local, reference)
    return references
