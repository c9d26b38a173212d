"""Read and write what lies in a registry: manifests, blobs, and the documents that refer to an image."""

import contextlib
import hashlib
import http
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests

from dockyard import console
from dockyard.errors import UsageError
from dockyard.registry import push
from dockyard.registry.client import ATTEMPTS, MANIFESTS, PATIENCE, Reference, Registry, _Question, parse, pause
from dockyard.registry.errors import WORTH_RETRYING, Kind, RegistryError, hint

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

log = logging.getLogger(__name__)


INDEX, MANIFEST = MANIFESTS[:2]
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
ABSENT = frozenset({Kind.UNKNOWN, Kind.MISSING})
Descriptor = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where an image lies: a reference, and a digest where the name was given with one."""

    reference: Reference
    digest: str = ""

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest, or else the tag."""
        return self.digest or self.reference.tag

    def __str__(self) -> str:
        return f"{self.reference.name}@{self.digest}" if self.digest else str(self.reference)


def place(text: str) -> Place:
    """Return the parts of `name[:tag][@digest]`; raise UsageError for anything else."""
    name, at, digest = text.partition("@")
    if at and not (digest.startswith("sha256:") and len(digest) == 71):
        raise UsageError(f"{text!r} is not an image reference", "a digest is sha256: and 64 hexadecimal digits")
    return Place(parse(name), digest)


@dataclass(frozen=True)
class Document:
    """A manifest or index as the registry has it."""

    digest: str
    media_type: str
    content: bytes

    @property
    def fields(self) -> Mapping[str, Any]:
        """What it says."""
        return dict(json.loads(self.content))

    @property
    def descriptor(self) -> Descriptor:
        """What another document names it by."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True)
class _Upload(_Question):
    """A request that carries something."""

    body: bytes = field(default=b"", repr=False)
    media_type: str = "application/octet-stream"


class WritableRegistry(Registry):
    """A registry whose content can be read whole, and added to. What it gives is hashed before it is believed."""

    def __enter__(self) -> "WritableRegistry":
        return self

    def document(self, repository: str, wanted: str) -> Document:
        """Return the manifest or index that a tag or digest means."""
        answer = self._ask(_Question("GET", f"/v2/{repository}/manifests/{wanted}", repository))
        found = _sha256(answer.content)
        if wanted.startswith("sha256:") and found != wanted:
            raise self._mismatch(repository, wanted, found)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        return Document(found, kind or str(json.loads(answer.content).get("mediaType", MANIFEST)), answer.content)

    def find(self, repository: str, wanted: str) -> Document | None:
        """Return the manifest or index that a tag or digest means, or None where there is none."""
        try:
            return self.document(repository, wanted)
        except RegistryError as error:
            if error.kind in ABSENT:
                return None
            raise

    def blob(self, repository: str, digest: str) -> bytes:
        """Return a blob."""
        content = self._ask(_Question("GET", f"/v2/{repository}/blobs/{digest}", repository)).content
        if _sha256(content) != digest:
            raise self._mismatch(repository, digest, _sha256(content))
        return content

    def put_blob(self, repository: str, content: bytes, media_type: str) -> Descriptor:
        """Upload a blob unless it is there; return its descriptor. A connection that breaks begins it anew."""
        descriptor = {"mediaType": media_type, "digest": _sha256(content), "size": len(content)}
        with contextlib.suppress(RegistryError):
            self._ask(_Question("HEAD", f"/v2/{repository}/blobs/{descriptor['digest']}", repository), 1)
            return descriptor
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._upload(repository, content, str(descriptor["digest"]))
                break
            except RegistryError as error:
                if error.kind not in WORTH_RETRYING or attempt == ATTEMPTS or error.wait > PATIENCE:
                    raise
                seconds = pause(attempt, error.wait)
                log.info(f"{error.message}; uploading again in {console.duration(seconds)}")
                self.sleep(seconds)
        return descriptor

    def _upload(self, repository: str, content: bytes, digest: str) -> None:
        begin = _Question("POST", f"/v2/{repository}/blobs/uploads/", repository, "pull,push")
        answer = self._ask(begin, 1)
        where = urljoin(answer.url, answer.headers.get("Location", ""))
        where += f"{'&' if '?' in where else '?'}digest={digest}"
        self._ask(_Upload("PUT", where, repository, "pull,push", content), 1)

    def put_document(self, repository: str, content: bytes, media_type: str, name: str = "") -> tuple[Document, bool]:
        """Store a manifest or index by its digest, or under a tag; say too whether its subject was noticed."""
        made = Document(_sha256(content), media_type, content)
        path = f"/v2/{repository}/manifests/{name or made.digest}"
        answer = self._ask(_Upload("PUT", path, repository, "pull,push", content, media_type))
        return made, bool(answer.headers.get("OCI-Subject"))

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """Return what refers to an image: by the registry's own account, or from the tag that stands in for it."""
        try:
            answer = self._ask(_Question("GET", f"/v2/{repository}/referrers/{digest}", repository))
            if answer.headers.get("Content-Type", "").startswith(INDEX):
                return tuple(json.loads(answer.content).get("manifests") or ())
        except RegistryError as error:
            # Registries older than the referrers API answer with 404, and some with another refusal.
            if error.kind in WORTH_RETRYING or error.kind is Kind.DENIED:
                raise
        listed = self.find(repository, fallback(digest))
        return tuple(listed.fields.get("manifests") or ()) if listed else ()

    def attach(
        self, repository: str, subject: Descriptor, content: bytes, media_type: str, annotations: Mapping[str, str]
    ) -> tuple[Document, bool]:
        """Make a document refer to an image, without touching that; say too whether it was new."""
        wanted = artifact(subject, content, media_type, annotations)
        made = Document(_sha256(wanted), MANIFEST, wanted)
        known = self.referrers(repository, str(subject["digest"]))
        if any(one.get("digest") == made.digest for one in known) and self.find(repository, made.digest):
            return made, False
        self.put_blob(repository, EMPTY, EMPTY_TYPE)
        self.put_blob(repository, content, media_type)
        _, noticed = self.put_document(repository, wanted, MANIFEST)
        if not noticed:
            entry = {**made.descriptor, "artifactType": media_type, "annotations": dict(annotations)}
            self.put_document(repository, listing([*known, entry]), INDEX, fallback(str(subject["digest"])))
        return made, True

    def _authorised(self, question: _Question) -> requests.Response:
        if not isinstance(question, _Upload):
            return super()._authorised(question)
        url = urljoin(self.base, question.path)
        scope = f"repository:{question.repository}:{question.actions}"
        headers = {"Content-Type": question.media_type}
        known = {"Authorization": self._logins[scope]} if scope in self._logins else {}
        answer = self._transport.send(question.method, url, {**headers, **known}, data=question.body)
        if answer.status_code != http.HTTPStatus.UNAUTHORIZED:
            return answer
        login = self._login(answer.headers.get("WWW-Authenticate", ""), scope)
        if login is None:
            return answer
        answer = self._transport.send(question.method, url, {**headers, "Authorization": login}, data=question.body)
        if answer.ok:
            self._logins[scope] = login
        return answer

    def _mismatch(self, repository: str, wanted: str, found: str) -> RegistryError:
        text = f"{self.access.host} gave something of {repository} with the digest {found}, not {wanted}"
        return RegistryError(Kind.MISMATCH, text, hint(Kind.MISMATCH, self.access.host, repository))


