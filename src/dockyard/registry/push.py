"""Push images: choose their names, let the engine push, make sure that the registry has them, record how it ended.

A push is asked of the registry first, with our own eyes: engines check no certificate on loopback, hide what a
registry answered behind a status code, and some retry for a minute what can never succeed.
"""

import contextlib
import logging
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import requests
import urllib3.exceptions
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from dockyard import console
from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError, EngineError, UsageError
from dockyard.image import records
from dockyard.image.build import Built, Request, build_images, choose_references
from dockyard.image.names import Variant
from dockyard.image.record_types import ImageRecord
from dockyard.registry.client import Reference, Registry, keep_trying, parse_reference
from dockyard.registry.content import Repository, reach_registry
from dockyard.registry.errors import HINTS, Kind, RegistryError, classify, wanted_pause
from dockyard.settings import Settings

log = logging.getLogger(__name__)

FINISHED: Mapping[str, str] = {"Pushed": "pushed", "Layer already exists": "existing", "Mounted from": "mounted"}
"""How the engine's word for the end of a layer begins, and what became of it."""


@dataclass
class Layers:
    """The layers of one push: bytes of each, what became of it, and whether the engine tried some again."""

    sizes: dict[str, int] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    retried: bool = False

    def feed(self, event: Mapping[str, Any]) -> str:
        """Take in an event of the engine's and return the layer that it tells of, or ''."""
        status, name = str(event.get("status") or ""), str(event.get("id") or "")
        self.retried |= status.startswith("Retrying")
        ending = next((known for start, known in FINISHED.items() if status.startswith(start)), "")
        if not name or not (ending or status in ("Preparing", "Waiting", "Pushing")):
            return ""
        self.sizes[name] = (event.get("progressDetail") or {}).get("total") or self.sizes.get(name, 0)
        if ending:
            self.finished[name] = ending
        return name


