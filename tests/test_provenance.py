"""The provenance says what an image was made from, by its own labels, and nothing that depends on the moment."""

from hashlib import sha256
from typing import Any

import pytest

from dockyard.errors import DockyardError
from dockyard.registry.documents import Subject, make_statement

PREFIX = "org.opencontainers.image."
COMMIT = "0123456789" * 4
LABELS = {
    f"{PREFIX}title": "shop",
    f"{PREFIX}created": "2026-11-21T01:21:47Z",
    f"{PREFIX}revision": COMMIT,
    f"{PREFIX}base.name": "python:3.13-slim",
    f"{PREFIX}base.digest": "sha256:ba5e",
    "io.dockyard.target": "production",
    "io.dockyard.python": "3.13",
}
LOCK, LOCKED = "requirements/3.13/production.txt", b"flask==3.1.3\n"


def made(**changes: str) -> dict[str, Any]:
    """Return the statement on an image with these labels changed; an empty one is absent."""
    labels = {**LABELS, **{PREFIX + key: value for key, value in changes.items()}}
    config = {"Labels": {key: value for key, value in labels.items() if value}}
    return make_statement(
        Subject("sha256:d1", {"architecture": "arm64", "os": "linux", "config": config}), LOCK, LOCKED
    )


def test_the_whole_statement() -> None:
    """What was asked for, what went in, and what it is about."""
    found = made()
    definition = found["predicate"]["buildDefinition"]
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "shop", "digest": {"sha256": "d1"}}]
    assert definition["externalParameters"] == {
        "target": "production",
        "python": "3.13",
        "arguments": {"PYTHON_VERSION": "3.13", "SOURCE_DATE_EPOCH": "1795224107"},
        "platform": "linux/arm64",
    }
    assert definition["resolvedDependencies"] == [
        {"name": "source", "digest": {"gitCommit": COMMIT}},
        {"name": "python:3.13-slim", "digest": {"sha256": "ba5e"}},
        {"name": LOCK, "digest": {"sha256": sha256(LOCKED).hexdigest()}},
    ]


def test_uncommitted_changes_are_in_no_commit() -> None:
    """The commit they were made on is told, and not as what went in."""
    source = made(revision=f"{COMMIT}-dirty")["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert source == {"name": "source", "annotations": {"uncommittedChangesOn": COMMIT}}


def test_where_the_source_is() -> None:
    """Only where the image itself says it: clones have many addresses."""
    source = made(source="https://code.example/shop")["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert source["uri"] == f"git+https://code.example/shop@{COMMIT}"


@pytest.mark.parametrize("key", ["title", "created", "revision", "base.name", "base.digest"])
def test_an_image_that_does_not_say(key: str) -> None:
    """Nothing is made up: the error names what is missing."""
    with pytest.raises(DockyardError, match=f"does not say its {key.rpartition('.')[2]}") as caught:
        made(**{key: ""})
    assert "invoke build" in caught.value.hint
