"""Pushing to a real registry on loopback: TLS, passwords, full disks, broken connections, Ctrl-C."""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import logging
import os
import random
import re
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.process import capture
from dockyard.registry import client
from dockyard.registry.content import Repository, reach_registry
from dockyard.registry.errors import Kind, RegistryError
from dockyard.registry.push import PROBE_BYTES, preflight, push_images, verify_pushed
from tests.progress import LINES

from .registry_process import Authority, Programs, Relay, RunningRegistry, Shape, login, running

SMALL, LARGE = 1_000, 20_000_000


def archive(name: str, *sizes: int) -> bytes:
    """Return an image with one layer of noise for each size, in the form that `docker load` takes."""
    noise = random.Random(name)
    files: dict[str, bytes] = {}
    for number, size in enumerate(sizes):
        files[f"{number}.tar"] = pack({f"noise-{number}": noise.randbytes(size)})
    layers = list(files)
    roots = [f"sha256:{hashlib.sha256(files[layer]).hexdigest()}" for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": roots}}
    files["config.json"] = json.dumps(config).encode()
    files["manifest.json"] = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": layers}]).encode()
    return pack(files)


def pack(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Yard:
    """What a test pushes with: an engine, an image, and registries that end with the test."""

    engine: Engine
    image: str
    folder: Path
    programs: Programs
    authority: Authority
    stack: ExitStack
    configurations: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def registry(self, **shape: object) -> RunningRegistry:
        """Start a registry with TLS and a password, unless told otherwise."""
        wanted = dataclasses.replace(Shape(self.authority.issue()), **shape)  # type: ignore[arg-type]
        folder = self.folder / f"registry-{len(list(self.folder.iterdir()))}"
        return self.stack.enter_context(running(self.programs, folder, wanted))

    def relay(self, registry: RunningRegistry, **behaviour: float) -> Relay:
        """Put a relay before a registry."""
        return self.stack.enter_context(Relay(registry.port, **behaviour))  # type: ignore[arg-type]

    def logged_in(self, host: str, password: str = "secret", bundle: Path | None = None) -> Engine:
        """Return the engine as a user who has logged in, and trusts the test authority, sees it."""
        config = login(self.folder / f"docker-{next(self.configurations)}", host, password)
        return self.trusting(bundle or self.authority.certificate, config)

    def trusting(self, bundle: Path, config: Path) -> Engine:
        """Return the engine as seen with another Docker configuration and CA bundle."""
        # Another Docker configuration knows no context: say where the engine is.
        host = self.engine.address()["DOCKER_HOST"]
        changes = {"DOCKER_HOST": host, "DOCKER_CONFIG": str(config), "SSL_CERT_FILE": str(bundle)}
        return dataclasses.replace(self.engine, environment={**self.engine.environment, **changes})

    def tag(self, host: str, name: str = "fleet/ship:1.0") -> str:
        """Give the image a name in a registry, for as long as the test runs."""
        reference = f"{host}/{name}"
        capture(self.engine.command("tag", self.image, reference))
        self.stack.callback(capture, self.engine.command("rmi", reference), check=False)
        return reference


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """Yield the name of an image of three layers."""
    name = f"dockyard-test-push-{os.getpid()}:1"
    capture(engine.command("load", input=archive(name, SMALL, SMALL + 1, LARGE)))
    yield name
    capture(engine.command("rmi", name))


@pytest.fixture(scope="module")
def authority(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the certificate authority that the tests trust."""
    return Authority(programs.openssl, tmp_path_factory.mktemp("authority") / "ca").make()


@pytest.fixture
def yard(engine: Engine, image: str, tmp_path: Path, programs: Programs, authority: Authority) -> Iterator[Yard]:
    """Yield what is needed to push, with hardly a pause before a retry."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "PAUSE", 0.05)
        yield Yard(engine, image, tmp_path, programs, authority, stack)


def fails(kind: Kind, engine: Engine, reference: str) -> RegistryError:
    """Push, and return the error, which must be of this kind."""
    with pytest.raises(RegistryError) as caught:
        push_images(engine, [reference])
    assert caught.value.kind is kind, caught.value
    assert caught.value.hint
    return caught.value


def test_a_push_with_tls_and_password_arrives_and_is_what_the_registry_has(yard: Yard) -> None:
    """The digest that is told is that of the manifest in the registry's own storage."""
    registry = yard.registry()
    reference = yard.tag(registry.host)
    (pushed,) = push_images(yard.logged_in(registry.host), [reference])
    digests = {f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in registry.blobs()}
    assert pushed.digest in digests
    assert pushed.pinned == f"{registry.host}/fleet/ship@{pushed.digest}"
    assert (pushed.pushed, pushed.mounted, pushed.existing) == (3, 0, 0)
    assert LARGE < pushed.size < LARGE * 1.1
    finished = [line for line in LINES if "  Pushed" in line]
    assert len(finished) == 3
    assert any(line.endswith(" MB") for line in finished), finished


def test_what_is_there_already_is_not_sent_again(yard: Yard) -> None:
    """A second tag sends no layer, nor does a second repository of the same registry."""
    registry = yard.registry()
    names = [yard.tag(registry.host), yard.tag(registry.host, "fleet/ship:1"), yard.tag(registry.host, "fleet/boat:1")]
    first, second, third = push_images(yard.logged_in(registry.host), names)
    assert first.digest == second.digest == third.digest
    assert (second.pushed, second.existing) == (0, 3)
    assert third.pushed == 0
    assert third.mounted + third.existing == 3


def test_a_wrong_password_is_denied_before_anything_is_sent(yard: Yard) -> None:
    """The error names the host and the user, and says how to log in."""
    registry = yard.registry()
    error = fails(Kind.DENIED, yard.logged_in(registry.host, "wrong"), yard.tag(registry.host))
    assert f"{registry.host} does not accept the login of sailor" in error.message
    assert f"docker login {registry.host}" in error.hint
    assert registry.blobs() == []


def test_no_login_is_told_from_a_wrong_one(yard: Yard) -> None:
    """Somebody who never logged in is not sent looking for a typing mistake."""
    registry = yard.registry()
    error = fails(Kind.DENIED, yard.logged_in("elsewhere.example"), yard.tag(registry.host))
    assert "there is none for it" in error.message
    assert f"docker login {registry.host}" in error.hint


def test_a_certificate_of_an_unknown_authority_stops_the_push(yard: Yard) -> None:
    """Engines would push to loopback all the same: it is our own look that finds it."""
    registry = yard.registry()
    other = Authority(yard.programs.openssl, yard.folder / "other").make()
    stranger = yard.logged_in(registry.host, bundle=other.certificate)
    error = fails(Kind.TLS, stranger, yard.tag(registry.host))
    assert "is not trusted: unable to get local issuer certificate" in error.message
    assert str(other.certificate) in error.message
    assert f"/etc/docker/certs.d/{registry.host}/ca.crt" in error.hint
    assert registry.blobs() == []


@pytest.mark.parametrize(
    ("certificate", "words"),
    [({"end": "20210101000000Z"}, "has expired"), ({"name": "DNS:registry.example"}, "is not valid for")],
    ids=["expired", "other name"],
)
def test_an_unfit_certificate_is_told_by_what_is_wrong_with_it(
    yard: Yard, certificate: dict[str, str], words: str
) -> None:
    """An expired certificate and one for another name need different cures."""
    registry = yard.registry(certificate=yard.authority.issue(**certificate))
    error = fails(Kind.TLS, yard.logged_in(registry.host), yard.tag(registry.host))
    assert words in error.message


def test_a_stopped_registry_is_unreachable_at_once(yard: Yard) -> None:
    """Nobody waits for retries when there was never an answer."""
    registry = yard.registry()
    registry.stop()
    started = time.monotonic()
    error = fails(Kind.UNREACHABLE, yard.logged_in(registry.host), yard.tag(registry.host))
    assert time.monotonic() - started < 3
    assert "nothing listens there" in error.message


def test_a_host_that_does_not_exist_is_unreachable(yard: Yard) -> None:
    """A name that cannot be resolved is told as such."""
    reference = yard.tag("registry.invalid:5000")
    error = fails(Kind.UNREACHABLE, yard.logged_in("registry.invalid:5000"), reference)
    assert "cannot be found" in error.message


def test_plain_http_is_allowed_on_loopback_and_said(yard: Yard) -> None:
    """A registry on trial works as with Docker itself, but not in silence."""
    registry = yard.registry(certificate=None, password=False)
    (pushed,) = push_images(yard.logged_in("elsewhere.example"), [yard.tag(registry.host)])
    assert pushed.pushed == 3
    assert any("plain HTTP" in line for line in LINES)


def test_plain_http_beyond_loopback_is_refused(yard: Yard) -> None:
    """Without leave in the engine's configuration, nothing is sent unencrypted."""
    registry = yard.registry(certificate=None, password=False, address=own_address())
    error = fails(Kind.PLAIN_HTTP, yard.logged_in("elsewhere.example"), yard.tag(registry.host))
    assert "insecure-registries" in error.hint


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only makes the kernel choose a source address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("mount", "kind", "words"),
    [("size=4m", Kind.QUOTA, "[Nn]o space left on device"), ("ro,size=4m", Kind.REFUSED, "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_registry_that_cannot_store_says_why(yard: Yard, mount: str, kind: Kind, words: str) -> None:
    """Engines only tell of status 500; the registry itself knows more, and is asked."""
    registry = yard.registry(mount=mount)
    error = fails(kind, yard.logged_in(registry.host), yard.tag(registry.host))
    assert re.search(words, error.message)
    assert not any("pushing again" in line for line in LINES)


def test_a_disk_with_room_for_little_is_found_full(yard: Yard) -> None:
    """An upload of nothing can begin on it, as it can once the engine's own has failed and been cleared away."""
    registry = yard.registry(mount="size=1m")
    engine = yard.logged_in(registry.host)
    with contextlib.closing(engine.client()) as docker, reach_registry(engine, docker.info(), registry.host) as there:
        repository = Repository(there, "fleet/ship")
        repository.check_push(room=PROBE_BYTES)
        repository.put_blob(bytes(1_000_000), "application/octet-stream")
        repository.check_push()
        with pytest.raises(RegistryError, match="no space left") as caught:
            repository.check_push(room=PROBE_BYTES)
    assert caught.value.kind is Kind.QUOTA


def test_a_connection_that_breaks_in_mid_push_is_tried_again(yard: Yard) -> None:
    """Twice the registry hangs up in the middle of a layer; the push succeeds all the same."""
    registry = yard.registry()
    relay = yard.relay(registry, break_after=2_000_000, breaks=2)
    (pushed,) = push_images(yard.logged_in(relay.host), [yard.tag(relay.host)])
    assert relay.breaks == 0
    assert pushed.pushed + pushed.existing == 3
    assert verify_pushed(yard.logged_in(registry.host), f"{registry.host}/fleet/ship:1.0", pushed.digest) == pushed.size


def test_a_connection_that_always_breaks_ends_in_a_clear_error(yard: Yard) -> None:
    """After the last attempt the error says what happened and that pushing again is worth it."""
    registry = yard.registry()
    relay = yard.relay(registry, break_after=2_000_000, breaks=10_000)
    error = fails(Kind.DROPPED, yard.logged_in(relay.host), yard.tag(relay.host))
    assert "not sent twice" in error.hint
    assert not list(registry.storage.glob("docker/registry/v2/repositories/fleet/ship/_manifests/tags/*"))


def test_a_registry_that_goes_away_in_mid_push_ends_in_a_clear_error(yard: Yard) -> None:
    """A registry that answered, and does so no more, is given a few chances, then named as unreachable or lost."""
    registry = yard.registry()
    relay = yard.relay(registry, pace=8_000_000)
    reference, engine = yard.tag(relay.host), yard.logged_in(relay.host)
    with in_mid_upload(relay, registry.process.kill), pytest.raises(RegistryError) as caught:
        push_images(engine, [reference])
    assert caught.value.kind in (Kind.DROPPED, Kind.UNREACHABLE)


@contextmanager
def in_mid_upload(relay: Relay, act: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as some of a layer has passed the relay."""

    def wait() -> None:
        if relay.uploading.wait(30):
            act()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield
    finally:
        waiting.join()


def test_an_interrupt_stops_the_upload_and_leaves_nothing(yard: Yard) -> None:
    """Ctrl-C in the middle of a layer: the engine stops sending, and the registry has no such tag."""
    registry = yard.registry()
    relay = yard.relay(registry, pace=3_000_000)
    reference, engine = yard.tag(relay.host), yard.logged_in(relay.host)
    with in_mid_upload(relay, interrupt), pytest.raises(KeyboardInterrupt) as caught:
        push_images(engine, [reference])
    assert any(line.startswith(f"stopped: {reference}") for line in LINES)
    assert relay.settle() < LARGE * 0.7, "the upload went on to its end"
    del caught  # held until here: a traceback that somebody keeps must not keep the upload going
    with pytest.raises(RegistryError):
        verify_pushed(engine, reference, "sha256:" + "0" * 64)


def test_an_interrupt_between_two_events_stops_the_upload_too(yard: Yard) -> None:
    """Ctrl-C while a line is printed, and not while the engine is listened to, must hang up as well."""
    registry = yard.registry()
    relay = yard.relay(registry, pace=3_000_000)
    reference, engine = yard.tag(relay.host), yard.logged_in(relay.host)

    class Interrupting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("  "):
                raise KeyboardInterrupt

    handler = Interrupting()
    logging.getLogger("dockyard").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            push_images(engine, [reference])
    finally:
        logging.getLogger("dockyard").removeHandler(handler)
    assert relay.settle() < LARGE * 0.7, "the upload went on to its end"
    del caught


def interrupt() -> None:
    """Do as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def test_an_image_that_the_engine_lacks_keeps_all_from_being_pushed(yard: Yard) -> None:
    """One wrong name among several is found before the first is sent."""
    registry = yard.registry()
    names = [yard.tag(registry.host), f"{registry.host}/fleet/ghost:1"]
    with pytest.raises(RegistryError) as caught:
        push_images(yard.logged_in(registry.host), names)
    assert caught.value.kind is Kind.MISSING
    assert "fleet/ghost" in caught.value.message
    assert registry.blobs() == []


def test_preflight_finds_what_is_wrong_before_a_build_and_leaves_no_upload(yard: Yard) -> None:
    """An image need not exist for its push to be checked, and nothing stays of the check."""
    registry = yard.registry()
    preflight(yard.logged_in(registry.host), [f"{registry.host}/fleet/future:1"])
    assert not list(registry.storage.glob("docker/registry/v2/repositories/fleet/future/_uploads/*/startedat"))
    LINES.append("another login")
    with pytest.raises(RegistryError):
        preflight(yard.logged_in(registry.host, "wrong"), [f"{registry.host}/fleet/future:1"])


def test_a_tag_that_means_another_image_is_found_out(yard: Yard) -> None:
    """What BuildKit says it pushed is compared with what the registry has."""
    registry = yard.registry()
    reference, engine = yard.tag(registry.host), yard.logged_in(registry.host)
    (pushed,) = push_images(engine, [reference])
    assert verify_pushed(engine, reference, pushed.digest) == pushed.size
    with pytest.raises(RegistryError) as caught:
        verify_pushed(engine, reference, "sha256:" + "0" * 64)
    assert caught.value.kind is Kind.MISMATCH
