"""Signing with the real cosign of Debian's packages: its key, its words, its signatures in a registry with a login."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dockyard.errors import DockyardError
from dockyard.process import Command, capture
from dockyard.registry import sign
from dockyard.registry.access import Access, Credentials
from dockyard.registry.client import Registry
from dockyard.registry.content import MANIFEST, Repository
from dockyard.registry.sign import PASSWORD
from dockyard.settings import Settings

from . import registry_process
from .debian_packages import provide_packages
from .registry_process import Authority, Programs, RunningRegistry, Shape, login, running

RELEASES = ("trixie", "testing")
"""Debian's releases with cosign: one has 2, the other 3, which signs in another way."""
OPENS = "open sesame"


@pytest.fixture(scope="module", params=RELEASES)
def cosign(request: pytest.FixtureRequest, project: Settings) -> Iterator[None]:
    """Put the cosign of a Debian release first on PATH."""
    try:
        folder = provide_packages(f"cosign/{request.param}", allow_expired=project.allow_expired_release)
    except DockyardError as error:
        pytest.skip(f"Debian {request.param} gives no cosign: {error.message}")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(PASSWORD, raising=False)
        patch.setenv("PATH", str(folder / "usr/bin"), prepend=os.pathsep)
        yield


@dataclass(frozen=True)
class Harbour:
    """A registry with an image in it, `pinned`; `client` is what reaches it, `keys` a folder with a key pair."""

    pinned: str
    client: Mapping[str, str]
    keys: Path

    @property
    def key(self) -> str:
        """The private key, which only a password opens."""
        return str(self.keys / "cosign.key")

    def unlock(self, password: str | None) -> sign.Signer:
        """Open the key as a release does, with no more in the environment than what a user would have."""
        user = {**self.client, **({} if password is None else {PASSWORD: password})}
        host = self.pinned.partition("/")[0]
        return sign.unlock_key(self.key, sign.make_environment(host, {}, user))


@pytest.fixture(scope="module")
def harbour(cosign: None, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Yield a registry with TLS and a password that holds one image, and a fresh key pair."""
    folder = tmp_path_factory.mktemp("harbour")
    authority = Authority(programs.openssl, folder / "authority").make()
    keys = made_keys(folder / "keys")
    with running(programs, folder / "registry", Shape(authority.issue())) as registry:
        client = {
            "DOCKER_CONFIG": str(login(folder / "docker", registry.host)),
            "SSL_CERT_FILE": str(authority.certificate),
        }
        yield Harbour(image(registry, client), client, keys)


def made_keys(folder: Path) -> Path:
    """Return a folder with a new key pair."""
    folder.mkdir()
    capture(Command(("cosign", "generate-key-pair"), cwd=folder, env={PASSWORD: OPENS}))
    return folder


def image(registry: RunningRegistry, client: Mapping[str, str]) -> str:
    """Put an image without layers into a registry, and return its name with its digest."""
    sailor = Credentials(registry_process.USER, registry_process.PASSWORD)
    access = Access(registry.host, registry.host, Path(client["SSL_CERT_FILE"]), credentials=sailor)
    with Registry(access) as registry_client:
        registry_client.connect()
        there = Repository(registry_client, "shop")
        config = there.put_blob(b"{}", "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
        document, _ = there.put_document(json.dumps(manifest).encode(), MANIFEST, "1.0")
    return f"{registry.host}/shop@{document.digest}"


def test_a_signature_is_there_and_is_by_this_key(harbour: Harbour) -> None:
    """Signed once it verifies, for this digest and this key only, and by the command in the guide."""
    signer = harbour.unlock(OPENS)
    assert "BEGIN PUBLIC KEY" in signer.public
    assert not sign.has_signature(signer, harbour.pinned)
    sign.sign_digest(signer, harbour.pinned)
    assert sign.has_signature(signer, harbour.pinned)
    other = sign.unlock_key(str(made_keys(harbour.keys / "others") / "cosign.key"), signer.environment)
    assert not sign.has_signature(other, harbour.pinned)
    assert not sign.has_signature(signer, harbour.pinned[:-1] + ("0" if harbour.pinned[-1] != "0" else "1"))
    documented = ("cosign", "verify", "--key", str(harbour.keys / "cosign.pub"), "--insecure-ignore-tlog=true")
    assert capture(Command((*documented, harbour.pinned), env=signer.environment)).ok


@pytest.mark.parametrize(
    ("password", "words"),
    [("sesame", "the password is wrong"), (None, f"{PASSWORD} is not set"), ("", "the password is wrong")],
    ids=["wrong", "unset", "empty"],
)
def test_a_password_that_does_not_open_the_key(harbour: Harbour, password: str | None, words: str) -> None:
    """It is told before anything is signed, in words, and without a prompt that would wait for ever."""
    with pytest.raises(DockyardError) as caught:
        harbour.unlock(password)
    assert caught.value.message == f"the signing key {harbour.key} does not open: {words}"


def test_what_is_no_key(harbour: Harbour) -> None:
    """A public key, or any other file, is refused in cosign's words."""
    with pytest.raises(DockyardError, match=r"cosign cannot use the signing key .*cosign\.pub: ") as caught:
        sign.unlock_key(str(harbour.keys / "cosign.pub"), {PASSWORD: OPENS})
    assert caught.value.hint == "is it a private key made by cosign?"


def test_a_registry_that_does_not_let_in(harbour: Harbour, tmp_path: Path) -> None:
    """Without a login nothing is signed, and cosign's reason is told."""
    signer = harbour.unlock(OPENS)
    stranger = replace(signer, environment={**signer.environment, "DOCKER_CONFIG": str(tmp_path)})
    with pytest.raises(DockyardError, match=f"cosign could not sign {harbour.pinned}: .*"):
        sign.sign_digest(stranger, harbour.pinned)
