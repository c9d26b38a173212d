"""State what an image was made from and how: SLSA provenance v1 in an in-toto statement (pure).

Nothing in it depends on when or where it is written. The times at which a build began and ended are optional in
SLSA and are left out: with them, the same build would never be stated the same way twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from dockyard import __version__
from dockyard.errors import DockyardError

MEDIA_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:dockyard:build:1"
BUILDER = "urn:dockyard:builder"
DIRTY = "-dirty"
PREFIX = "org.opencontainers.image."


@dataclass(frozen=True)
class Subject:
    """One image of one platform, which statements are about.

    `digest`, `media_type` and `size` are those of its manifest, `config` is its configuration.
    """

    digest: str
    config: Mapping[str, Any]
    media_type: str = "application/vnd.oci.image.manifest.v1+json"
    size: int = 0

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def name(self) -> str:
        """The image's title: its name wherever it is pushed to."""
        return self.label("title")

    @property
    def architecture(self) -> str:
        """The processor that it is for, by the name that images use."""
        return str(self.config.get("architecture") or "")

    @property
    def created(self) -> str:
        """The time that the image is dated with, which is its commit's: 2026-11-21T00:00:00Z."""
        return self.label("created")

    @property
    def epoch(self) -> int:
        """The same in seconds."""
        return int(datetime.strptime(self.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())

    def label(self, key: str) -> str:
        """Return a label by its OCI key, or by its whole name; raise DockyardError where the image has none."""
        found = self.labels.get(PREFIX + key) or self.labels.get(key)
        if not found:
            raise DockyardError(
                f"the image {self.digest} does not say its {key.rpartition('.')[2]}: it has no such label",
                "only images made by `invoke build` say what they were made from",
            )
        return found


@dataclass(frozen=True)
class Lock:
    """The lock that an image's packages come from: its path in the project, and what it says."""

    path: str
    content: bytes


def make_statement(subject: Subject, lock: Lock) -> dict[str, Any]:
    """Return the provenance of an image, from its own labels and the lock of its commit."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": subject.name, "digest": _digest(subject.digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "target": subject.label("io.dockyard.target"),
                    "python": subject.label("io.dockyard.python"),
                    "arguments": {
                        "PYTHON_VERSION": subject.label("io.dockyard.python"),
                        "SOURCE_DATE_EPOCH": str(subject.epoch),
                    },
                    "platform": f"{subject.config.get('os', 'linux')}/{subject.architecture}",
                },
                "resolvedDependencies": [
                    _source(subject),
                    {"name": subject.label("base.name"), "digest": _digest(subject.label("base.digest"))},
                    {"name": lock.path, "digest": {"sha256": sha256(lock.content).hexdigest()}},
                ],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"dockyard": __version__}}},
        },
    }


def _source(subject: Subject) -> dict[str, Any]:
    """Return the commit; uncommitted changes are in no commit, so that none is named by its digest then."""
    revision = subject.label("revision")
    address = subject.labels.get("org.opencontainers.image.source", "")
    commit = revision.removesuffix(DIRTY)
    found: dict[str, Any] = {"name": "source"}
    if address:
        found["uri"] = f"git+{address}@{commit}"
    if revision.endswith(DIRTY):
        return {**found, "annotations": {"uncommittedChangesOn": commit}}
    return {**found, "digest": {"gitCommit": commit}}


def _digest(text: str) -> Mapping[str, str]:
    algorithm, _, value = text.partition(":")
    return {algorithm: value}
