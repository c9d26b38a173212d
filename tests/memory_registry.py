"""A registry in memory that obeys the distribution specification, with or without its referrers API."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import requests

from dockyard.registry.client import Registry
from dockyard.registry.content import INDEX, Repository

from .test_registry import ACCESS, Answer, Wire

PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<what>manifests|blobs|blobs/uploads|referrers)/(?P<name>[^/]*)")


@dataclass
class Memory:
    """What a registry holds; `trouble` are answers that it gives first, to requests of that method and kind."""

    referrers_api: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    trouble: list[tuple[str, str, Answer]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: requests.PreparedRequest) -> Answer:
        """Answer one request."""
        url = urlsplit(str(request.url))
        found = PATH.fullmatch(url.path)
        if not found:
            return Answer()
        method, what, name = str(request.method), found["what"], found["name"]
        self.asked.append(f"{method} {what}")
        for number, (verb, kind, answer) in enumerate(self.trouble):
            if (verb, kind) == (method, what):
                del self.trouble[number]
                return answer
        body = request.body if isinstance(request.body, bytes) else b""
        if method in ("GET", "HEAD"):
            return self._get(what, name)
        if method == "POST":
            return Answer(202, {"Location": f"{url.path}17?state=x"})
        return self._put(what, name, body, parse_qs(url.query), request.headers)

    def _get(self, what: str, name: str) -> Answer:
        if what == "blobs" and name in self.blobs:
            return Answer(200, {}, self.blobs[name])
        if what == "manifests" and name in self.manifests:
            kind, content = self.manifests[name]
            return Answer(200, {"Content-Type": kind}, content)
        if what == "referrers" and self.referrers_api:
            return Answer(200, {"Content-Type": INDEX}, json.dumps({"manifests": self._referring(name)}).encode())
        return Answer(404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')

    def _put(
        self, what: str, name: str, body: bytes, query: Mapping[str, list[str]], headers: Mapping[str, str]
    ) -> Answer:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if what == "blobs/uploads":
            assert query["digest"] == [digest]
            self.blobs[digest] = body
            return Answer(201)
        document = json.loads(body)
        named = [*document.get("layers", ()), *filter(None, [document.get("config")])]
        assert all(one["digest"] in self.blobs for one in named), "a manifest came before its blobs"
        assert name in (digest, name if ":" not in name else digest)
        self.manifests[name] = self.manifests[digest] = (headers["Content-Type"], body)
        subject = (document.get("subject") or {}).get("digest")
        return Answer(201, {"OCI-Subject": subject} if subject and self.referrers_api else {})

    def _referring(self, digest: str) -> list[dict[str, object]]:
        found = []
        for name, (kind, content) in self.manifests.items():
            document = json.loads(content)
            if name.startswith("sha256:") and (document.get("subject") or {}).get("digest") == digest:
                more = {key: document[key] for key in ("artifactType", "annotations")}
                found.append({"mediaType": kind, "digest": name, "size": len(content), **more})
        return found

    def push(self, layers: Mapping[str, bytes], config: bytes, tag: str) -> str:
        """Store an image under a tag, and return the digest of its manifest."""
        for content in (*layers.values(), config):
            self.blobs[f"sha256:{hashlib.sha256(content).hexdigest()}"] = content
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": f"sha256:{hashlib.sha256(config).hexdigest()}", "size": len(config)},
            "layers": [{"digest": digest, "size": len(content)} for digest, content in layers.items()],
        }
        raw = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        self.manifests[tag] = self.manifests[digest] = ("application/vnd.oci.image.manifest.v1+json", raw)
        return digest

    @contextmanager
    def repository(self, name: str = "fleet/ship") -> Iterator[Repository]:
        """Yield a repository of this registry."""
        with Registry(ACCESS, lambda _seconds: None, Wire(self)) as registry:
            yield Repository(registry, name)
