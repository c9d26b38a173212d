"""What lies in a repository of a registry: manifests, blobs, tags, and the documents that refer to an image.

What a registry gives is hashed before it is believed.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from dockyard.registry.access import find_access
from dockyard.registry.client import ATTEMPTS, MANIFESTS, Registry, RegistryRequest, keep_trying, parse_reference
from dockyard.registry.errors import WORTH_RETRYING, Kind, RegistryError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

INDEX, MANIFEST = MANIFESTS[:2]
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
ABSENT = frozenset({Kind.UNKNOWN, Kind.MISSING})
PUSHING = "pull,push"
Descriptor = Mapping[str, Any]


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
class Repository:
    """One repository of a registry: all that can be read of it, and what may be added."""

    registry: Registry
    name: str

    def check_push(self, *, attempts: int = ATTEMPTS, room: int = 0) -> None:
        """Raise unless a push can begin: start an upload, and take it back; of nothing, or of `room` bytes.

        A full disk has a few pages left once an upload has failed: only one that writes finds it full. What such a one
        wrote, the reference registry keeps until it purges its uploads, as it does with the engine's own.
        """
        answer = self.registry.ask(self._request("POST", "blobs/uploads/", PUSHING), attempts)
        upload = urljoin(answer.url, answer.headers.get("Location", ""))
        if urlsplit(upload).netloc != urlsplit(self.registry.base).netloc or upload == answer.url:
            return
        try:
            if room:
                written = self.registry.ask(RegistryRequest("PATCH", upload, self.name, PUSHING, bytes(room)), 1)
                upload = urljoin(written.url, written.headers.get("Location", upload))
        except RegistryError as error:
            if error.kind is Kind.QUOTA:  # some registries take no piece as small as this: that says nothing
                raise
        finally:
            # The session costs the registry next to nothing and expires by itself where it cannot be taken back.
            with contextlib.suppress(RegistryError):
                self.registry.ask(RegistryRequest("DELETE", upload, self.name, PUSHING), 1)

    def read_document(self, wanted: str) -> Document:
        """Return the manifest or index that a tag or digest means."""
        answer = self.registry.ask(self._request("GET", f"manifests/{wanted}"))
        self._check_digest(answer.content, wanted)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        content = answer.content
        return Document(digest_of(content), kind or str(json.loads(content).get("mediaType", MANIFEST)), content)

    def find_document(self, wanted: str) -> Document | None:
        """Return the manifest or index that a tag or digest means, or None where there is none."""
        try:
            return self.read_document(wanted)
        except RegistryError as error:
            if error.kind in ABSENT:
                return None
            raise

    def read_digests(self, tags: Iterable[str]) -> dict[str, str]:
        """Return the digests that tags mean; those that the repository does not have are left out."""
        found = {tag: self.find_document(tag) for tag in tags}
        return {tag: document.digest for tag, document in found.items() if document}

    def measure(self, top: Document) -> int:
        """Return the bytes of an image's configuration and layers, all platforms together, as the registry has them."""
        manifests = [image.fields for image in self.list_images(top)]
        blobs = (blob for one in manifests for blob in (one["config"], *(one.get("layers") or ())))
        return sum({blob["digest"]: blob["size"] for blob in blobs}.values())

    def read_blob(self, digest: str) -> bytes:
        """Return a blob."""
        content = self.registry.ask(self._request("GET", f"blobs/{digest}")).content
        self._check_digest(content, digest)
        return content

    def put_blob(self, content: bytes, media_type: str) -> Descriptor:
        """Upload a blob unless it is there; return its descriptor. A connection that breaks begins it anew."""
        digest = digest_of(content)
        descriptor = {"mediaType": media_type, "digest": digest, "size": len(content)}

        def upload() -> None:
            answer = self.registry.ask(self._request("POST", "blobs/uploads/", PUSHING), 1)
            where = urljoin(answer.url, answer.headers.get("Location", ""))
            where += f"{'&' if '?' in where else '?'}digest={digest}"
            self.registry.ask(RegistryRequest("PUT", where, self.name, PUSHING, content), 1)

        try:
            self.registry.ask(self._request("HEAD", f"blobs/{digest}"), 1)
        except RegistryError:
            keep_trying(upload, self.registry.sleep, "uploading again")
        return descriptor

    def put_document(self, content: bytes, media_type: str, name: str = "") -> tuple[Document, bool]:
        """Store a manifest or index by its digest, or under a tag; say too whether its subject was noticed."""
        made = Document(digest_of(content), media_type, content)
        path = f"/v2/{self.name}/manifests/{name or made.digest}"
        answer = self.registry.ask(RegistryRequest("PUT", path, self.name, PUSHING, content, media_type))
        return made, bool(answer.headers.get("OCI-Subject"))

    def add_tags(self, digest: str, tags: Iterable[str]) -> None:
        """Give an image more names, byte for byte the same under each."""
        document = self.read_document(digest)
        for tag in tags:
            self.put_document(document.content, document.media_type, tag)

    def list_tags(self) -> tuple[str, ...]:
        """Return every tag; none where the repository does not exist yet."""
        found: list[str] = []
        page = f"/v2/{self.name}/tags/list"
        while page:
            try:
                answer = self.registry.ask(RegistryRequest("GET", page, self.name))
            except RegistryError as error:
                if error.kind is Kind.UNKNOWN:
                    break
                raise
            found += answer.json().get("tags") or ()
            following = answer.links.get("next", {}).get("url")
            page = urljoin(answer.url, following) if following else ""
        return tuple(found)

    def list_images(self, top: Document) -> Iterator[Document]:
        """Yield the manifest of every platform: of an index those within, without BuildKit's own attestations."""
        entries = top.fields.get("manifests")
        if entries is None:
            yield top
        for entry in entries or ():
            if (entry.get("platform") or {}).get("os") != "unknown":
                yield self.read_document(entry["digest"])

    def list_referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """Return what refers to an image: by the registry's own account, or from the tag that stands in for it."""
        try:
            answer = self.registry.ask(self._request("GET", f"referrers/{digest}"))
            if answer.headers.get("Content-Type", "").startswith(INDEX):
                return tuple(json.loads(answer.content).get("manifests") or ())
        except RegistryError as error:
            # Registries older than the referrers API answer with 404, and some with another refusal.
            if error.kind in WORTH_RETRYING or error.kind is Kind.DENIED:
                raise
        listed = self.find_document(fallback_tag(digest))
        return tuple(listed.fields.get("manifests") or ()) if listed else ()

    def attach(
        self, subject: Descriptor, content: bytes, media_type: str, annotations: Mapping[str, str]
    ) -> tuple[Document, bool]:
        """Make a document refer to an image, without touching that; say too whether it was new."""
        wanted = describe_artifact(subject, content, media_type, annotations)
        made = Document(digest_of(wanted), MANIFEST, wanted)
        listed = self.list_referrers(str(subject["digest"]))
        others = [one for one in listed if one.get("digest") != made.digest]
        if len(others) < len(listed) and self.find_document(made.digest):
            return made, False
        self.put_blob(EMPTY, EMPTY_TYPE)
        self.put_blob(content, media_type)
        _, noticed = self.put_document(wanted, MANIFEST)
        if not noticed:
            entry = {**made.descriptor, "artifactType": media_type, "annotations": dict(annotations)}
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
            self.put_document(_json(index), INDEX, fallback_tag(str(subject["digest"])))
        return made, True

    def _request(self, method: str, path: str, actions: str = "pull") -> RegistryRequest:
        return RegistryRequest(method, f"/v2/{self.name}/{path}", self.name, actions)

    def _check_digest(self, content: bytes, wanted: str) -> None:
        """Raise RegistryError where something was asked for by its digest and does not have it."""
        if ":" in wanted and (found := digest_of(content)) != wanted:
            text = f"{self.registry.access.host} gave something of {self.name} with the digest {found}, not {wanted}"
            raise self.registry.access.error(Kind.MISMATCH, text, self.name)


