"""Ask a registry what it has of a repository, and give what it has more names."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from dockyard.registry.client import _Question, parse
from dockyard.registry.content import WritableRegistry, connected
from dockyard.registry.errors import Kind, RegistryError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

MOST_PAGES = 1_000


@dataclass(frozen=True)
class Published:
    """A repository in a registry that answers."""

    registry: WritableRegistry
    repository: str

    def tags(self) -> tuple[str, ...]:
        """Return every tag; none where the repository does not exist yet."""
        found: list[str] = []
        page = f"/v2/{self.repository}/tags/list"
        for _ in range(MOST_PAGES):
            try:
                answer = self.registry._ask(_Question("GET", page, self.repository))
            except RegistryError as error:
                if error.kind is Kind.UNKNOWN:
                    break
                raise
            found += answer.json().get("tags") or ()
            following = answer.links.get("next", {}).get("url")
            if not following:
                break
            page = urljoin(answer.url, following)
        return tuple(found)

    def digests(self, tags: Iterable[str]) -> dict[str, str]:
        """Return the digests that tags mean; those that the repository does not have are left out."""
        found = {tag: self.registry.find(self.repository, tag) for tag in tags}
        return {tag: document.digest for tag, document in found.items() if document}

    def config(self, digest: str) -> str:
        """Return the digest of an image's configuration, or an empty string for an index of several images."""
        fields = self.registry.document(self.repository, digest).fields
        return str((fields.get("config") or {}).get("digest", ""))

    def name(self, digest: str, tags: Iterable[str]) -> None:
        """Give an image more names, byte for byte the same under each."""
        document = self.registry.document(self.repository, digest)
        for tag in tags:
            self.registry.put_document(self.repository, document.content, document.media_type, tag)


@contextmanager
def published(engine: "Engine", name: str) -> Iterator[Published]:
    """Yield what a registry has of a repository; raise RegistryError where it cannot be asked."""
    reference = parse(name)
    with connected(engine, reference) as registry:
        yield Published(registry, reference.repository)
