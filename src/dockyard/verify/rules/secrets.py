"""Rules on secrets: in any layer, because what a later layer deletes can still be read from the earlier one."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dockyard.host import read_bundle
from dockyard.verify.model import Case, Entry, Scope, Violation, rule
from dockyard.verify.rules.distributions import find_owners


class Sign(NamedTuple):
    """A kind of secret: bytes that stand in all of its kind, looked for first because that is quick, and its form."""

    kind: str
    anchor: bytes
    form: re.Pattern[bytes]


def _sign(kind: str, anchor: str, rest: str) -> Sign:
    return Sign(kind, anchor.encode(), re.compile(rb"(?<![A-Za-z0-9_])" + re.escape(anchor.encode()) + rest.encode()))


PRIVATE_KEY = "private key"
SIGNS = (
    Sign(
        PRIVATE_KEY,
        b"PRIVATE KEY",
        re.compile(
            rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
            rb"(?:\r?\n|\\n)(?:[A-Za-z-]+: [^\r\n]*\r?\n)*\s*[A-Za-z0-9+/=]{32}"
        ),
    ),
    _sign("age key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{50}"),
    _sign("AWS access key", "AKIA", r"(?![A-Z0-9]*EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    *(_sign("GitHub token", f"gh{kind}_", r"[A-Za-z0-9]{36}") for kind in "pousr"),
    _sign("GitHub token", "github_pat_", r"[A-Za-z0-9_]{60}"),
    _sign("GitLab token", "glpat-", r"[A-Za-z0-9_-]{20}"),
    _sign("Google API key", "AIza", r"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _sign("npm token", "npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _sign("PyPI token", "pypi-AgE", r"[A-Za-z0-9_-]{50}"),
    _sign("Slack token", "xox", r"[abprs]-[0-9]{8,}-[0-9A-Za-z-]{10}"),
    _sign("Stripe key", "sk_live_", r"[A-Za-z0-9]{24}"),
    _sign("AI provider's key", "sk-ant-", r"[A-Za-z0-9_-]{40}"),
)
CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END")
CREDENTIALS = re.compile(
    r"\.env(?:\.(?!example$|sample$|template$|dist$|schema$)[\w.-]+)?"
    r"|[._]netrc|\.pypirc|\.git-credentials|\.pgpass|\.htpasswd|\.vault-token|id_(?:rsa|dsa|ecdsa|ed25519)"
)
CREDENTIAL_PATHS = (".aws/credentials", ".docker/config.json", ".kube/config", ".config/gcloud/credentials.db")
TESTS = re.compile(r"/(?:tests?|testing|testdata|test_data)/")
"""Where distributions keep what only their own tests need."""
VERSION_CONTROL = {".git", ".hg", ".svn", ".bzr"}
SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|SECRET_KEY|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS)$", re.IGNORECASE
)
GONE = "; a later layer hides it, but everybody who has the image can read it"
ROTATE = "keep it out with .dockerignore or a build secret (--mount=type=secret), and revoke it if it was a real one"

PUBLIC = (
    "/usr/share/ca-certificates/mozilla",
    "/usr/share/pki/ca-trust-source/ca-bundle.trust.p11-kit",
)
"""Where distributions keep the certificates that Mozilla publishes, apart from those that this host has added."""


def find_leaks(data: bytes) -> frozenset[str]:
    """Return the kinds of secret that are in `data`."""
    return frozenset(sign.kind for sign in SIGNS if sign.anchor in data and sign.form.search(data))


def read_certificates(data: bytes) -> frozenset[str]:
    """Return the SHA-256 of every certificate in PEM form that is in `data`."""
    found = set()
    for body in CERTIFICATE.findall(data) if b"CERTIFICATE-----" in data else ():
        with suppress(binascii.Error):
            found.add(sha256(base64.b64decode(b"".join(body.split()), validate=True)).hexdigest())
    return frozenset(found)


def find_private_certificates(bundle: Path | None, public: tuple[str, ...] = PUBLIC) -> frozenset[str]:
    """Return the SHA-256 of the certificates in `bundle`, this host's, that the public has not."""
    if bundle is None:
        return frozenset()
    import certifi

    known = [Path(certifi.where())]
    for place in map(Path, public):
        known += place.glob("*.crt") if place.is_dir() else [place]
    ours = read_certificates(read_bundle(bundle))
    return ours.difference(*(read_certificates(path.read_bytes()) for path in known if path.is_file()))