@contextlib.contextmanager
def display(layers: Layers) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what takes in an event and shows it: a bar for each layer on a terminal, else a line when it is done."""
    plain = not sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console.make_console(sys.stderr), disable=plain) as progress:
        bars: dict[str, TaskID] = {}

        def show(event: Mapping[str, Any]) -> None:
            before = len(layers.finished)
            if not (name := layers.feed(event)):
                return
            words, size = f"{name}  {event['status']}", layers.sizes[name]
            if plain and len(layers.finished) > before:
                log.info(f"  {words}{f', {console.size(size)}' if size else ''}")
            if name not in bars:
                bars[name] = progress.add_task(name, total=None)
            sent = size or 1 if name in layers.finished else (event.get("progressDetail") or {}).get("current")
            progress.update(bars[name], total=size or sent, completed=sent, description=words)

        yield show


Client = Any
"""A docker.DockerClient: its module is imported in engine/client.py."""

Reach = Callable[[Engine, Mapping[str, Any], str], Registry]
"""Returns the registry of a host, as an engine that describes itself so would reach it."""

SILENCE_SECONDS = 600.0
"""How long an engine may say nothing: a registry can take minutes to file a large layer away."""
PROBE_BYTES = 65_536
"""What is written to a registry that failed, to learn whether its storage is full: more than a small upload frees."""
_DIRTY = re.compile(r"(?:^|[-._])dirty(?:[-._]|$)")
_DIGEST = re.compile(r"digest: (sha\d+:[0-9a-f]+) size: \d+")


@dataclass(frozen=True)
class Pushed:
    """What a push came to: layer counts by what was needed, `size` in bytes of all that the image has there."""

    reference: str
    digest: str
    size: int
    pushed: int
    mounted: int
    existing: int
    seconds: float

    @property
    def pinned(self) -> str:
        """The name that means this very image for ever: repository@digest."""
        return f"{parse_reference(self.reference).name}@{self.digest}"


def push_images(
    engine: Engine,
    references: Sequence[str],
    *,
    arrived: Callable[[Pushed], None] = lambda _image: None,
    reach: Reach = reach_registry,
) -> tuple[Pushed, ...]:
    """Push images that the engine has, check that the registry has them, and return what was pushed.

    Nothing is uploaded unless every image exists and every registry would take it. `arrived` is told of each image
    that did. Raise RegistryError with the kind of what went wrong.
    """
    wanted = _read_names(references)
    for reference in wanted:
        if engine.inspect_image(str(reference)) is None:
            raise RegistryError(Kind.MISSING, f"the engine has no image {reference}", HINTS[Kind.MISSING])
    pushed: list[Pushed] = []
    with _contact(engine, wanted, reach) as (client, repositories):
        _check(repositories)
        for reference, there in repositories.items():
            pushed.append(_push(client, there, reference))
            arrived(pushed[-1])
    return tuple(pushed)


def preflight(engine: Engine, references: Sequence[str], *, reach: Reach = reach_registry) -> None:
    """Raise RegistryError unless a push of these could begin now: worth asking before a long build."""
    with _contact(engine, _read_names(references), reach) as (_, repositories):
        _check(repositories)


def verify_pushed(engine: Engine, reference: str, digest: str, *, reach: Reach = reach_registry) -> int:
    """Return the bytes that an image has in its registry; raise RegistryError unless the tag means `digest` there.

    For images that BuildKit pushed by itself.
    """
    with _contact(engine, _read_names([reference]), reach) as (_, repositories):
        ((wanted, there),) = repositories.items()
        return _verify(there, wanted, digest)


def _read_names(texts: Sequence[str]) -> list[Reference]:
    references = [parse_reference(text) for text in texts]
    for reference in references:
        if not reference.host and "/" not in reference.repository:
            advice = "set registry in [tool.dockyard], or tag the image for one: invoke tag"
            raise UsageError(f"{reference} names no registry to push to", advice)
    return references


@contextlib.contextmanager
def _contact(
    engine: Engine, references: Sequence[Reference], reach: Reach
) -> Iterator[tuple[Client, dict[Reference, Repository]]]:
    """Yield the engine's client, and where each image goes.

    Only a registry that just a remote engine can reach may be unconnected.
    """
    registries: dict[str, Registry] = {}
    with contextlib.closing(engine.client()) as client, contextlib.ExitStack() as stack:
        try:
            info = client.info()
            for host in dict.fromkeys(reference.host for reference in references):
                registries[host] = stack.enter_context(reach(engine, info, host))
                try:
                    registries[host].connect()
                except RegistryError as error:
                    if info.get("Name") == socket.gethostname() or error.kind is not Kind.UNREACHABLE:
                        raise
                    log.info(f"{error.message} from here, perhaps by the remote engine: what is pushed is not checked")
            yield client, {one: Repository(registries[one.host], one.repository) for one in references}
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            advice = "`invoke doctor` looks at it; then push again"
            raise EngineError(f"the engine stopped answering: {error}", advice) from None


def _check(repositories: Mapping[Reference, Repository]) -> None:
    for there in dict.fromkeys(repositories.values()):
        if there.registry.connected:
            there.check_push()


def _push(client: Client, there: Repository, reference: Reference) -> Pushed:
    """Push until it is done, or until trying again is of no use."""
    started = time.monotonic()
    log.info(f"pushing {reference}")
    try:
        digest, layers = keep_trying(
            lambda: _push_once(client, there, reference), there.registry.sleep, "pushing again"
        )
        size = _verify(there, reference, digest)
    except KeyboardInterrupt:
        log.info(
            f"stopped: {reference} is in the registry what it was before; layers that arrived whole are kept there"
        )
        raise
    if size:
        log.info(f"the registry has it: {console.size(size)}")
    ends = Counter(layers.finished.values())
    counts = ends["pushed"], ends["mounted"], ends["existing"]
    done = Pushed(str(reference), digest, size, *counts, time.monotonic() - started)
    what = "{} layers pushed, {} mounted, {} already there".format(*counts)
    log.info(f"{done.pinned}: {what}; {console.duration(done.seconds)}")
    return done


def _push_once(client: Client, there: Repository, reference: Reference) -> tuple[str, Layers]:
    """Return the digest that an engine has pushed, and what became of the layers."""
    layers, registry = Layers(), there.registry
    try:
        return _follow_push(client, registry, reference, layers), layers
    except RegistryError as error:
        if error.kind is Kind.SERVER and registry.connected:
            # Engines keep the registry's own words (disk full, read-only) from us: ask it.
            try:
                there.check_push(attempts=1, room=PROBE_BYTES)
            except RegistryError as reason:
                if not reason.may_pass:
                    raise
        # Engines without containerd's image store have tried five times already when they give up.
        error.may_pass &= not layers.retried and (registry.connected or error.kind is not Kind.UNREACHABLE)
        raise


def _follow_push(client: Client, registry: Registry, reference: Reference, layers: Layers) -> str:
    digest = ""
    login = registry.access.credentials
    # An empty login keeps the SDK from reading a config.json of its own choice.
    auth = login.for_engine(reference.host) if login else {}
    client.api.timeout = SILENCE_SECONDS
    stream = client.api.push(reference.name, tag=reference.tag, stream=True, decode=True, auth_config=auth)
    # Leaving early, by whatever exception, hangs up, and with that the engine stops the upload.
    with contextlib.closing(stream) as events, display(layers) as show:
        for event in events:
            if event.keys() & {"error", "errorDetail"}:  # new engines tell the second alone
                said = str((event.get("errorDetail") or {}).get("message") or event.get("error"))
                said = re.sub(r"\?_state=\S+?(?=:? |$)", "", said).strip()
                kind = classify(said, reference.repository)
                text = f"push of {reference} failed, {kind}: {said}"
                raise registry.access.error(kind, text, reference.repository, wanted_pause(said))
            found = _DIGEST.search(str(event.get("status") or ""))
            digest = (found[1] if found else (event.get("aux") or {}).get("Digest")) or digest
            show(event)
    if not digest:
        raise RegistryError(Kind.OTHER, f"the engine did not say what it pushed as {reference}", "push again")
    return digest


def _verify(there: Repository, reference: Reference, digest: str) -> int:
    """Return the image's bytes in the registry; raise RegistryError unless the tag means `digest` there."""
    if not there.registry.connected:
        return 0
    found = there.find_document(reference.tag)
    if found is None or found.digest != digest:
        text = f"{reference} is {found.digest if found else 'absent'} in the registry, where {digest} was pushed"
        raise there.registry.access.error(Kind.MISMATCH, text, there.name)
    return there.measure(found)


