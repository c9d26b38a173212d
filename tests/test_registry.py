"""The client of the registry API, against answers that registries give; no connection is made."""

import base64
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
import requests
import requests.adapters
import requests.utils
import urllib3.exceptions

from dockyard.errors import UsageError
from dockyard.registry.access import Access, Credentials, broken, extra_certificates, loopback
from dockyard.registry.client import Reference, Registry, parse_reference
from dockyard.registry.content import Repository
from dockyard.registry.errors import Kind, RegistryError
from tests.progress import LINES

HOST = "registry.example:5000"
BUNDLE = Path(requests.utils.DEFAULT_CA_BUNDLE_PATH)
ACCESS = Access(HOST, HOST, BUNDLE, credentials=Credentials("sailor", "secret"))
BASIC = "Basic " + base64.b64encode(b"sailor:secret").decode()
UPLOADS = "/v2/fleet/ship/blobs/uploads/"


@dataclass(frozen=True)
class Answer:
    """What a registry answers."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Handler = Callable[[requests.PreparedRequest], Answer]


class Wire(requests.adapters.BaseAdapter):
    """Carries requests to a function instead of a host, and remembers them."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.handler = handler
        self.seen: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        """Answer one request."""
        self.seen.append(request)
        answer = self.handler(request)
        made = requests.Response()
        made.status_code = answer.status
        made.headers.update(answer.headers)
        made._content = answer.body  # the way to a response without a socket
        made.url, made.request = str(request.url), request
        return made

    def close(self) -> None:
        """Have nothing to close."""

    @property
    def asked(self) -> list[str]:
        """The requests as `METHOD /path`, the first contact left out."""
        pairs = [f"{request.method} {request.path_url.partition('?')[0]}" for request in self.seen]
        return [pair for pair in pairs if pair != "GET /v2/"]


def client(handler: Handler, access: Access = ACCESS) -> tuple[Registry, Wire, list[float]]:
    """Return a client whose registry is a function, its wire, and the pauses that it made, in seconds."""
    wire, slept = Wire(handler), list[float]()
    return Registry(access, slept.append, wire), wire, slept


def sequence(*answers: Answer) -> Handler:
    """Return a handler that gives these answers in turn, after one for the first contact."""
    waiting = [Answer(401), *answers]
    return lambda _request: waiting.pop(0)


