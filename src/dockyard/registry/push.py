"""Push images through the engine, and make sure that the registry really has them.

A push is asked of the registry first, with our own eyes: engines check no certificate on loopback, hide what a
registry answered behind a status code, and some retry for a minute what can never succeed.
"""

import contextlib
import logging
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
import urllib3.exceptions
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from dockyard import console
from dockyard.errors import DockyardError, EngineError, UsageError
from dockyard.registry.client import Reference, Registry, keep_trying, parse_reference
from dockyard.registry.content import Repository, reach_registry
from dockyard.registry.errors import Kind, RegistryError, classify, hint, wanted_pause

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

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

    def count(self, ending: str) -> int:
        """Return how many layers ended so."""
        return sum(found == ending for found in self.finished.values())


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

Reach = Callable[["Engine", Mapping[str, Any], str], Registry]
"""Returns the registry of a host, as an engine that describes itself so would reach it."""

SILENCE_SECONDS = 600.0
"""How long an engine may say nothing: a registry can take minutes to file a large layer away."""
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


def explain_refusal(references: Sequence[str], *, force: bool) -> str:
    """Return why these are not pushed: a tag says that it was built from uncommitted changes; '' when forced (pure)."""
    dirty = [reference for reference in references if _DIRTY.search(parse_reference(reference).tag)]
    if not dirty or force:
        return ""
    return f"{', '.join(dirty)}: built from uncommitted changes, so nobody could build the same image again"


def refuse_dirty(references: Sequence[str], force: bool) -> None:
    """Raise DockyardError where a tag says that it was built from uncommitted changes, unless forced."""
    if why := explain_refusal(references, force=force):
        raise DockyardError(why, "commit first, or push it all the same with --force")


def push_images(
    engine: "Engine",
    references: Sequence[str],
    *,
    arrived: Callable[[Pushed], None] = lambda _image: None,
    reach: Reach = reach_registry,
) -> tuple[Pushed, ...]:
    """Push images that the engine has, check that the registry has them, and return what was pushed.

    Nothing is uploaded unless every image exists and every registry would take it. `arrived` is told of each image
    that did. Raise RegistryError with the kind of what went wrong.
    """
    pushed: list[Pushed] = []
    wanted = [_qualified(reference) for reference in references]
    for reference in wanted:
        if engine.inspect_image(str(reference)) is None:
            advice = hint(Kind.MISSING, "", "")
            raise RegistryError(Kind.MISSING, f"the engine has no image {reference}", advice)
    with _contact(engine, wanted, reach) as (client, registries):
        _check(registries, wanted)
        for reference in wanted:
            pushed.append(_push(client, registries[reference.host], reference))
            arrived(pushed[-1])
    return tuple(pushed)


def preflight(engine: "Engine", references: Sequence[str], *, reach: Reach = reach_registry) -> None:
    """Raise RegistryError unless a push of these could begin now: worth asking before a long build."""
    wanted = [_qualified(reference) for reference in references]
    with _contact(engine, wanted, reach) as (_, registries):
        _check(registries, wanted)


def verify_pushed(engine: "Engine", reference: str, digest: str, *, reach: Reach = reach_registry) -> int:
    """Return the bytes that an image has in its registry; raise RegistryError unless the tag means `digest` there.

    For images that BuildKit pushed by itself.
    """
    wanted = _qualified(reference)
    with _contact(engine, [wanted], reach) as (_, registries):
        return _verify(registries[wanted.host], wanted, digest)


