"""What a push decides, against an engine and a registry that answer as real ones were seen to."""

import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, EngineError, UsageError
from dockyard.registry.access import Access, find_access, select_rules
from dockyard.registry.client import ATTEMPTS, Registry, RegistryRequest
from dockyard.registry.errors import Kind, RegistryError
from dockyard.registry.push import Layers, Pushed, display, preflight, push_images, refuse_dirty, verify_pushed
from tests.progress import LINES
from tests.test_registry import ACCESS

HOST = "registry.example:5000"
SHIP = f"{HOST}/fleet/ship:1"
WAY = dataclasses.replace(ACCESS, host=HOST, api=HOST, credentials=None)
LAYER = {"digest": "sha256:" + "c" * 64, "size": 20_000_000}
MANIFEST = json.dumps({"config": {"digest": "sha256:" + "d" * 64, "size": 700}, "layers": [LAYER, LAYER]}).encode()
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()

FRESH = (
    {"status": f"The push refers to repository [{HOST}/fleet/ship]"},
    {"status": "Waiting", "progressDetail": {}, "id": "2cf4ee1c95d8"},
    {"status": "Pushing", "progressDetail": {"current": 2097152, "total": 20008960}, "id": "2cf4ee1c95d8"},
    {"status": "Pushing", "progressDetail": {"current": 10240, "total": 10240}, "id": "08cfad7b222b"},
    {"status": "Mounted from fleet/boat", "progressDetail": {}, "id": "f48ef4166e06"},
    {"status": "Layer already exists", "progressDetail": {}, "id": "5f70bf18a086"},
    {"status": "Pushed", "progressDetail": {}, "id": "08cfad7b222b"},
    {"status": "Pushed", "progressDetail": {}, "id": "2cf4ee1c95d8"},
    {"status": f"1: digest: {DIGEST} size: 739"},
)
"""What an engine with containerd's image store says of a push that succeeds."""

CLASSIC = (
    {"status": "Preparing", "progressDetail": {}, "id": "2cf4ee1c95d8"},
    {"status": "Pushing", "progressDetail": {"current": 512, "total": 20008960}, "id": "2cf4ee1c95d8"},
    {"status": "Pushed", "progressDetail": {}, "id": "2cf4ee1c95d8"},
    {"progressDetail": {}, "aux": {"Tag": "1", "Digest": DIGEST, "Size": 739}},
)
"""The same from an engine without it, its last words alone."""