def artifact(subject: Descriptor, content: bytes, media_type: str, annotations: Mapping[str, str]) -> bytes:
    """Return the manifest of one document that refers to an image, by OCI's image specification 1.1 (pure)."""
    named = {key: subject[key] for key in ("mediaType", "digest", "size")}
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": EMPTY_TYPE, "digest": _sha256(EMPTY), "size": len(EMPTY)},
            "layers": [{"mediaType": media_type, "digest": _sha256(content), "size": len(content)}],
            "subject": named,
            "annotations": dict(sorted(annotations.items())),
        }
    )


def listing(entries: Sequence[Descriptor]) -> bytes:
    """Return the index that stands in for the referrers API, each entry once (pure)."""
    found = {str(entry["digest"]): dict(entry) for entry in entries}
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(found.values())})


def fallback(digest: str) -> str:
    """Return the tag under which a registry without the referrers API lists what refers to an image (pure)."""
    return digest.replace(":", "-")


@contextlib.contextmanager
def connected(engine: "Engine", reference: Reference) -> Iterator[WritableRegistry]:
    """Yield a conversation with the registry of an image, with the engine's own logins and rules."""
    with contextlib.closing(engine.client()) as client:
        info = client.info()
    access = push._access(engine, info, reference.host)
    with WritableRegistry(access, time.sleep) as registry:
        try:
            registry.connect()
        except RegistryError as error:
            if error.kind is Kind.UNREACHABLE and info.get("Name") != socket.gethostname():
                log.info("the engine is a remote one: it may reach registries that this machine cannot")
            raise
        yield registry


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
