"""What cosign is asked, and what its answers mean."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.process import Command, Completed
from dockyard.registry import sign
from dockyard.registry.sign import Signer
from tests.scripted_docker import Docker

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
PINNED = "registry.example/shop@sha256:1"
WRONG = "Error: reading key: decrypt: encrypted: decryption failed\nerror during command execution"


class Cosign(Docker):
    """A cosign that opens its key with one password and knows one kind of answer for all else."""

    def __init__(self) -> None:
        super().__init__()
        self.programs = {"cosign": "/usr/bin/cosign"}
        self.help = ""
        self.signatures: list[str] = []
        self.keeps = True
        self.fails = ""

    def answer(self, command: Command) -> Completed:
        """Answer one command."""
        verb = command.argv[1]
        if "--help" in command.argv:
            return Completed(0, self.help, "", 0.1)
        if self.fails:
            return Completed(1, "", self.fails, 0.1)
        if verb == "public-key":
            good = command.env.get(sign.PASSWORD) == "open sesame"
            return Completed(0, PEM, "", 0.1) if good else Completed(1, "", WRONG, 0.1)
        if verb == "sign" and self.keeps:
            self.signatures.append(command.argv[-1])
        return Completed(int(verb == "verify" and command.argv[-1] not in self.signatures), "", "", 0.1)


@pytest.fixture
def cosign() -> Cosign:
    """Return a cosign that is at hand."""
    return Cosign()


@pytest.fixture
def key(tmp_path: Path) -> str:
    """Return the path of a key."""
    path = tmp_path / "cosign.key"
    path.touch()
    return str(path)


GOOD: Mapping[str, str] = {sign.PASSWORD: "open sesame"}


def test_what_hinders(cosign: Cosign) -> None:
    """No key, or no cosign: either is said as what it is."""
    assert sign.explain_hindrance("", cosign) == "no key is given (--key FILE or DOCKYARD_COSIGN_KEY)"
    assert sign.explain_hindrance("a.key", Docker()) == "cosign is not installed"
    assert sign.explain_hindrance("a.key", cosign) == ""


def test_a_key_that_opens(cosign: Cosign, key: str) -> None:
    """Only the public half comes out; the password is in no argument, and hidden in what is shown."""
    signer = sign.unlock_key(key, GOOD, cosign)
    assert (signer.public, signer.configured) == (PEM, False)
    assert cosign.verbs() == ["public-key", "sign"]
    assert cosign.asked[0].secrets == ("open sesame",)
    assert "open sesame" not in repr(signer)


def test_a_cosign_that_does_not_end(cosign: Cosign, key: str) -> None:
    """A registry that is silent keeps it waiting; after its time that is said."""
    cosign.says["public-key"] = CommandError("cosign did not end within 60 s")
    with pytest.raises(DockyardError, match="cosign did not end within 60 s") as caught:
        sign.unlock_key(key, GOOD, cosign)
    assert caught.value.hint == "does the registry answer?"


@pytest.mark.parametrize(
    ("environment", "words"),
    [({sign.PASSWORD: "sesame"}, "the password is wrong"), ({}, "COSIGN_PASSWORD is not set")],
    ids=["wrong", "absent"],
)
def test_a_password_that_does_not_open(cosign: Cosign, key: str, environment: dict[str, str], words: str) -> None:
    """The error names the key and the variable, and never the password."""
    with pytest.raises(DockyardError, match=words) as caught:
        sign.unlock_key(key, environment, cosign)
    assert key in caught.value.message
    assert sign.PASSWORD in caught.value.hint


def test_no_such_key(cosign: Cosign) -> None:
    """A wrong path is found before cosign is asked."""
    with pytest.raises(UsageError, match=r"no signing key /nowhere/cosign\.key"):
        sign.unlock_key("/nowhere/cosign.key", GOOD, cosign)
    assert cosign.asked == []


def test_a_key_in_a_service(cosign: Cosign) -> None:
    """A key need not be a file: cosign knows the addresses of key services."""
    assert sign.unlock_key("env://COSIGN_PRIVATE_KEY", GOOD, cosign).key == "env://COSIGN_PRIVATE_KEY"


def test_a_file_that_is_no_key(cosign: Cosign, key: str) -> None:
    """What else cosign complains of is passed on, its last line."""
    cosign.fails = "Error: reading key\nunsupported pem type"
    with pytest.raises(DockyardError, match=f"cannot use the signing key {key}: unsupported pem type"):
        sign.unlock_key(key, GOOD, cosign)


def test_a_signature(cosign: Cosign, key: str) -> None:
    """The digest is signed, and the registry asked for the signature."""
    signer = Signer(key, PEM, False, GOOD, cosign)
    assert not sign.has_signature(signer, PINNED)
    sign.sign_digest(signer, PINNED)
    assert sign.has_signature(signer, PINNED)
    assert cosign.verbs() == ["verify", "sign", "verify", "verify"]


@pytest.mark.parametrize(
    ("shown", "option"),
    [("    --tlog-upload=true:", "--tlog-upload=false"), ("    --use-signing-config=true:", "--signing-config=")],
    ids=["2", "3"],
)
def test_no_public_log(cosign: Cosign, key: str, shown: str, option: str) -> None:
    """Each cosign refuses the other's way of saying so; its help tells which it is, as not each knows its version."""
    cosign.help = shown
    sign.sign_digest(sign.unlock_key(key, GOOD, cosign), PINNED)
    (words,) = (command.argv for command in cosign.asked if command.argv[1] == "sign" and "--help" not in command.argv)
    assert (words[1:4], words[5:]) == (("sign", "--key", key), ("--yes", PINNED))
    assert words[4].startswith(option)


def test_a_signature_that_fails(cosign: Cosign, key: str) -> None:
    """Cosign's own words say why."""
    cosign.fails = "Error: signing\nUNAUTHORIZED: authentication required"
    with pytest.raises(DockyardError, match=f"could not sign {PINNED}: UNAUTHORIZED"):
        sign.sign_digest(Signer(key, PEM, False, GOOD, cosign), PINNED)


def test_a_signature_that_is_not_kept(cosign: Cosign, key: str) -> None:
    """Cosign's word alone is not enough."""
    cosign.keeps = False
    with pytest.raises(DockyardError, match="the registry has no signature by this key"):
        sign.sign_digest(Signer(key, PEM, False, GOOD, cosign), PINNED)


def test_the_way_to_the_registry(tmp_path: Path) -> None:
    """Cosign gets the folder that has the login, be it the engine's or the user's, and the CA bundle."""
    engines, users, bundle = tmp_path / "engine", tmp_path / "user", tmp_path / "ca.pem"
    for folder in (engines, users):
        folder.mkdir()
    bundle.touch()
    login = {"auths": {"registry.example": {"auth": "c2FpbG9yOnNlY3JldA=="}}}
    (users / "config.json").write_text(json.dumps(login))
    user = {"DOCKER_CONFIG": str(users), "SSL_CERT_FILE": str(bundle), sign.PASSWORD: "x"}
    engine = {"DOCKER_CONFIG": str(engines)}
    there = {"SSL_CERT_FILE": str(bundle), sign.PASSWORD: "x"}
    assert sign.make_environment("registry.example", engine, user) == {"DOCKER_CONFIG": str(users), **there}
    assert sign.make_environment("elsewhere.example", engine, user) == there
