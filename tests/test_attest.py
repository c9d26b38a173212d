"""Documents are attached to what lies in the registry, once, and only by the commit that the image is of."""

import gzip
import hashlib
import json
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.git import Git
from dockyard.registry import documents
from dockyard.registry.content import Document
from dockyard.settings import Settings

from .conftest import replace_everywhere
from .memory_registry import Memory
from .saved_images import Entry, layer
from .test_provenance import COMMIT, LABELS
from .test_sbom import FILES

ENGINE = Engine("host", "28.5.2", True, 4)
NAME = "registry.example:5000/fleet/shop:1.0"


def digest(content: bytes) -> str:
    """Return a digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Return a registry with an image of this project, in whose tree nothing has changed."""
    made = Memory()
    packed = gzip.compress(layer([Entry(*pair) for pair in FILES.items()]))
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": LABELS}}
    made.push({digest(packed): packed}, json.dumps(config).encode(), "1.0")

    replace_everywhere(monkeypatch, "read_git", lambda _root: Git(COMMIT, 1, "main"))
    (settings.root / "requirements" / "3.13").mkdir(parents=True)
    (settings.root / "requirements" / "production.in").write_text("flask\n")
    (settings.root / "requirements" / "3.13" / "production.txt").write_text("flask==3.1.3 \\\n    --hash=sha256:11\n")
    return made


def run(settings: Settings, memory: Memory, name: str = NAME) -> tuple[Document, ...]:
    """Attach to the image."""
    return documents.attest_image(settings, name, engine=ENGINE, reach=lambda *_: memory.repository("fleet/shop"))


def attached(memory: Memory, made: Document) -> dict[str, Any]:
    """Return an attached document."""
    (named,) = json.loads(memory.manifests[made.digest][1])["layers"]
    return dict(json.loads(memory.blobs[named["digest"]]))


def test_both_documents_are_attached(memory: Memory, settings: Settings, said: list[str]) -> None:
    """They are about this very image, whose manifest and tag stay what they are."""
    before = memory.manifests["1.0"]
    bill, origin = run(settings, memory)
    image = digest(before[1])
    assert bill.fields["subject"]["digest"] == origin.fields["subject"]["digest"] == image
    assert memory.manifests["1.0"] == before
    found = attached(memory, bill)
    assert {one["name"] for one in found["components"]} >= {"flask", "libssl3t64", "python"}
    assert found["metadata"]["component"]["version"] == image
    statement = attached(memory, origin)
    assert statement["subject"][0]["digest"]["sha256"] == image[7:]
    lock = statement["predicate"]["buildDefinition"]["resolvedDependencies"][2]
    assert lock["name"] == "requirements/3.13/production.txt"
    assert said == [
        f"{kind} of {image[:19]} (linux/amd64) attached: {made.digest}"
        for kind, made in (("SBOM", bill), ("provenance", origin))
    ]
    manifest = json.loads(memory.manifests[origin.digest][1])
    assert (manifest["artifactType"], manifest["annotations"][documents.PREDICATE_KEY]) == (
        documents.PROVENANCE_TYPE,
        documents.PREDICATE,
    )
    assert json.loads(memory.manifests[bill.digest][1])["artifactType"] == documents.SBOM_TYPE


def test_a_second_time_changes_nothing(memory: Memory, settings: Settings, said: list[str]) -> None:
    """The same documents, found to be there."""
    first = run(settings, memory)
    held = dict(memory.manifests)
    assert run(settings, memory) == first
    assert ["was attached already" in line for line in said] == [False, False, True, True]
    assert memory.manifests == held


def test_every_platform_has_its_own(memory: Memory, settings: Settings) -> None:
    """Of an index each image is described; BuildKit's own attestations in it are not images."""
    kind, one = memory.manifests["1.0"]
    entries = [
        {"mediaType": kind, "digest": digest(one), "size": len(one), "platform": {"os": "linux"}},
        {"mediaType": kind, "digest": digest(b"x"), "size": 1, "platform": {"os": "unknown"}},
    ]
    index = json.dumps({"manifests": entries}).encode()
    memory.manifests["2.0"] = memory.manifests[digest(index)] = ("application/vnd.oci.image.index.v1+json", index)
    made = run(settings, memory, name=NAME.replace("1.0", "2.0"))
    assert {document.fields["subject"]["digest"] for document in made} == {digest(one)}


@pytest.mark.parametrize(
    ("git", "said"),
    [
        (Git("f" * 40, 1), "and this tree is ffff"),
        (Git(COMMIT, 1, dirty=True), f"and this tree is {COMMIT}-dirty"),
        (None, "and this tree is in no repository"),
    ],
)
def test_another_tree_has_no_say(
    memory: Memory, settings: Settings, monkeypatch: pytest.MonkeyPatch, git: Git | None, said: str
) -> None:
    """Its lock may be another one: nothing is attached, and the tip names the commit."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: git)
    held = dict(memory.manifests)
    with pytest.raises(DockyardError, match=said) as caught:
        run(settings, memory)
    assert f"git checkout {COMMIT[:12]}" in caught.value.hint
    assert memory.manifests == held


def test_a_lock_that_is_gone(memory: Memory, settings: Settings) -> None:
    """It is named."""
    (settings.root / "requirements" / "3.13" / "production.txt").unlink()
    with pytest.raises(DockyardError, match=r"cannot be read: .*production\.txt"):
        run(settings, memory)
