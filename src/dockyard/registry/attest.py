"""Attach to a pushed image what it holds and what it was made from: a bill of materials and its provenance.

Both refer to the image (OCI 1.1) and are no part of it: its digest is what it was. What is said of an image is read
from its own layers in the registry. Doing it again changes nothing; one that was interrupted is finished.
"""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockyard.engine import archive
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.locks.check import list_purposes, lock_path
from dockyard.locks.pins import parse_pins
from dockyard.registry import documents
from dockyard.registry.client import Reference, parse_reference
from dockyard.registry.content import Document, Repository, open_repository
from dockyard.registry.documents import Subject
from dockyard.registry.errors import Kind, RegistryError, hint

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


def attest_image(settings: "Settings", reference: str, *, engine: Engine | None = None) -> tuple[Attached, ...]:
    """Attach both documents to every platform of an image that was pushed; return what is attached now."""
    with open_repository(engine or find_engine(settings), reference) as repository:
        return attest_in_registry(settings, repository, parse_reference(reference))


def attest_in_registry(settings: "Settings", repository: Repository, wanted: Reference) -> tuple[Attached, ...]:
    """Attach both documents to what a repository has under a name."""
    top = repository.read_document(wanted.wanted)
    images = repository.list_images(top)
    made = tuple(one for image in images for one in _attach(repository, image, settings))
    now = repository.read_document(wanted.wanted).digest
    if now != top.digest:  # others may push while we attach
        text = f"{wanted} became {now} while documents were attached to {top.digest}"
        raise RegistryError(Kind.MISMATCH, text, hint(Kind.MISMATCH, wanted.host, ""))
    for one in made:
        how = "attached" if one.new else "was attached already"
        log.info(f"{one.kind} of {one.subject[:19]} ({one.platform}) {how}: {one.digest}")
    return made


def make_documents(
    subject: Subject, held: documents.Contents, lock: documents.Lock
) -> Iterator[tuple[str, str, bytes]]:
    """Yield what is attached to an image: kind, media type and bytes (pure)."""
    pins = parse_pins(lock.content.decode("utf-8-sig"))
    yield "SBOM", documents.SBOM_TYPE, documents.encode(documents.make_document(subject, held, pins))
    yield "provenance", documents.PROVENANCE_TYPE, documents.encode(documents.make_statement(subject, lock))


def read_subject(repository: Repository, found: Document) -> Subject:
    """Return an image of the registry as something to make statements about."""
    config = repository.read_blob(found.fields["config"]["digest"])
    return Subject(found.digest, json.loads(config), found.media_type, len(found.content))


def read_contents(repository: Repository, found: Document) -> documents.Contents:
    """Read what an image holds from its layers in the registry, one after the other."""
    layers = []
    for layer in found.fields.get("layers") or ():
        blob = io.BufferedReader(io.BytesIO(repository.read_blob(layer["digest"])))
        layers.append(archive.read_layer(blob, documents.keep_telling, layer["digest"]).items)
    return documents.collect_contents(layers)


def read_lock(settings: "Settings", subject: Subject) -> documents.Lock:
    """Return the lock that an image was built from; raise DockyardError where this tree is of another commit."""
    target, python = subject.label("io.dockyard.target"), subject.label("io.dockyard.python")
    git = read_git(settings.root)
    here = (git.commit + (documents.DIRTY if git.dirty else "")) if git else ""
    revision = subject.label("revision")
    if here != revision:
        text = f"the image was made from {revision}, and this tree is {here or 'in no repository'}: its lock may differ"
        raise DockyardError(text, f"git checkout {revision.removesuffix(documents.DIRTY)[:12]}, or push a new image")
    purpose = target if target in list_purposes(str(settings.root)) else "production"
    path = settings.root / lock_path(python, purpose)
    try:
        return documents.Lock(str(path.relative_to(settings.root)), path.read_bytes())
    except OSError as error:
        raise DockyardError(f"the lock of the image cannot be read: {error}", "run `invoke lock`") from None


def _attach(repository: Repository, found: Document, settings: "Settings") -> Iterator[Attached]:
    subject = read_subject(repository, found)
    lock = read_lock(settings, subject)
    platform = f"{subject.config.get('os')}/{subject.architecture}"
    for kind, media_type, content in make_documents(subject, read_contents(repository, found), lock):
        said = {CREATED: subject.label("created")}
        if kind == "provenance":
            said[PREDICATE] = documents.PREDICATE
        made, new = repository.attach(found.descriptor, content, media_type, said)
        yield Attached(kind, platform, found.digest, made.digest, len(content), new)