def error_body(code: str, message: str, detail: object = None) -> bytes:
    """Return errors in the form that the specification gives them."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example:5000/fleet/ship:1.0", Reference("registry.example:5000", "fleet/ship", "1.0")),
        ("registry.example/ship", Reference("registry.example", "ship", "latest")),
        ("localhost/ship:1", Reference("localhost", "ship", "1")),
        ("localhost:5000/ship", Reference("localhost:5000", "ship", "latest")),
        ("fleet/ship:1", Reference("", "fleet/ship", "1")),
        ("ship", Reference("", "ship", "latest")),
    ],
)
def test_a_reference_is_taken_apart_as_docker_does(text: str, expected: Reference) -> None:
    """A first part with a dot, a colon or of the name localhost is a host."""
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "a/b:", "registry.example/Ship:1", "a b", "a/b:-x", "registry.example/", ":1"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    """The mistake is named before anything is asked of a registry."""
    with pytest.raises(UsageError, match="is not an image reference"):
        parse_reference(text)


def test_a_push_is_checked_by_an_upload_that_is_taken_back() -> None:
    """The login is sent when it is asked for, and the upload is cancelled where the registry says it is."""
    begun = Answer(202, {"Location": f"https://{HOST}{UPLOADS}77?_state=x"})
    challenge = Answer(401, {"WWW-Authenticate": 'Basic realm="test"'})
    registry, wire, _ = client(sequence(challenge, begun, Answer(204)))
    Repository(registry, "fleet/ship").check_push()
    assert wire.asked == [f"POST {UPLOADS}", f"POST {UPLOADS}", f"DELETE {UPLOADS}77"]
    assert [request.headers.get("Authorization") for request in wire.seen[1:]] == [None, BASIC, BASIC]
    assert not LINES


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Answer(202, {"Location": f"{UPLOADS}78"}), None),
        (
            Answer(500, body=error_body("UNKNOWN", "unknown error", "write /storage/data: no space left on device")),
            Kind.QUOTA,
        ),
        (Answer(416, body=error_body("BLOB_UPLOAD_INVALID", "the part is too small")), None),
    ],
    ids=["room", "full", "small"],
)
def test_room_is_looked_for_by_writing(said: Answer, kind: Kind | None) -> None:
    """What was written is taken back, however it ended, where the registry last said that it is."""
    registry, wire, _ = client(sequence(Answer(202, {"Location": f"{UPLOADS}77"}), said, Answer(204)))
    found = None
    try:
        Repository(registry, "fleet/ship").check_push(room=1000)
    except RegistryError as error:
        found = error.kind
    assert found is kind
    assert wire.asked[1:] == [f"PATCH {UPLOADS}77", f"DELETE {UPLOADS}{78 if said.status == 202 else 77}"]
    assert wire.seen[2].headers["Content-Length"] == "1000"


@pytest.mark.parametrize("location", [f"{UPLOADS}77", "77", f"https://{HOST}{UPLOADS}77"])
def test_an_upload_is_found_by_any_form_of_location(location: str) -> None:
    """Relative locations are allowed."""
    registry, wire, _ = client(sequence(Answer(202, {"Location": location}), Answer(204)))
    Repository(registry, "fleet/ship").check_push()
    assert wire.asked[-1] == f"DELETE {UPLOADS}77"


@pytest.mark.parametrize("location", ["https://storage.example/77", ""])
def test_a_login_is_not_taken_to_another_host(location: str) -> None:
    """An upload that lives elsewhere expires by itself."""
    registry, wire, _ = client(sequence(Answer(202, {"Location": location})))
    Repository(registry, "fleet/ship").check_push()
    assert wire.asked == [f"POST {UPLOADS}"]


def token_registry(request: requests.PreparedRequest) -> Answer:
    """Answer as a registry with a token service of its own."""
    if request.url and request.url.startswith("https://tokens.example/"):
        return Answer(200, {}, b'{"token": "abc"}')
    if request.headers.get("Authorization") == "Bearer abc":
        return Answer(202)
    realm = 'Bearer realm="https://tokens.example/t",service="registry.example",scope="repository:fleet/ship:pull"'
    return Answer(401, {"WWW-Authenticate": realm})


def test_a_token_is_bought_with_the_password_for_just_what_is_needed() -> None:
    """The service and the scope are asked for, and the token is kept for the next request."""
    registry, wire, _ = client(token_registry)
    Repository(registry, "fleet/ship").check_push()
    Repository(registry, "fleet/ship").check_push()
    bought = [request for request in wire.seen if "tokens.example" in str(request.url)]
    assert len(bought) == 1
    assert bought[0].headers["Authorization"] == BASIC
    assert bought[0].path_url == "/t?scope=repository%3Afleet%2Fship%3Apull%2Cpush&service=registry.example"


def test_a_token_service_that_gives_none() -> None:
    """An answer without a token is the service's fault, and it is named."""

    def empty(request: requests.PreparedRequest) -> Answer:
        return Answer(200, {}, b"{}") if "tokens.example" in str(request.url) else token_registry(request)

    registry, _, _ = client(empty)
    with pytest.raises(RegistryError, match=r"https://tokens\.example/t gave no token for registry\.example"):
        Repository(registry, "fleet/ship").check_push()


def test_a_token_is_bought_with_an_identity_token() -> None:
    """Identity tokens are refreshed as OAuth2 has it, in the body of the request."""
    registry, wire, _ = client(token_registry, replace(ACCESS, credentials=Credentials(identity_token="id")))
    Repository(registry, "fleet/ship").check_push()
    (bought,) = (request for request in wire.seen if "tokens.example" in str(request.url))
    assert bought.method == "POST"
    assert "refresh_token=id" in str(bought.body)
    assert "id" not in str(bought.url).partition("?")[2]


def test_a_token_is_asked_for_without_a_login_too() -> None:
    """Public registries give tokens to everybody."""
    registry, wire, _ = client(token_registry, replace(ACCESS, credentials=None))
    Repository(registry, "fleet/ship").check_push()
    assert all("Basic" not in str(request.headers.get("Authorization")) for request in wire.seen)


def test_a_token_that_has_run_out_is_replaced() -> None:
    """A second 401 in the middle of the conversation is answered with a new login."""
    challenge = Answer(401, {"WWW-Authenticate": 'Basic realm="test"'})
    registry, wire, _ = client(sequence(challenge, Answer(202), challenge, Answer(202)))
    Repository(registry, "fleet/ship").check_push()
    Repository(registry, "fleet/ship").check_push()
    assert len(wire.asked) == 4