@rule("no-private-key", ROTATE, Scope.EVERY)
def private_keys(case: Case) -> Iterator[Violation]:
    """No layer holds a private key.

    Those in the tests of a locked distribution are told as that, once for each distribution.
    """
    owners = find_owners(case)
    published: dict[str, list[Entry]] = {}
    keys: dict[str, Entry] = {}
    for entry in _all(case):
        if PRIVATE_KEY in entry.leaks:
            keys.setdefault(entry.path, entry)
    for entry in keys.values():
        owner = owners.get(entry.path)
        if owner and TESTS.search(entry.path):
            published.setdefault(f"{owner.name} {owner.version}", []).append(entry)
        else:
            yield _at(case, entry, "holds a private key")
    for name, entries in published.items():
        first, more = entries[0], len(entries) - 1
        also = f" and {more} more" if more else ""
        pattern = f"{TESTS.split(first.path)[0]}/*"
        hint = f'it is no secret: accept it: allow = {{ "no-private-key:{pattern}" = "a test key of {name}" }}'
        yield Violation(f"{first.path}{also}: a test key, published with {name}", first.path, first.layer, hint)


@rule("no-token", ROTATE, Scope.EVERY)
def tokens(case: Case) -> Iterator[Violation]:
    """No layer, variable, label or instruction holds a token or password."""
    for entry in _all(case):
        for kind in sorted(entry.leaks - {PRIVATE_KEY}):
            yield _at(case, entry, f"holds a secret: {kind}")
    for name, value in case.facts.environment.items():
        if value and SECRET_NAME.search(name):
            yield Violation(f"the environment variable {name} has a value in the image")
    for where, text in _configured(case):
        for kind in sorted(find_leaks(text.encode())):
            yield Violation(f"{where} holds a secret: {kind}")


@rule("no-credential-file", ROTATE, Scope.EVERY)
def credential_files(case: Case) -> Iterator[Violation]:
    """No layer holds a .env or another file for credentials.

    Empty ones are where build secrets were mounted.
    """
    for entry in _all(case):
        named = CREDENTIALS.fullmatch(entry.name) or entry.path.endswith(CREDENTIAL_PATHS)
        if entry.kind == "file" and entry.size and named:
            yield _at(case, entry, "is a file for credentials")


@rule(
    "no-version-control", "name it in .dockerignore, and copy folders by name instead of the whole context", Scope.EVERY
)
def version_control(case: Case) -> Iterator[Violation]:
    """No layer holds a folder of a version control system."""
    for entry in _all(case):
        if entry.name in VERSION_CONTROL:
            yield _at(case, entry, "belongs to a version control system")


@rule("no-host-certificate", "mount the bundle as a build secret over the CA file instead of copying it", Scope.EVERY)
def host_certificates(case: Case) -> Iterator[Violation]:
    """No layer holds a certificate that only the building host trusts."""
    for entry in _all(case):
        if entry.certificates & case.expected.private:
            yield _at(case, entry, "holds a certificate that only this host trusts")


def _all(case: Case) -> Iterable[Entry]:
    return (*case.facts.files.values(), *case.facts.hidden)


def _configured(case: Case) -> Iterator[tuple[str, str]]:
    settings = case.facts.settings
    yield from (*case.facts.environment.items(), *case.facts.labels.items())
    for key in ("Cmd", "Entrypoint"):
        yield key.upper(), " ".join(settings.get(key) or ())
    for row in case.facts.config.get("history") or ():
        instruction = str(row.get("created_by", ""))
        yield f"the image's history ({instruction[:20]} …)", instruction


def _at(case: Case, entry: Entry, message: str) -> Violation:
    seen = case.facts.files.get(entry.path) is entry
    return Violation(f"{entry.path} {message}{'' if seen else GONE}", entry.path, entry.layer)