def describe_artifact(subject: Descriptor, content: bytes, media_type: str, annotations: Mapping[str, str]) -> bytes:
    """Return the manifest of one document that refers to an image, by OCI's image specification 1.1 (pure)."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY), "size": len(EMPTY)},
            "layers": [{"mediaType": media_type, "digest": digest_of(content), "size": len(content)}],
            "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
            "annotations": dict(sorted(annotations.items())),
        }
    )


def fallback_tag(digest: str) -> str:
    """Return the tag under which a registry without the referrers API lists what refers to an image (pure)."""
    return digest.replace(":", "-")


def digest_of(content: bytes) -> str:
    """Return the digest of some bytes, by its name of OCI's."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def reach_registry(engine: "Engine", info: Mapping[str, Any], host: str) -> Registry:
    """Return a registry as an engine that describes itself with `info` would reach it; nothing is asked yet."""
    return Registry(find_access(engine, info, host))


@contextlib.contextmanager
def open_repository(engine: "Engine", name: str) -> Iterator[Repository]:
    """Yield a repository of a registry that answers; raise RegistryError where it cannot be asked."""
    reference = parse_reference(name)
    with contextlib.closing(engine.client()) as client:
        info = client.info()
    with reach_registry(engine, info, reference.host) as registry:
        registry.connect()
        yield Repository(registry, reference.repository)