def test_a_password_is_not_sent_unencrypted() -> None:
    """A registry with HTTPS must not send us to a token service without."""
    registry, wire, _ = client(sequence(Answer(401, {"WWW-Authenticate": 'Bearer realm="http://tokens.example/t"'})))
    with pytest.raises(RegistryError, match="unencrypted") as caught:
        Repository(registry, "fleet/ship").check_push()
    assert caught.value.kind is Kind.DENIED
    assert all("Authorization" not in request.headers for request in wire.seen)


@pytest.mark.parametrize(
    ("answer", "credentials", "words"),
    [
        (Answer(401, {"WWW-Authenticate": 'Basic realm="r"'}), None, "there is none for it"),
        (Answer(401, {"WWW-Authenticate": 'Basic realm="r"'}), Credentials("sailor", "x"), "the login of sailor"),
        (
            Answer(403, {}, error_body("DENIED", "no")),
            Credentials("sailor", "x"),
            "does not let sailor push to fleet/ship",
        ),
    ],
    ids=["no login", "wrong password", "no leave"],
)
def test_the_three_ways_to_be_denied_are_told_apart(
    answer: Answer, credentials: Credentials | None, words: str
) -> None:
    """No login, a wrong one, and a right one without leave need different cures."""
    registry, _, _ = client(sequence(answer, answer), replace(ACCESS, credentials=credentials))
    with pytest.raises(RegistryError, match=words) as caught:
        Repository(registry, "fleet/ship").check_push()
    assert caught.value.kind is Kind.DENIED
    assert f"docker login {HOST}" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404, {}, error_body("NAME_UNKNOWN", "no such repository")), Kind.UNKNOWN),
        (Answer(405, {"Content-Type": "text/plain"}, b"Method not allowed\n"), Kind.REFUSED),
        (Answer(413), Kind.QUOTA),
        (Answer(507), Kind.QUOTA),
        (Answer(403, {}, error_body("DENIED", "will exceed the configured upper limit of 1 GiB")), Kind.QUOTA),
        (Answer(500, {}, error_body("UNKNOWN", "unknown error", {"Enclosed": {"Err": 28}})), Kind.QUOTA),
        (Answer(500, {}, error_body("UNKNOWN", "unknown error", {"Enclosed": {"Err": 30}})), Kind.REFUSED),
        (Answer(418, {"Content-Type": "text/html"}, b"<html>tea</html>"), Kind.OTHER),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else str(value),
)
def test_what_will_not_change_is_not_asked_twice(answer: Answer, kind: Kind) -> None:
    """A full disk or a missing repository is an error at once."""
    registry, wire, slept = client(sequence(answer))
    with pytest.raises(RegistryError) as caught:
        Repository(registry, "fleet/ship").check_push()
    assert caught.value.kind is kind
    assert len(wire.asked) == 1
    assert slept == []
    assert "<html>" not in caught.value.message


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_asked_again(status: int) -> None:
    """A busy registry gets its time, and people learn what is being waited for."""
    registry, _, slept = client(sequence(Answer(status), Answer(status), Answer(202)))
    Repository(registry, "fleet/ship").check_push()
    assert len(slept) == 2
    assert str(status) in LINES[0]


def test_a_wish_to_wait_is_granted() -> None:
    """Retry-After holds seconds or a date."""
    dated = Answer(503, {"Retry-After": formatdate(time() + 60, usegmt=True)})
    registry, _, slept = client(sequence(Answer(429, {"Retry-After": "40"}), dated, Answer(202)))
    Repository(registry, "fleet/ship").check_push()
    assert slept[0] == 40
    assert 50 < slept[1] < 61


def test_nobody_waits_for_an_hour() -> None:
    """A registry that wants to be left alone for long is an error that says so."""
    registry, _, slept = client(sequence(Answer(429, {"Retry-After": "3600"})))
    with pytest.raises(RegistryError) as caught:
        Repository(registry, "fleet/ship").check_push()
    assert (caught.value.kind, caught.value.wait) == (Kind.LIMITED, 3600)
    assert slept == []


def test_patience_ends() -> None:
    """A registry that stays broken is an error after the last attempt."""
    registry, wire, slept = client(sequence(*[Answer(502)] * 9))
    with pytest.raises(RegistryError):
        Repository(registry, "fleet/ship").check_push()
    assert (len(wire.asked), len(slept)) == (4, 3)


