"""What engines and registries say, and what we make of it. The messages are real ones, shortened in their URLs."""

import errno
import os

import pytest

from dockyard.registry.access import Access
from dockyard.registry.errors import HINTS, Kind, classify, spoken, wanted_pause

AT = "https://registry.example:5000/v2/fleet/ship"
MESSAGES = (
    (Kind.DENIED, "push access denied, repository does not exist or may require authorization: authorization failed"),
    (Kind.DENIED, f"unexpected status from HEAD request to {AT}/blobs/sha256:1fbf: 401 Unauthorized"),
    (Kind.DENIED, f"unexpected status from POST request to {AT}/blobs/uploads/: 403 Forbidden"),
    (Kind.DENIED, "unauthorized: authentication required"),
    (Kind.DENIED, "no basic auth credentials"),
    (Kind.DENIED, "denied: requested access to the resource is denied"),
    (Kind.UNREACHABLE, f'failed to do request: Head "{AT}/b": dial tcp 192.0.2.9:5000: connect: connection refused'),
    (
        Kind.UNREACHABLE,
        'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid on 192.0.2.53:53: no such host',
    ),
    (Kind.UNREACHABLE, f'Get "{AT}": dial tcp 192.0.2.9:5000: i/o timeout'),
    (Kind.UNREACHABLE, f'failed to do request: Head "{AT}/b": dial tcp 192.0.2.9:507: connect: no route to host'),
    (
        Kind.TLS,
        f'failed to do request: Head "{AT}": tls: failed to verify certificate: x509: certificate is valid for a',
    ),
    (Kind.TLS, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    (Kind.TLS, "x509: certificate has expired or is not yet valid: current time 2026-11-21T01:00:00Z is after 2026"),
    (Kind.PLAIN_HTTP, f'failed to do request: Head "{AT}": http: server gave HTTP response to HTTPS client'),
    (Kind.PLAIN_HTTP, "tls: first record does not look like a TLS handshake"),
    (Kind.QUOTA, "write /var/lib/registry/data: no space left on device"),
    (
        Kind.QUOTA,
        "denied: adding 20.0 MiB of storage resource, which will exceed the configured upper limit of 10.0 MiB",
    ),
    (Kind.QUOTA, f"unexpected status from PUT request to {AT}/blobs/uploads/1: 413 Request Entity Too Large"),
    (Kind.QUOTA, "507 Insufficient Storage"),
    (Kind.REFUSED, f"unexpected status from POST request to {AT}/blobs/uploads/: 405 Method Not Allowed"),
    (Kind.REFUSED, "unknown: Method not allowed\n"),
    (Kind.REFUSED, "tag invalid: The image tag '1' already exists in the 'ship' repository, which is immutable"),
    (Kind.MISSING, "tag does not exist: registry.example:5000/quota/ship:1"),
    (Kind.MISSING, "An image does not exist locally with the tag: registry.example:5000/fleet/ship"),
    (Kind.UNKNOWN, "name unknown: The repository with name 'ship' does not exist in the registry with id '1'"),
    (Kind.UNKNOWN, f"unexpected status from POST request to {AT}/blobs/uploads/: 404 Not Found"),
    (Kind.LIMITED, "toomanyrequests: retry-after: 1.5s, allowed: 44000/minute"),
    (Kind.LIMITED, f"unexpected status from HEAD request to {AT}/blobs/sha256:1fbf: 429 Too Many Requests"),
    (Kind.SERVER, "received unexpected HTTP status: 500 Internal Server Error"),
    (
        Kind.SERVER,
        f"failed to copy: unexpected status from PUT request to {AT}/blobs/uploads/1: 503 Service Unavailable",
    ),
    (Kind.SERVER, "502 Bad Gateway"),
    (Kind.SERVER, "error from registry: blob upload invalid"),
    (
        Kind.DROPPED,
        f'failed to copy: failed to do request: Put "{AT}": write tcp 192.0.2.2:1->192.0.2.9:5: broken pipe',
    ),
    (Kind.DROPPED, "read tcp 192.0.2.2:40000->192.0.2.9:5000: read: connection reset by peer"),
    (Kind.DROPPED, f'failed to do request: Put "{AT}": EOF'),
    (Kind.DROPPED, "unexpected EOF"),
    (Kind.DROPPED, "net/http: TLS handshake timeout"),
    (Kind.DROPPED, "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"),
    (Kind.OTHER, "the engine felt unwell"),
)


@pytest.mark.parametrize(("kind", "message"), MESSAGES, ids=[f"{kind}: {text[:40]}" for kind, text in MESSAGES])
def test_a_message_is_known_by_its_words(kind: Kind, message: str) -> None:
    """Each message that an engine was seen to give has its kind."""
    assert classify(message) is kind


@pytest.mark.parametrize("name", ["quota/ship", "denied", "fleet/x509", "immutable/unauthorized"])
def test_a_repository_name_is_not_mistaken_for_a_message(name: str) -> None:
    """A repository may be called after any of the words."""
    message = (
        f"unexpected status from PUT request to https://registry.example/v2/{name}/blobs/uploads/: 502 Bad Gateway"
    )
    assert classify(message) is Kind.SERVER
    assert classify(f"push of {name}: 502 Bad Gateway", name) is Kind.SERVER


@pytest.mark.parametrize(
    ("message", "seconds"),
    [("retry-after: 1.5s, allowed: 44000/minute", 1.5), ("Retry after 300ms", 0.3), ("try again later", 0.0)],
)
def test_a_wish_to_wait_is_read_from_a_message(message: str, seconds: float) -> None:
    """Engines drop the Retry-After header, but some registries say it in words too."""
    assert wanted_pause(message) == pytest.approx(seconds)


def test_a_registrys_errors_become_one_line() -> None:
    """Code and message are joined, several errors too."""
    errors = [{"code": "DENIED", "message": "not yours", "detail": "ask"}, {"code": "NAME_UNKNOWN", "message": "what?"}]
    assert spoken({"errors": errors}) == "denied: not yours: ask; name unknown: what?"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_storage_drivers_error_number_becomes_words(number: int) -> None:
    """The reference registry hides a full disk in a number, two levels down."""
    detail = {"DriverName": "filesystem", "Enclosed": {"Op": "mkdir", "Path": "/data", "Err": number}}
    said = spoken({"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": detail}]})
    assert said == f"unknown: unknown error: {os.strerror(number)}"
    assert classify(f"500 Internal Server Error: {said}") in (Kind.QUOTA, Kind.REFUSED)


@pytest.mark.parametrize("document", [None, [], {}, {"errors": None}, {"errors": ["words"]}, {"errors": {"code": "X"}}])
def test_an_answer_of_another_shape_says_nothing(document: object) -> None:
    """Whatever a proxy on the way answers, it is no crash."""
    assert spoken(document) == ""


def test_every_kind_but_the_unknown_one_has_a_hint() -> None:
    """Who reads an error learns what to do, and the hint names the registry's host where it speaks of it."""
    assert set(HINTS) == set(Kind) - {Kind.OTHER}
    registry = Access("registry.example:5000", "")
    assert "`docker login registry.example:5000`" in registry.error(Kind.DENIED, "no", "fleet/ship").hint
    assert not any("{" in registry.error(kind, "", "name").hint for kind in Kind)
