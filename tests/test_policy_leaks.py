"""Secrets in any layer, variable, label or instruction; fakes are put together here so that no scan finds this file."""

import base64
import hashlib
from dataclasses import replace

import pytest

from dockyard.locks.pins import Pin
from dockyard.verify.model import Case
from dockyard.verify.rules import judge, secrets
from tests import small_images
from tests.small_images import File, folder

DASHES = "-" * 5
KEY = f"{DASHES}BEGIN RSA PRIVATE {'KEY'}{DASHES}\n{'MIIE' * 16}\n{DASHES}END RSA PRIVATE KEY{DASHES}\n".encode()
TOKENS = {
    "AWS access key": "AKIA" + "QWERTYUIOPASDFGH",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2c3D4e5" * 2,
    "Google API key": "AIza" + "a1B2c3D" * 5,
    "npm token": "npm_" + "a1B2" * 9,
    "PyPI token": "pypi-AgE" + "a1B2c3" * 20,
    "Slack token": "xox" + "b-123456789012-" + "a1B2c3D4e5",
    "Stripe key": "sk_" + "live_" + "a1B2c3" * 4,
    "age key": "AGE-SECRET-" + "KEY-1" + "QPZRY9X8GF" * 5,
}


def broken(case: Case) -> list[str]:
    """Return the rules that an image breaks."""
    return [finding.rule for finding in judge.judge_image(case).violations]


def test_a_private_key_in_a_file() -> None:
    """In whatever file, and in the layer where it was deleted again from view."""
    (found,) = judge.judge_image(small_images.case({"/app/tls.pem": File(b"words\n" + KEY)})).violations
    assert (found.rule, found.path) == ("no-private-key", "/app/tls.pem")


def test_a_deleted_secret_is_still_in_its_layer() -> None:
    """Nothing is gone from an image because a later layer hides it."""
    facts = small_images.facts(small_images.good(), {"/key": File(KEY)}, {"/.wh.key": File()})
    (found,) = judge.judge_image(Case(facts, small_images.expected())).violations
    assert (found.rule, found.layer) == ("no-private-key", facts.layers[1].diff_id)
    assert "a later layer hides it" in found.message


TORNADO = small_images.distribution(
    "tornado", "6.5", {"tornado/test/a.key": File(KEY), "tornado/test/b.key": File(KEY), "tornado/own.key": File(KEY)}
)


def test_a_test_key_of_a_locked_distribution_is_told_as_that_and_once() -> None:
    """Everybody has it: nobody can revoke it, and the tip ends the error."""
    pins = {**small_images.expected().pins, "tornado": Pin("tornado", "6.5")}  # type: ignore[dict-item]
    case = small_images.case(TORNADO, pins=pins)
    own, test = judge.judge_image(case).violations
    assert (own.path, "revoke" in own.hint) == (f"{small_images.SITE}/tornado/own.key", True)
    assert test.message == f"{small_images.SITE}/tornado/test/a.key and 1 more: a test key, published with tornado 6.5"
    assert "revoke" not in test.hint
    rule = f"no-private-key:{small_images.SITE}/tornado/*"
    assert f'"{rule}"' in test.hint
    left = judge.judge_image(case, allow={rule: "a test key of tornado 6.5"}).violations
    assert left == ()


def test_a_test_key_that_no_lock_asks_for() -> None:
    """It may be anybody's."""
    rules = broken(small_images.case(TORNADO))
    assert rules.count("no-private-key") == 3


def test_a_key_that_two_layers_have_is_told_once() -> None:
    """By its path."""
    facts = small_images.facts(small_images.good(), {"/key": File(KEY)}, {"/key": File(KEY + b"more")})
    (found,) = judge.judge_image(Case(facts, small_images.expected())).violations
    assert found.path == "/key"


@pytest.mark.parametrize(
    "header",
    ["PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n"], ids=["LF", "CRLF", "escaped"])
def test_keys_of_every_kind(header: str, end: str) -> None:
    """PEM headers with and without the algorithm, as a file has them and as JSON has them."""
    assert secrets.find_leaks(f"{DASHES}BEGIN {header}{DASHES}{end}{'MIIE' * 16}".encode()) == {secrets.PRIVATE_KEY}


def test_a_key_with_headers_of_its_own() -> None:
    """Encrypted keys of the older form have two lines before the data."""
    text = f"{DASHES}BEGIN RSA PRIVATE KEY{DASHES}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{'MIIE' * 16}"
    assert secrets.find_leaks(text.encode()) == {secrets.PRIVATE_KEY}


@pytest.mark.parametrize(
    "text",
    [
        f"{DASHES}BEGIN PUBLIC KEY{DASHES}\n" + "MIIE" * 16,
        f'if "{DASHES}BEGIN PRIVATE KEY{DASHES}" in text: pass',
        f"{DASHES}BEGIN PRIVATE KEY{DASHES}\n...\n",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "SOMEAKIA" + "QWERTYUIOPASDFGH",
        "ghp_short",
        "xoxb-words-are-fine",
    ],
)
def test_what_only_looks_like_a_secret(text: str) -> None:
    """Code that looks for keys, examples of the documentation, and the middle of other words."""
    assert secrets.find_leaks(text.encode()) == frozenset()


@pytest.mark.parametrize("kind", sorted(TOKENS))
def test_tokens_of_every_kind(kind: str) -> None:
    """In a file they are named by kind; the value is never shown."""
    case = small_images.case({"/app/settings.json": File(f'{{"key": "{TOKENS[kind]}"}}'.encode())})
    (found,) = judge.judge_image(case).violations
    assert (found.rule, found.message) == ("no-token", f"/app/settings.json holds a secret: {kind}")
    assert TOKENS[kind] not in repr(found)


