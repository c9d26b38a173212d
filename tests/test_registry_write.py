"""Reading and writing what lies in a registry: believed only once hashed, and finished if it was broken off."""

import json

import pytest

from dockyard.errors import UsageError
from dockyard.registry.client import Reference, parse_reference
from dockyard.registry.content import MANIFEST, describe_artifact, digest_of, fallback_tag
from dockyard.registry.errors import Kind, RegistryError

from .memory_registry import Memory
from .test_registry import Answer

TYPE = "application/vnd.cyclonedx+json"
ANNOTATIONS = {"b": "2", "a": "1"}
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def memory() -> Memory:
    """Return a registry that holds one image."""
    made = Memory()
    made.push({digest_of(b"layer"): b"layer"}, b"{}", "1.0")
    return made


def test_places() -> None:
    """A digest is stronger than a tag; a mistake is named."""
    assert parse_reference("host:5000/a/b:1") == Reference("host:5000", "a/b", "1")
    assert parse_reference(f"host:5000/a/b:1@{DIGEST}").wanted == DIGEST
    assert str(parse_reference(f"host:5000/a/b:1@{DIGEST}")) == f"host:5000/a/b@{DIGEST}"
    for wrong in ("a@sha256:12", f"a@{DIGEST}0", "a@", "A:1"):
        with pytest.raises(UsageError, match="is not an image reference"):
            parse_reference(wrong)


def test_what_is_read_is_hashed(memory: Memory) -> None:
    """A registry, or whoever stands before it, that gives something else is not believed."""
    with memory.repository() as ship:
        found = ship.read_document("1.0")
        assert found.digest == digest_of(found.content)
        assert ship.read_document(found.digest) == found
        assert ship.read_blob(digest_of(b"layer")) == b"layer"
        memory.manifests[found.digest] = (MANIFEST, b"{ }")
        memory.blobs[digest_of(b"layer")] = b"other"
        for read in (ship.read_document, ship.read_blob):
            with pytest.raises(RegistryError) as caught:
                read(found.digest if read == ship.read_document else digest_of(b"layer"))
            assert caught.value.kind is Kind.MISMATCH


def test_what_is_not_there(memory: Memory) -> None:
    """Absence is an answer to a question, and an error to a demand; other trouble is neither."""
    with memory.repository() as ship:
        assert ship.find_document("2.0") is None
        with pytest.raises(RegistryError, match="manifest unknown"):
            ship.read_document("2.0")
        memory.trouble = [("GET", "manifests", Answer(403))]
        with pytest.raises(RegistryError):
            ship.find_document("2.0")


@pytest.mark.parametrize("api", [True, False], ids=["referrers API", "fallback tag"])
def test_a_document_refers_to_an_image(memory: Memory, api: bool) -> None:
    """It can be found by the image's digest, and the image is what it was; a second time changes nothing."""
    memory.referrers_api = api
    with memory.repository() as ship:
        image = ship.read_document("1.0")
        made, new = ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS)
        assert new
        (found,) = ship.list_referrers(image.digest)
        assert (found["digest"], found["artifactType"], found["annotations"]) == (made.digest, TYPE, ANNOTATIONS)
        assert ship.read_document("1.0") == image
        assert (fallback_tag(image.digest) in memory.manifests) is not api
        (layer,) = made.fields["layers"]
        assert ship.read_blob(layer["digest"]) == b"bill"
        assert made.fields["subject"] == {key: image.descriptor[key] for key in ("mediaType", "digest", "size")}
        held = dict(memory.manifests)
        memory.asked.clear()
        assert ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS) == (made, False)
        assert held == memory.manifests
        assert not [one for one in memory.asked if one.startswith("PUT")]
        ship.attach(image.descriptor, b"other", TYPE, ANNOTATIONS)
        assert len(ship.list_referrers(image.digest)) == 2


def test_an_attachment_that_was_broken_off_is_finished(memory: Memory) -> None:
    """The listing comes last: without it, everything is done again."""
    with memory.repository() as ship:
        image = ship.read_document("1.0")
        memory.trouble = [("PUT", "manifests", Answer(403))]
        with pytest.raises(RegistryError):
            ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS)
        assert ship.list_referrers(image.digest) == ()
        assert ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS)[1]
        assert len(ship.list_referrers(image.digest)) == 1


def test_an_upload_that_breaks_is_begun_anew(memory: Memory, said: list[str]) -> None:
    """Its session may be gone: a new one is asked for, and that is said."""
    memory.trouble = [("PUT", "blobs/uploads", Answer(503))]
    with memory.repository() as ship:
        assert ship.put_blob(b"new", TYPE)["size"] == 3
    assert memory.blobs[digest_of(b"new")] == b"new"
    assert memory.asked.count("POST blobs/uploads") == 2
    assert "uploading again" in said[0]


def test_an_upload_without_leave(memory: Memory) -> None:
    """A refusal is final."""
    memory.trouble = [("POST", "blobs/uploads", Answer(403))]
    with memory.repository() as ship, pytest.raises(RegistryError) as caught:
        ship.put_blob(b"new", TYPE)
    assert caught.value.kind is Kind.DENIED
    assert memory.asked.count("POST blobs/uploads") == 1


def test_a_blob_that_is_there_is_not_sent(memory: Memory) -> None:
    """One question is enough."""
    with memory.repository() as ship:
        ship.put_blob(b"layer", TYPE)
    assert memory.asked == ["HEAD blobs"]


def test_the_login_goes_with_an_upload(memory: Memory) -> None:
    """A challenge in the middle is answered, and the body is sent again."""
    challenge = Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
    memory.trouble = [("PUT", "blobs/uploads", challenge)]
    with memory.repository() as ship:
        ship.put_blob(b"new", TYPE)
    assert memory.blobs[digest_of(b"new")] == b"new"


@pytest.mark.parametrize("status", [404, 405, 400])
def test_registries_without_the_api_refuse_in_many_ways(memory: Memory, status: int) -> None:
    """Each is taken for what it is; a lack of leave is not."""
    with memory.repository() as ship:
        memory.trouble = [("GET", "referrers", Answer(status))]
        assert ship.list_referrers(DIGEST) == ()
        memory.trouble = [("GET", "referrers", Answer(403))]
        with pytest.raises(RegistryError):
            ship.list_referrers(DIGEST)


def test_the_form_of_an_artifact() -> None:
    """As the image specification 1.1 wants it, in one form: the same document always has the same digest."""
    subject = {"mediaType": MANIFEST, "digest": DIGEST, "size": 7, "platform": {"os": "linux"}}
    made = json.loads(describe_artifact(subject, b"bill", TYPE, ANNOTATIONS))
    assert (made["artifactType"], made["mediaType"], made["schemaVersion"]) == (TYPE, MANIFEST, 2)
    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert made["config"] == {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}
    assert "platform" not in made["subject"]
    other = dict(reversed(ANNOTATIONS.items()))
    assert describe_artifact(subject, b"bill", TYPE, ANNOTATIONS) == describe_artifact(subject, b"bill", TYPE, other)
    assert fallback_tag(DIGEST) == "sha256-" + "0" * 64


def test_the_listing_names_each_once(memory: Memory) -> None:
    """What is listed, and is gone from the registry, is put there again under the same entry."""
    with memory.repository() as ship:
        image = ship.read_document("1.0")
        made, _ = ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS)
        ship.attach(image.descriptor, b"other", TYPE, ANNOTATIONS)
        del memory.manifests[made.digest]
        assert ship.attach(image.descriptor, b"bill", TYPE, ANNOTATIONS) == (made, True)
        assert len(ship.list_referrers(image.digest)) == 2