def test_pauses_grow_and_differ() -> None:
    """Several clients that failed together do not come back together; what the registry asks for is the least."""
    answers = (Answer(502), Answer(502), Answer(429, {"Retry-After": "12"}), Answer(202))
    registry, _, slept = client(sequence(*answers))
    Repository(registry, "fleet/ship").check_push()
    assert 0.5 <= slept[0] <= 1 <= slept[1] <= 2
    assert slept[2] == 12


def store(*documents: Mapping[str, object]) -> Handler:
    """Return a registry that has some manifests; the last one is tagged 1."""
    bodies = [json.dumps(document).encode() for document in documents]
    found = {f"sha256:{hashlib.sha256(body).hexdigest()}": body for body in bodies}

    def answer(request: requests.PreparedRequest) -> Answer:
        name = request.path_url.rsplit("/", 1)[1]
        body = bodies[-1] if name == "1" else found.get(name)
        if request.path_url == "/v2/":
            return Answer()
        return Answer(404, {}, error_body("MANIFEST_UNKNOWN", "?")) if body is None else Answer(200, {}, body)

    return answer


def manifest(*sizes: int) -> dict[str, object]:
    """Return a manifest with a configuration of 100 bytes and layers of these sizes."""
    layers = [{"digest": f"sha256:layer{size}", "size": size} for size in sizes]
    return {"config": {"digest": f"sha256:config{sizes}", "size": 100}, "layers": layers}


def test_a_size_counts_each_layer_of_an_index_once() -> None:
    """Platforms share layers, and every manifest of an index is looked at."""
    children = [manifest(1000, 20), manifest(1000, 3)]
    digests = [f"sha256:{hashlib.sha256(json.dumps(child).encode()).hexdigest()}" for child in children]
    index = {"manifests": [{"digest": digest} for digest in digests]}
    registry, wire, _ = client(store(*children, index))
    ship = Repository(registry, "fleet/ship")
    assert ship.measure(ship.read_document("1")) == 1000 + 20 + 3 + 100 + 100
    assert "application/vnd.oci.image.index.v1+json" in wire.seen[-1].headers["Accept"]


def test_a_manifest_with_another_content_is_found_out() -> None:
    """A registry, or a proxy before it, that answers with something else is not believed."""
    registry, _, _ = client(lambda _request: Answer(200, {}, b"{}"))
    with pytest.raises(RegistryError) as caught:
        Repository(registry, "fleet/ship").read_document("sha256:" + "0" * 64)
    assert caught.value.kind is Kind.MISMATCH


def test_a_digest_that_nobody_can_check_is_no_digest() -> None:
    """Only algorithms of the specification count."""
    registry, _, _ = client(lambda _request: Answer(200, {}, b"{}"))
    with pytest.raises(RegistryError, match="md5"):
        Repository(registry, "fleet/ship").read_document("md5:00")


def test_something_else_than_a_registry_is_named() -> None:
    """A web server at that address answers, but not to /v2/."""
    registry, _, _ = client(lambda _request: Answer(404))
    with pytest.raises(RegistryError, match="not as a registry"):
        registry.connect()


def refuse(*schemes: str, error: Exception) -> Handler:
    """Return a handler for which some schemes fail."""

    def answer(request: requests.PreparedRequest) -> Answer:
        if str(request.url).partition(":")[0] in schemes:
            raise error
        return Answer()

    return answer


NOT_TLS = requests.exceptions.SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"))
NOT_TLS.args[0].reason = "WRONG_VERSION_NUMBER"


def test_plain_http_is_used_only_where_it_is_allowed() -> None:
    """HTTPS is tried first in either case, and HTTP is said."""
    registry, _, _ = client(refuse("https", error=NOT_TLS), replace(ACCESS, plain=True))
    registry.connect()
    assert registry.base == f"http://{HOST}"
    assert len(LINES) == 1
    registry, wire, _ = client(refuse("https", error=NOT_TLS))
    with pytest.raises(RegistryError) as caught:
        registry.connect()
    assert caught.value.kind is Kind.PLAIN_HTTP
    assert len(wire.seen) == 1


