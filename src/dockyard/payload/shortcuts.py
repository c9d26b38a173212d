# ruff: noqa: UP035
# It runs on every Python that Dockyard makes locks for, 3.9 included.
"""Take what makes pip-tools' hashing slow out of it, and say what pip's errors mean."""

from __future__ import annotations

import importlib
import re
from typing import Any, Iterator


class UnreachableError(Exception):
    """A package index did not answer, or refused."""


class Shortcuts:
    """What makes pip-tools' hashing slow, taken out; the pins and hashes stay the same.

    pip-tools asks for hashes at an address that few indexes answer, and where that fails it downloads every
    file of every release. The link on the index page, which pip has read already, states the same hash, and
    pip checks what it installs against it. Besides, it fetches, parses and weighs each page twice.

    These are the only places that reach into pip and pip-tools, both pinned in tools/. Where one of them
    has another shape, it is left as it is, and works in its own way.
    """

    def __init__(self) -> None:
        self.repository: Any = importlib.import_module("piptools.repositories.pypi").PyPIRepository
        self.finder: Any = importlib.import_module("pip._internal.index.package_finder")
        self.collector: Any = importlib.import_module("pip._internal.index.collector")
        self.version: Any = importlib.import_module("pip._vendor.packaging.version")
        self.pages: dict[str, Any] = {}
        self.links: dict[Any, Any] = {}
        self.hashed: dict[str, str] = {}
        self.only: Any = None
        self.trouble: list[str] = []

    def take(self) -> None:
        """Replace what is slow, each part only where it has the known shape."""
        if hasattr(self.repository, "_get_file_hash") and hasattr(self.repository, "_get_project"):
            self.take_stated_hashes()
        if hasattr(self.finder, "parse_links") and hasattr(self.collector.LinkCollector, "fetch_response"):
            self.remember_pages()

    def take_stated_hashes(self) -> None:
        """Take the SHA-256 that a link states, hash only the files of links without one, and note whose it is."""
        hashed = self.repository._get_file_hash

        def stated(repository: Any, link: Any) -> str:
            known = getattr(link, "hash_name", None) == "sha256" and link.hash
            digest = f"sha256:{known}" if known else str(hashed(repository, link))
            self.hashed[digest] = link.filename
            return digest

        self.repository._get_file_hash = stated
        self.repository._get_project = lambda _repository, _requirement: None

    def remember_pages(self) -> None:
        """Fetch and parse each index page once for all locks, so that all see one state of the index.

        An index that does not answer ends the compile, where pip would go on and take what another one has.
        While one version's hashes are collected, wheels of other versions are not weighed.
        """
        fetch, parse = self.collector.LinkCollector.fetch_response, self.finder.parse_links
        get_hashes = self.repository.get_hashes
        logger = importlib.import_module("logging").getLogger("pip._internal.index.collector")
        logger.addFilter(self.hear)
        logger.setLevel("DEBUG")

        def fetch_once(collector: Any, location: Any, *arguments: Any, **options: Any) -> Any:
            if location.url not in self.pages:
                self.trouble.clear()
                page = fetch(collector, location, *arguments, **options)
                for said in self.trouble:
                    raise UnreachableError(said)
                self.pages[location.url] = page
            return self.pages[location.url]

        def parse_once(page: Any) -> list[Any]:
            key = (page.url, page.content)
            if key not in self.links:
                self.links[key] = list(parse(page))
            return [link for link in self.links[key] if self.only is None or self.counts(link.filename)]

        def hashes_of_version(repository: Any, requirement: Any) -> Any:
            self.only = requirement.specifier
            try:
                return get_hashes(repository, requirement)
            finally:
                self.only = None

        self.collector.LinkCollector.fetch_response = fetch_once
        self.finder.parse_links = parse_once
        self.repository.get_hashes = hashes_of_version

    def hear(self, record: Any) -> bool:
        """Note that a page could not be fetched; that an index does not have a package is no trouble."""
        said = record.getMessage()
        if said.startswith("Could not fetch") and " 404 " not in said:
            self.trouble.append(said)
        return True

    def counts(self, filename: str) -> bool:
        """Return whether a file may be of the wanted version: a wheel says its version, all others may."""
        parts = filename.split("-")
        if not filename.endswith(".whl") or len(parts) < 5:
            return True
        try:
            return bool(self.only.contains(self.version.Version(parts[1]), prereleases=True))
        except self.version.InvalidVersion:
            return True


def find_blamed(error: BaseException) -> Iterator[dict[str, str]]:
    """Yield the requirements that pip's resolver gave up on: what, by which package, from which line."""
    found: BaseException | None = error
    while found is not None and not hasattr(found, "causes"):
        found = found.__cause__ or found.__context__
    for cause in getattr(found, "causes", ()):
        source = cause.requirement.get_candidate_lookup()[1] if cause.parent is None else None
        by = f"{cause.parent.name} {cause.parent.version}" if cause.parent else ""
        yield {"what": str(cause.requirement), "by": by, "line": str(getattr(source, "comes_from", None) or "")}


def explain_network(error: BaseException) -> str:
    """Return what is wrong where an error comes from the network, and an empty text for every other error."""
    if isinstance(error, UnreachableError):
        return str(error)
    if not type(error).__module__.endswith("exceptions.network"):
        return ""
    parts = (getattr(error, "message", None) or error, getattr(error, "context", ""))
    return ": ".join(re.sub(r"\[/?\w*\]", "", str(part)) for part in parts if part)  # without marks for colours