def failing(message: str, *before: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the events of a push that ends with an error."""
    return (*FRESH[:3], *before, {"errorDetail": {"message": message}, "error": message})


RESET = failing("read tcp 192.0.2.2:40000->192.0.2.9:5000: read: connection reset by peer")
BROKEN = failing("received unexpected HTTP status: 500 Internal Server Error")


class FakeEngine:
    """An engine that knows some images and tells a prepared story for each push."""

    def __init__(self, *stories: Sequence[dict[str, Any]], images: Sequence[str] = (SHIP,), name: str = "") -> None:
        self.stories = list(stories)
        self.images = images
        self.pushes: list[dict[str, Any]] = []
        self.closed = False
        self.api = SimpleNamespace(timeout=60, push=self.push)
        self.name = name or socket.gethostname()
        self.kind, self.version = "host", "28.5.2"
        self.environment = {"DOCKER_CONFIG": "/nonexistent"}

    def client(self) -> "FakeEngine":
        """Stand in for the SDK's client too."""
        return self

    def info(self) -> dict[str, Any]:
        """Describe this engine."""
        return {"Name": self.name, "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}}}

    def inspect_image(self, reference: str) -> dict[str, Any] | None:
        """Look an image up."""
        return {} if reference in self.images else None

    def push(self, repository: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Tell the next story."""
        self.pushes.append({"repository": repository, **options})
        yield from self.stories.pop(0)

    def close(self) -> None:
        """Note that the client was closed."""
        self.closed = True


class FakeRegistry(Registry):
    """A registry with one image, which takes what it is sent, or refuses it; time does not pass there."""

    def __init__(self) -> None:
        super().__init__(WAY, lambda _seconds: None)
        self.content = MANIFEST
        self.absent = False
        self.refusal: RegistryError | None = None
        self.room = sys.maxsize
        self.unreachable = False
        self.checks: list[str] = []
        self.measured: list[str] = []

    def connect(self) -> None:
        """Be there, or not."""
        if self.unreachable:
            raise RegistryError(Kind.UNREACHABLE, "nothing listens there")
        self.base = f"https://{self.access.api}"

    def ask(self, request: RegistryRequest, attempts: int = ATTEMPTS) -> requests.Response:
        """Answer for an upload that is taken back, and for the manifest of a tag."""
        answer = requests.Response()
        answer.status_code, answer.url = 200, f"{self.base}{request.path}"
        if request.method == "POST":
            self.checks.append(f"{request.repository} {attempts}")
            if self.refusal:
                raise self.refusal
            answer.headers["Location"] = f"{request.path}77"
        elif request.method in ("PATCH", "DELETE"):
            if len(request.body or b"") > self.room:
                raise RegistryError(Kind.QUOTA, "no space left on device")
        elif not self.absent:
            self.measured.append(request.path.rpartition("/")[2])
            answer.raw = io.BytesIO(self.content)
        else:
            raise RegistryError(Kind.UNKNOWN, "no such manifest")
        return answer


@pytest.fixture
def registry() -> FakeRegistry:
    """Return a registry without a network, where time does not pass."""
    return FakeRegistry()


def attempt(registry: FakeRegistry, engine: FakeEngine, *references: str) -> tuple[tuple[Pushed, ...], list[str]]:
    """Push and return the result with everything that was said."""
    return push_images(cast("Engine", engine), references or (SHIP,), reach=lambda *_: registry), LINES


@pytest.mark.parametrize(("story", "counts"), [(FRESH, (2, 1, 1)), (CLASSIC, (1, 0, 0))], ids=["containerd", "classic"])
def test_a_push_ends_with_its_digest_and_its_layers(
    registry: FakeRegistry, story: Sequence[dict[str, Any]], counts: tuple[int, int, int]
) -> None:
    """Both kinds of engines are understood, and the registry is asked before and after."""
    engine = FakeEngine(story)
    (pushed,), said = attempt(registry, engine)
    assert (pushed.pushed, pushed.mounted, pushed.existing) == counts
    assert (pushed.reference, pushed.digest, pushed.size) == (SHIP, DIGEST, 20_000_700)
    assert pushed.pinned == f"{HOST}/fleet/ship@{DIGEST}"
    assert any(line.startswith(pushed.pinned) for line in said)
    assert registry.checks == [f"fleet/ship {ATTEMPTS}"]
    assert registry.measured == ["1"]
    assert engine.closed


def test_an_engine_without_a_login_gets_an_empty_one(registry: FakeRegistry) -> None:
    """The SDK would otherwise read a config.json of its own choice."""
    engine = FakeEngine(FRESH)
    attempt(registry, engine)
    assert engine.pushes[0]["auth_config"] == {}
    assert engine.pushes[0]["tag"] == "1"


@pytest.mark.parametrize("story", [RESET, BROKEN, failing("429 Too Many Requests")], ids=["reset", "500", "429"])
def test_what_is_worth_retrying_is_retried(registry: FakeRegistry, story: Sequence[dict[str, Any]]) -> None:
    """A passing trouble costs a line of output and a pause."""
    engine = FakeEngine(story, story, FRESH)
    (pushed,), said = attempt(registry, engine)
    assert pushed.pushed == 2
    assert sum("pushing again" in line for line in said) == 2


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("unauthorized: authentication required", Kind.DENIED),
        ("x509: certificate signed by unknown authority", Kind.TLS),
        ("name unknown: no such repository", Kind.UNKNOWN),
        ("write /data: no space left on device", Kind.QUOTA),
        ("toomanyrequests: retry-after: 3600s", Kind.LIMITED),
    ],
)
def test_what_is_not_worth_retrying_is_not(registry: FakeRegistry, message: str, kind: Kind) -> None:
    """What will be the same in a minute ends the push at once, in the registry's own words."""
    engine = FakeEngine(failing(message))
    with pytest.raises(RegistryError, match=message.partition(":")[0]) as caught:
        attempt(registry, engine)
    assert caught.value.kind is kind
    assert len(engine.pushes) == 1
    assert engine.closed


@pytest.mark.parametrize("end", [{"errorDetail": {"message": "denied: no"}}, {"error": "denied: no"}])
def test_an_error_in_either_form(registry: FakeRegistry, end: dict[str, Any]) -> None:
    """New engines tell the details alone, and others with Docker's API perhaps the bare line."""
    with pytest.raises(RegistryError, match=r"failed, denied: denied: no$"):
        attempt(registry, FakeEngine((FRESH[0], end)))


def test_patience_ends(registry: FakeRegistry) -> None:
    """After the last attempt its error is the push's."""
    engine = FakeEngine(*[RESET] * 9)
    with pytest.raises(RegistryError, match="connection reset"):
        attempt(registry, engine)
    assert len(engine.pushes) == ATTEMPTS


def test_an_engine_that_retried_itself_is_not_made_to_do_it_again(registry: FakeRegistry) -> None:
    """Classic engines have spent most of a minute on five attempts when they give up."""
    retried = {"status": "Retrying in 5 seconds", "progressDetail": {}, "id": "2cf4ee1c95d8"}
    engine = FakeEngine(failing("received unexpected HTTP status: 500 Internal Server Error", retried))
    with pytest.raises(RegistryError):
        attempt(registry, engine)
    assert len(engine.pushes) == 1


def test_after_a_server_error_the_registry_is_asked_for_the_reason(registry: FakeRegistry) -> None:
    """Engines keep a full disk to themselves."""
    engine = FakeEngine(BROKEN)

    def fill_up(_repository: str, **_options: Any) -> Iterator[dict[str, Any]]:
        registry.refusal = RegistryError(Kind.QUOTA, "No space left on device")
        yield from BROKEN

    engine.api.push = fill_up
    with pytest.raises(RegistryError, match="No space left") as caught:
        attempt(registry, engine)
    assert caught.value.kind is Kind.QUOTA
    assert registry.checks == [f"fleet/ship {ATTEMPTS}", "fleet/ship 1"]


def test_a_disk_on_which_an_upload_can_still_begin_is_found_full(registry: FakeRegistry) -> None:
    """Once the engine's own upload is cleared away, there is room for one of nothing: the push is not tried again."""
    engine, registry.room = FakeEngine(BROKEN, FRESH), 10_000
    with pytest.raises(RegistryError, match="no space left") as caught:
        attempt(registry, engine)
    assert caught.value.kind is Kind.QUOTA
    assert len(engine.pushes) == 1


def test_upload_states_are_cut_from_messages(registry: FakeRegistry) -> None:
    """Engines quote upload addresses with a few hundred characters of state: nobody needs these."""
    url = f"https://{HOST}/v2/fleet/ship/blobs/uploads/1?_state=3EXQpz{'x' * 200}%3D&digest=sha256%3A1"
    engine = FakeEngine(failing(f"unexpected status from PUT request to {url}: 413 RegistryRequest Entity Too Large"))
    with pytest.raises(RegistryError, match="413 RegistryRequest Entity Too Large") as caught:
        attempt(registry, engine)
    assert "_state" not in caught.value.message


def test_another_digest_in_the_registry_is_an_error(registry: FakeRegistry) -> None:
    """Somebody else pushed the same tag meanwhile, or the registry is broken."""
    registry.content = b"{}"
    with pytest.raises(RegistryError) as caught:
        attempt(registry, FakeEngine(FRESH))
    assert caught.value.kind is Kind.MISMATCH
    assert DIGEST in caught.value.message


def test_a_push_without_a_digest_is_an_error(registry: FakeRegistry) -> None:
    """What cannot be checked has not succeeded."""
    with pytest.raises(RegistryError, match="did not say what it pushed"):
        attempt(registry, FakeEngine(FRESH[:-1]))


def test_nothing_is_pushed_unless_all_can_be(registry: FakeRegistry) -> None:
    """A missing image or a refusal is found before the first layer."""
    engine = FakeEngine(FRESH)
    with pytest.raises(RegistryError, match="no image"):
        attempt(registry, engine, SHIP, f"{HOST}/fleet/ghost:1")
    registry.refusal = RegistryError(Kind.DENIED, "no")
    with pytest.raises(RegistryError, match="no"):
        attempt(registry, engine)
    assert engine.pushes == []


def test_each_repository_is_checked_once(registry: FakeRegistry) -> None:
    """Ten tags of an image are one question."""
    names = (SHIP, f"{HOST}/fleet/ship:2", f"{HOST}/fleet/boat:1")
    attempt(registry, FakeEngine(FRESH, FRESH, FRESH, images=names), *names)
    assert registry.checks == [f"fleet/ship {ATTEMPTS}", f"fleet/boat {ATTEMPTS}"]


def test_a_name_without_a_registry_is_refused(registry: FakeRegistry) -> None:
    """Nobody may push to a bare name, and the setting that is missing is named."""
    with pytest.raises(UsageError, match="names no registry") as caught:
        attempt(registry, FakeEngine(), "ship:1")
    assert "registry" in caught.value.hint


def test_an_unreachable_registry_ends_the_push(registry: FakeRegistry) -> None:
    """What cannot be reached from here cannot be reached by an engine of this machine either."""
    registry.unreachable = True
    with pytest.raises(RegistryError, match="nothing listens"):
        attempt(registry, FakeEngine(FRESH))


def test_a_remote_engine_may_reach_what_we_cannot(registry: FakeRegistry) -> None:
    """The push is tried, and it is said that nobody looked; a refused connection is then the engine's answer."""
    registry.unreachable = True
    (pushed,), said = attempt(registry, FakeEngine(FRESH, name="far-away"))
    assert (pushed.digest, pushed.size) == (DIGEST, 0)
    assert any("not checked" in line for line in said)
    engine = FakeEngine(failing("dial tcp 192.0.2.9:5000: connect: connection refused"), name="far-away")
    with pytest.raises(RegistryError, match="connection refused"):
        attempt(registry, engine)
    assert len(engine.pushes) == 1


def test_an_engine_that_stops_is_an_engine_error(registry: FakeRegistry) -> None:
    """Losing the engine is told from losing the registry."""
    engine = FakeEngine()

    def stop(_repository: str, **_options: Any) -> Iterator[dict[str, Any]]:
        yield FRESH[0]
        raise requests.exceptions.ChunkedEncodingError("Connection broken")

    engine.api.push = stop
    with pytest.raises(EngineError, match="stopped answering"):
        attempt(registry, engine)


def test_an_interrupt_is_told_and_passed_on(registry: FakeRegistry) -> None:
    """People learn what the registry has now; the client is closed."""
    engine, said = FakeEngine(), LINES
    closed = []

    def interrupt(_repository: str, **_options: Any) -> Iterator[dict[str, Any]]:
        try:
            yield FRESH[0]
            raise KeyboardInterrupt
        finally:
            closed.append("stream")

    engine.api.push = interrupt
    with pytest.raises(KeyboardInterrupt):
        attempt(registry, engine)
    assert said[-1].startswith(f"stopped: {SHIP}")
    assert closed == ["stream"]
    assert engine.closed


def test_preflight_needs_no_image(registry: FakeRegistry) -> None:
    """It is asked before the build that makes the image."""
    engine = FakeEngine(images=())
    preflight(cast("Engine", engine), [SHIP], reach=lambda *_: registry)
    assert registry.checks == [f"fleet/ship {ATTEMPTS}"]
    assert engine.pushes == []


def test_what_buildkit_pushed_is_verified(registry: FakeRegistry) -> None:
    """The same check, for a push that did not go through the engine."""
    assert verify_pushed(cast("Engine", FakeEngine()), SHIP, DIGEST, reach=lambda *_: registry) == 20_000_700
    registry.absent = True
    with pytest.raises(RegistryError, match="is absent in the registry") as caught:
        verify_pushed(cast("Engine", FakeEngine()), SHIP, DIGEST, reach=lambda *_: registry)
    assert caught.value.kind is Kind.MISMATCH


@pytest.mark.parametrize("tag", ["a1b2c3-dirty", "1.2.dirty", "dirty", "a1b2c3-dirty-test-py3.11"])
def test_a_dirty_tag_is_refused_unless_forced(tag: str) -> None:
    """Every tag that dockyard marks so, with and without a variant's suffix."""
    with pytest.raises(DockyardError, match="uncommitted") as caught:
        refuse_dirty([f"{HOST}/fleet/boat:1", f"{HOST}/fleet/ship:{tag}"], force=False)
    assert "boat" not in caught.value.message
    assert "--force" in caught.value.hint
    refuse_dirty([f"{HOST}/fleet/ship:{tag}"], force=True)


def test_a_clean_tag_is_not_mistaken_for_a_dirty_one() -> None:
    """Only the mark counts, not a word or a repository that holds it."""
    refuse_dirty([f"{HOST}/dirty/ship:1", f"{HOST}/fleet/ship:dirtywork", f"{HOST}/fleet/ship:undirty-1"], force=False)


INFO = {
    "IndexServerAddress": "https://index.example/v1/",
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128", "10.1.0.0/16"],
        "IndexConfigs": {
            "default.example": {"Name": "default.example", "Secure": True, "Official": True},
            "trial.example": {"Name": "trial.example", "Secure": False, "Official": False},
        },
    },
}


@pytest.mark.parametrize(
    ("host", "address", "expected"),
    [
        (HOST, "192.0.2.9", Access(HOST, HOST, key=HOST)),
        (
            "trial.example",
            "192.0.2.9",
            Access("trial.example", "trial.example", insecure=True, plain=True, key="trial.example"),
        ),
        ("lan.example", "10.1.2.3", Access("lan.example", "lan.example", insecure=True, plain=True, key="lan.example")),
        ("localhost:5000", "127.0.0.1", Access("localhost:5000", "localhost:5000", plain=True, key="localhost:5000")),
        ("[::1]:5000", "::1", Access("[::1]:5000", "[::1]:5000", plain=True, key="[::1]:5000")),
        ("default.example", "192.0.2.9", Access("default.example", "index.example", key="https://index.example/v1/")),
        ("", "192.0.2.9", Access("index.example", "index.example", key="https://index.example/v1/")),
        ("nowhere.invalid", "", Access("nowhere.invalid", "nowhere.invalid", key="nowhere.invalid")),
    ],
)
def test_an_engines_configuration_decides_how_a_registry_is_treated(host: str, address: str, expected: Access) -> None:
    """Loopback may speak plain HTTP, but a certificate that it shows is checked."""
    assert select_rules(INFO, host, lambda _name: [address] if address else []) == expected


def test_an_engine_that_tells_nothing_of_registries_is_taken_at_its_strictest() -> None:
    """Other engines with Docker's API may leave parts out."""
    assert select_rules({}, HOST, lambda _name: ["127.0.0.1"]) == Access(HOST, HOST, key=HOST)


def test_a_registry_is_reached_with_the_engines_login(tmp_path: Path) -> None:
    """What the engine calls insecure is reached so, with the login that is filed for it."""
    login = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"trial.example": {"auth": login}}}))
    environment = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    found = find_access(Engine("host", "28.5.2", True, 1, environment), INFO, "trial.example")
    assert (found.api, found.insecure, found.plain) == ("trial.example", True, True)
    assert found.credentials is not None
    assert (found.credentials.username, found.credentials.password) == ("me", "secret")


def follow(*events: dict[str, Any]) -> Layers:
    """Show events, and return the layers."""
    layers = Layers()
    with display(layers) as show:
        for event in events:
            show(event)
    return layers


def test_each_finished_layer_is_one_line(said: list[str]) -> None:
    """Its id, how it came to be there, and for a layer that was sent its size."""
    follow(*FRESH, *FRESH[-3:])
    assert said == [
        "  f48ef4166e06  Mounted from fleet/boat",
        "  5f70bf18a086  Layer already exists",
        "  08cfad7b222b  Pushed, 10.2 kB",
        "  2cf4ee1c95d8  Pushed, 20.0 MB",
    ]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_shows_a_bar_for_each_layer(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """Every layer has its line, with its state in the end."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with contextlib.redirect_stderr(terminal):
        layers = follow(*FRESH)
    assert said == []
    shown = terminal.getvalue()
    assert all(name in shown for name in layers.sizes)
    assert "Mounted from fleet/boat" in shown
    assert "Layer already exists" in shown
