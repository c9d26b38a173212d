"""Attach to a pushed image what it holds and what it was made from: a bill of materials and its provenance.

Both refer to the image (OCI 1.1) and are no part of it: its digest is what it was. What is said of an image is read
from its own layers in the registry. Doing it again changes nothing; one that was interrupted is finished.
"""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockyard.engine import archive
from dockyard.engine.client import Engine, find
from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.locks import status
from dockyard.locks.pins import parse as read_pins
from dockyard.registry import provenance, sbom
from dockyard.registry.content import Document, Place, WritableRegistry, connected, place
from dockyard.registry.errors import Kind, RegistryError, hint
from dockyard.registry.subject import Subject

if TYPE_CHECKING:
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


PREDICATE = "in-toto.io/predicate-type"
"""The annotation by which tools tell one in-toto statement from another without fetching it."""
CREATED = "org.opencontainers.image.created"


@dataclass(frozen=True)
class Attached:
    """One document that refers to an image: `new` unless it had been there before."""

    kind: str
    platform: str
    subject: str
    digest: str
    size: int
    new: bool


def attest(settings: "Settings", reference: str, *, engine: Engine | None = None) -> tuple[Attached, ...]:
    """Attach both documents to every platform of an image that was pushed; return what is attached now."""
    wanted = place(reference)
    engine = engine or find(settings)
    with connected(engine, wanted.reference) as registry:
        repository = wanted.reference.repository
        top = registry.document(repository, wanted.wanted)
        made = tuple(
            one
            for found in images_of(registry, repository, top)
            for one in _attach(registry, repository, found, settings)
        )
        _unmoved(registry, wanted, top)
    for one in made:
        how = "attached" if one.new else "was attached already"
        log.info(f"{one.kind} of {one.subject[:19]} ({one.platform}) {how}: {one.digest}")
    return made


def documents(subject: Subject, held: sbom.Contents, lock: provenance.Lock) -> Iterator[tuple[str, str, bytes]]:
    """Yield what is attached to an image: kind, media type and bytes (pure)."""
    pins = read_pins(lock.content.decode("utf-8-sig"))
    yield "SBOM", sbom.MEDIA_TYPE, sbom.text(sbom.document(subject, held, pins))
    yield "provenance", provenance.MEDIA_TYPE, sbom.text(provenance.statement(subject, lock))


def annotations(subject: Subject, kind: str) -> Mapping[str, str]:
    """Return what the reference to a document says of it (pure)."""
    found = {CREATED: subject.created}
    return {**found, PREDICATE: provenance.PREDICATE} if kind == "provenance" else found


def images_of(registry: WritableRegistry, repository: str, top: Document) -> Iterator[Document]:
    """Yield the manifest of every platform: of an index those within, without BuildKit's own attestations."""
    entries = top.fields.get("manifests")
    if entries is None:
        yield top
    for entry in entries or ():
        if (entry.get("platform") or {}).get("os") != "unknown":
            yield registry.document(repository, entry["digest"])


def subject_of(registry: WritableRegistry, repository: str, found: Document) -> Subject:
    """Return an image of the registry as something to make statements about."""
    config = registry.blob(repository, found.fields["config"]["digest"])
    return Subject(found.digest, json.loads(config), found.media_type, len(found.content))


def contents(registry: WritableRegistry, repository: str, found: Document) -> sbom.Contents:
    """Read what an image holds from its layers in the registry, one after the other."""
    layers = []
    for layer in found.fields.get("layers") or ():
        blob = io.BytesIO(registry.blob(repository, layer["digest"]))
        layers.append(archive.layer(blob, sbom.keep, layer["digest"]).items)
    return sbom.contents(layers)


def lock_of(settings: "Settings", subject: Subject) -> provenance.Lock:
    """Return the lock that an image was built from; raise DockyardError where this tree is of another commit."""
    target, python = subject.label("io.dockyard.target"), subject.label("io.dockyard.python")
    git = read_git(settings.root)
    here = (git.commit + (provenance.DIRTY if git.dirty else "")) if git else ""
    revision = subject.label("revision")
    if here != revision:
        text = f"the image was made from {revision}, and this tree is {here or 'in no repository'}: its lock may differ"
        raise DockyardError(text, f"git checkout {revision.removesuffix(provenance.DIRTY)[:12]}, or push a new image")
    path = status.path(settings, python, target if target in status.purposes(settings) else "production")
    try:
        return provenance.Lock(str(path.relative_to(settings.root)), path.read_bytes())
    except OSError as error:
        raise DockyardError(f"the lock of the image cannot be read: {error}", "run `invoke lock`") from None


def _attach(registry: WritableRegistry, repository: str, found: Document, settings: "Settings") -> Iterator[Attached]:
    subject = subject_of(registry, repository, found)
    lock = lock_of(settings, subject)
    platform = f"{subject.config.get('os')}/{subject.architecture}"
    for kind, media_type, content in documents(subject, contents(registry, repository, found), lock):
        made, new = registry.attach(repository, found.descriptor, content, media_type, annotations(subject, kind))
        yield Attached(kind, platform, found.digest, made.digest, len(content), new)


def _unmoved(registry: WritableRegistry, wanted: Place, top: Document) -> None:
    """Raise RegistryError unless the name still means what it did: others may push while we attach."""
    now = registry.document(wanted.reference.repository, wanted.wanted).digest
    if now != top.digest:
        text = f"{wanted} became {now} while documents were attached to {top.digest}"
        raise RegistryError(Kind.MISMATCH, text, hint(Kind.MISMATCH, wanted.reference.host, ""))
