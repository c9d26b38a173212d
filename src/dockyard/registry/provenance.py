"""State what an image was made from and how: SLSA provenance v1 in an in-toto statement (pure).

Nothing in it depends on when or where it is written. The times at which a build began and ended are optional in
SLSA and are left out: with them, the same build would never be stated the same way twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from dockyard import __version__
from dockyard.registry.subject import Subject

MEDIA_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:dockyard:build:1"
BUILDER = "urn:dockyard:builder"
DIRTY = "-dirty"


@dataclass(frozen=True)
class Lock:
    """The lock that an image's packages come from: its path in the project, and what it says."""

    path: str
    content: bytes


def statement(subject: Subject, lock: Lock) -> dict[str, Any]:
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