@pytest.mark.parametrize("letter", "pousr")
def test_every_kind_of_githubs_tokens(letter: str) -> None:
    """A person's, an app's, a user's of an app, a server's, and one to refresh them."""
    assert secrets.find_leaks(f"gh{letter}_{'a1B2' * 9}".encode()) == {"GitHub token"}


@pytest.mark.parametrize(
    "name", ["DATABASE_PASSWORD", "SECRET_KEY", "GITHUB_TOKEN", "API_KEY", "aws_secret_access_key"]
)
def test_variables_whose_name_says_secret(name: str) -> None:
    """A value in the image is known to everybody who has the image."""
    environment = [*small_images.settings()["Env"], f"{name}=abc"]
    (found,) = judge.judge_image(
        Case(small_images.facts(small_images.good(), Env=environment), small_images.expected())
    ).violations
    assert found.rule == "no-token"
    assert name in found.message
    assert "abc" not in found.message


@pytest.mark.parametrize(
    "line", ["SECRET_KEY=", "SECRET_KEY_FILE=/run/secrets/key", "GPG_KEY=7169605F", "TOKENIZERS=4"]
)
def test_variables_that_hold_no_secret(line: str) -> None:
    """Empty ones, paths of secrets, public keys."""
    environment = [*small_images.settings()["Env"], line]
    assert broken(Case(small_images.facts(small_images.good(), Env=environment), small_images.expected())) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"Env": ["PATH=/opt/venv/bin", f"X={TOKENS['npm token']}"]},
        {"Cmd": ["serve", TOKENS["npm token"]]},
        {"Labels": {**small_images.settings()["Labels"], "x": TOKENS["npm token"]}},
    ],
    ids=["variable", "command", "label"],
)
def test_tokens_in_the_configuration(changes: dict[str, object]) -> None:
    """Whatever the name, the form of the value gives it away."""
    assert broken(Case(small_images.facts(small_images.good(), **changes), small_images.expected())) == ["no-token"]


def test_tokens_in_the_history() -> None:
    """A build argument stands in the image for ever."""
    case = small_images.case()
    history = [{"created_by": f"RUN |1 T={TOKENS['npm token']} x", "empty_layer": True}]
    facts = replace(case.facts, config={**case.facts.config, "history": history})
    (found,) = judge.judge_image(replace(case, facts=facts)).violations
    assert found.rule == "no-token"
    assert "history" in found.message


@pytest.mark.parametrize(
    "path",
    [
        "/app/.env",
        "/app/.env.production",
        "/root/.netrc",
        "/x/.pypirc",
        "/x/id_ed25519",
        "/x/.aws/credentials",
        "/x/.docker/config.json",
    ],
)
def test_files_for_credentials(path: str) -> None:
    """By their names, whatever is in them; an empty one is where a build secret was mounted."""
    assert broken(small_images.case({path: File(b"x")})) == ["no-credential-file"]
    assert broken(small_images.case({path: File(b"")})) == []


@pytest.mark.parametrize("path", ["/app/.env.example", "/app/env.py.txt", "/app/.environment", "/app/id_rsa.pub"])
def test_files_that_hold_none(path: str) -> None:
    """Examples and public halves."""
    assert broken(small_images.case({path: File(b"x")})) == []


def test_folders_of_version_control() -> None:
    """Each once, at its top; .gitignore is no such folder."""
    files = {"/app/.git": folder(), "/app/.git/HEAD": File(b"ref"), "/app/.gitignore": File(b"x"), "/m/.hg": folder()}
    found = judge.judge_image(small_images.case(files)).violations
    assert [(one.rule, one.path) for one in found] == [
        ("no-version-control", "/app/.git"),
        ("no-version-control", "/m/.hg"),
    ]


def der(name: str) -> bytes:
    """Return bytes that hold a common name as a certificate does, twice: the issuer's, then the subject's."""
    return (
        b"\x30\x82"
        + b"\x06\x03\x55\x04\x03\x0c\x06Issuer"
        + b"\x06\x03\x55\x04\x03\x0c"
        + bytes([len(name)])
        + name.encode()
    )


def pem(data: bytes) -> bytes:
    """Return a certificate in PEM form, with lines as files have them."""
    return (
        f"{DASHES}BEGIN CERTIFICATE{DASHES}\n".encode()
        + base64.encodebytes(data)
        + f"{DASHES}END CERTIFICATE{DASHES}\n".encode()
    )


def test_certificates_that_only_the_host_trusts() -> None:
    """The public ones may be there, and must; the private one is named."""
    private = frozenset({hashlib.sha256(der("Proxy CA")).hexdigest()})
    bundle = File(pem(der("Public CA")) + pem(der("Proxy CA")))
    (found,) = judge.judge_image(small_images.case({"/etc/ssl/certs/x.crt": bundle}, private=private)).violations
    assert found.rule == "no-host-certificate"
    assert found.message == "/etc/ssl/certs/x.crt holds a certificate that only this host trusts"
    assert broken(small_images.case({"/etc/ssl/certs/x.crt": File(pem(der("Public CA")))}, private=private)) == []


def test_what_is_no_certificate() -> None:
    """Text between the marks that is not base64 is passed over."""
    text = f"{DASHES}BEGIN CERTIFICATE{DASHES}\nabc\n{DASHES}END CERTIFICATE{DASHES}"
    assert secrets.read_certificates(text.encode()) == frozenset()