def test_the_first_error_counts_where_neither_scheme_works() -> None:
    """Nobody listens: that plain HTTP did not work either is no news."""
    gone = requests.ConnectionError(ConnectionRefusedError(111, "Connection refused"))
    registry, wire, _ = client(refuse("https", "http", error=gone), replace(ACCESS, plain=True))
    with pytest.raises(RegistryError) as caught:
        registry.connect()
    assert caught.value.kind is Kind.UNREACHABLE
    assert (len(wire.seen), LINES) == (2, [])


def verification(code: int, message: str) -> ssl.SSLCertVerificationError:
    """Return the error that OpenSSL's check of a certificate gives."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


POOL: Any = None
ERRORS = (
    (
        verification(20, "unable to get local issuer certificate"),
        Kind.TLS,
        f"is not trusted: unable to get local issuer certificate .*{BUNDLE}",
    ),
    (verification(18, "self-signed certificate"), Kind.TLS, "is not trusted: self-signed certificate"),
    (verification(10, "certificate has expired"), Kind.TLS, "has expired"),
    (verification(9, "certificate is not yet valid"), Kind.TLS, "is not yet valid"),
    (
        verification(62, "Hostname mismatch, certificate is not valid for 'a'."),
        Kind.TLS,
        "not trusted: Hostname mismatch",
    ),
    (verification(64, "IP address mismatch"), Kind.TLS, "not trusted: IP address mismatch"),
    (ConnectionRefusedError(111, "Connection refused"), Kind.UNREACHABLE, "nothing listens there"),
    (socket.gaierror(-2, "Name or service not known"), Kind.UNREACHABLE, "cannot be found: Name or service not known"),
    (OSError(113, "No route to host"), Kind.DROPPED, "No route to host"),
    (ConnectionResetError(104, "Connection reset by peer"), Kind.DROPPED, "closed the connection: Connection reset"),
)


@pytest.mark.parametrize(("cause", "kind", "words"), ERRORS, ids=[str(cause) for cause, _, _ in ERRORS])
def test_a_broken_exchange_is_told_by_its_root_cause(cause: Exception, kind: Kind, words: str) -> None:
    """Requests wraps urllib3, which wraps the system's error: people see the innermost."""
    wrapped = requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/v2/", cause))
    error = broken(wrapped, HOST, ACCESS)
    assert error.kind is kind
    assert error.hint
    with pytest.raises(RegistryError, match=words):
        raise error


def test_a_bundle_is_no_help_where_the_engine_looks_too() -> None:
    """SSL_CERT_FILE is ours alone: only for loopback, which engines do not check, is it a cure."""
    unknown = requests.ConnectionError(verification(20, "unable to get local issuer certificate"))
    assert "SSL_CERT_FILE" not in broken(unknown, HOST, ACCESS).hint
    assert "SSL_CERT_FILE" in broken(unknown, HOST, replace(ACCESS, plain=True)).hint
    assert broken(requests.ConnectionError(verification(10, "x")), HOST, ACCESS).hint.startswith("renew it")
    assert broken(requests.ConnectionError(verification(62, "x")), HOST, ACCESS).hint.startswith("use the name")


def test_silence_before_and_after_the_first_word_differ() -> None:
    """Who never answered is unreachable; who fell silent may be asked again."""
    assert broken(requests.ConnectTimeout(), HOST, ACCESS).kind is Kind.UNREACHABLE
    assert broken(requests.ReadTimeout(), HOST, ACCESS).kind is Kind.DROPPED
    assert broken(requests.exceptions.ProxyError(), HOST, ACCESS).kind is Kind.UNREACHABLE


def test_certificates_of_a_registry_are_found_where_docker_has_them(tmp_path: Path) -> None:
    """The first folder that knows the host counts; its port is part of its name."""
    for name in ("ca.crt", "own.cert", "own.key", "notes.txt"):
        file = tmp_path / "etc" / HOST / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = extra_certificates(HOST, (tmp_path / "none", tmp_path / "etc"))
    assert [file.name for file in found] == ["ca.crt", "own.cert"]
    assert extra_certificates("registry.example", (tmp_path / "etc",)) == ()


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    """A bundle that holds something else is an error before any connection."""
    bundle = tmp_path / "ca.crt"
    bundle.write_text("not a certificate")
    with pytest.raises(RegistryError, match=r"ca\.crt") as caught:
        Registry(replace(ACCESS, bundle=bundle))
    assert caught.value.kind is Kind.TLS


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_no_proxy(host: str) -> None:
    """A proxy would reach itself under these names."""
    assert loopback(host)
    assert not loopback("registry.example")