def refuse_dirty(references: Sequence[str], *, force: bool) -> None:
    """Raise DockyardError where a tag says that it was built from uncommitted changes, unless forced (pure)."""
    dirty = [reference for reference in references if _DIRTY.search(parse_reference(reference).tag)]
    if dirty and not force:
        why = f"{', '.join(dirty)}: built from uncommitted changes, so nobody could build the same image again"
        raise DockyardError(why, "commit first, or push it all the same with --force")


def build_and_push(
    settings: Settings,
    request: Request,
    *,
    engine: Engine | None = None,
    reach: Reach = reach_registry,
    build: Callable[..., tuple[tuple[Built, ...], tuple[Missing, ...]]] = build_images,
) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
    """Let BuildKit push what it builds; ask the registry before, and check that it has the images after."""
    names = [name for named in choose_references(settings, request).values() for name in named]
    refuse_dirty(names, force=request.force)
    engine = engine or find_engine(settings)
    preflight(engine, names, reach=reach)
    built, missing = build(settings, request, engine=engine)
    sizes = [[verify_pushed(engine, name, image.digest, reach=reach) for name in image.references] for image in built]
    log.info(f"the registry has {'it' if len(names) == 1 else 'all of them'}")
    return tuple(replace(image, size=size[0]) for image, size in zip(built, sizes, strict=True)), missing


def push_variants(
    settings: Settings,
    wanted: Mapping[Variant, Sequence[str]],
    *,
    force: bool,
    engine: Engine | None = None,
    reach: Reach = reach_registry,
) -> tuple[Pushed, ...]:
    """Push every image under all its names and record how each ended; uncommitted changes need `force`."""
    names = [name for named in wanted.values() for name in named]
    refuse_dirty(names, force=force)
    engine = engine or find_engine(settings)
    arrived: dict[str, Pushed] = {}
    with records.record_run(settings, "push") as recording:

        def note(image: Pushed) -> None:
            arrived[image.reference] = image
            recording.steps.append({
                "name": image.reference, "started_seconds": round(max(0.0, recording.seconds() - image.seconds), 3),
                "duration_seconds": round(image.seconds, 3), "cached": not image.pushed, "outcome": "passed",
            })  # fmt: skip

        recording.details["engine"] = records.describe_engine(engine)
        try:
            return push_images(engine, names, arrived=note, reach=reach)
        finally:
            for variant, named in wanted.items():
                found: ImageRecord | None = None
                if arrived.keys() >= set(named):
                    image = arrived[named[0]]
                    found = {"reference": image.reference, "digest": image.digest, "pull_bytes": image.size}
                recording.parts.append({"target": variant.target, "python": variant.python, "image": found})