def _qualified(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest:
        raise UsageError(f"{text} is a digest, and only names can be pushed to", "name a tag instead")
    if not reference.host and "/" not in reference.repository:
        advice = "set registry in [tool.dockyard], or tag the image for one: invoke tag"
        raise UsageError(f"{text} names no registry to push to", advice)
    return reference


@contextlib.contextmanager
def _contact(
    engine: "Engine", references: Sequence[Reference], reach: Reach
) -> Iterator[tuple[Client, dict[str, Registry]]]:
    """Yield the engine's client and a conversation with each registry.

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
            yield client, registries
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            advice = "`invoke doctor` looks at it; then push again"
            raise EngineError(f"the engine stopped answering: {error}", advice) from None


def _check(registries: Mapping[str, Registry], references: Sequence[Reference]) -> None:
    for host, repository in dict.fromkeys((reference.host, reference.repository) for reference in references):
        if registries[host].connected:
            Repository(registries[host], repository).check_push()


def _push(client: Client, registry: Registry, reference: Reference) -> Pushed:
    started = time.monotonic()
    log.info(f"pushing {reference}")
    try:
        digest, layers = _persist(client, registry, reference)
        size = _verify(registry, reference, digest)
        if size:
            log.info(f"the registry has it: {console.size(size)}")
    except KeyboardInterrupt:
        log.info(
            f"stopped: {reference} is in the registry what it was before; layers that arrived whole are kept there"
        )
        raise
    counts = (layers.count("pushed"), layers.count("mounted"), layers.count("existing"))
    done = Pushed(str(reference), digest, size, *counts, time.monotonic() - started)
    what = "{} layers pushed, {} mounted, {} already there".format(*counts)
    log.info(f"{done.pinned}: {what}; {console.duration(done.seconds)}")
    return done


def _persist(client: Client, registry: Registry, reference: Reference) -> tuple[str, Layers]:
    """Push until it is done, or until trying again is of no use; return the digest and what became of the layers."""

    def once() -> tuple[str, Layers]:
        layers = Layers()
        try:
            return _push_once(client, registry, reference, layers), layers
        except RegistryError as error:
            if error.kind is Kind.SERVER and registry.connected:
                # Engines keep the registry's own words (disk full, read-only) from us: ask it.
                try:
                    Repository(registry, reference.repository).check_push(attempts=1)
                except RegistryError as reason:
                    if not reason.may_pass:
                        raise
            # Engines without containerd's image store have tried five times already when they give up.
            error.may_pass &= not layers.retried and (registry.connected or error.kind is not Kind.UNREACHABLE)
            raise

    return keep_trying(once, registry.sleep, "pushing again")


def _push_once(client: Client, registry: Registry, reference: Reference, layers: Layers) -> str:
    digest = ""
    login = registry.access.credentials
    # An empty login keeps the SDK from reading a config.json of its own choice.
    auth = login.for_engine(reference.host) if login else {}
    client.api.timeout = SILENCE_SECONDS
    stream = client.api.push(reference.name, tag=reference.tag, stream=True, decode=True, auth_config=auth)
    # Leaving early, by whatever exception, hangs up, and with that the engine stops the upload.
    with contextlib.closing(stream) as events, display(layers) as show:
        for event in events:
            if "error" in event or "errorDetail" in event:
                detail = event.get("errorDetail")
                said = str((detail.get("message") if isinstance(detail, dict) else detail) or event.get("error"))
                said = re.sub(r"\?_state=\S+?(?=:? |$)", "", said).strip()
                kind = classify(said, reference.repository)
                text = f"push of {reference} failed, {kind}: {said}"
                raise registry.error(kind, text, reference.repository, wanted_pause(said))
            found = _DIGEST.search(str(event.get("status") or ""))
            digest = (found[1] if found else (event.get("aux") or {}).get("Digest")) or digest
            show(event)
    if not digest:
        raise RegistryError(Kind.OTHER, f"the engine did not say what it pushed as {reference}", "push again")
    return digest


def _verify(registry: Registry, reference: Reference, digest: str) -> int:
    """Return the image's bytes in the registry; raise RegistryError unless the tag means `digest` there."""
    if not registry.connected:
        return 0
    there = Repository(registry, reference.repository)
    found = there.find_document(reference.tag)
    if found is None or found.digest != digest:
        text = f"{reference} is {found.digest if found else 'absent'} in the registry, where {digest} was pushed"
        raise registry.error(Kind.MISMATCH, text, there.name)
    return there.measure(found)
