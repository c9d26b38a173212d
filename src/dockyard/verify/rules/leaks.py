"""Rules on secrets: in any layer, because what a later layer deletes can still be read from the earlier one."""

import re
from collections.abc import Iterable, Iterator

from dockyard.verify.model import Case, Entry, Rule, Scope, Violation
from dockyard.verify.rules import secrets
from dockyard.verify.rules.distributions import find_owners

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


def private_keys(case: Case) -> Iterator[Violation]:
    """Find private keys; those in the tests of a locked distribution are told as that, once for each distribution."""
    owners = find_owners(case)
    published: dict[str, list[Entry]] = {}
    told: set[str] = set()
    for entry in _all(case):
        if secrets.PRIVATE_KEY not in entry.leaks or entry.path in told:
            continue
        told.add(entry.path)
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


def tokens(case: Case) -> Iterator[Violation]:
    """Find tokens in files, and secrets in the environment, labels, commands and history."""
    for entry in _all(case):
        for kind in sorted(entry.leaks - {secrets.PRIVATE_KEY}):
            yield _at(case, entry, f"holds a secret: {kind}")
    for name, value in case.facts.environment.items():
        if value and SECRET_NAME.search(name):
            yield Violation(f"the environment variable {name} has a value in the image")
    for where, text in _configured(case):
        for kind in sorted(secrets.find_leaks(text.encode())):
            yield Violation(f"{where} holds a secret: {kind}")


def credential_files(case: Case) -> Iterator[Violation]:
    """Find files whose name says that they hold credentials; empty ones are the mount points of build secrets."""
    for entry in _all(case):
        named = CREDENTIALS.fullmatch(entry.name) or entry.path.endswith(CREDENTIAL_PATHS)
        if entry.kind == "file" and entry.size and named:
            yield _at(case, entry, "is a file for credentials")


def version_control(case: Case) -> Iterator[Violation]:
    """Find the folders of version control systems: they hold every file there ever was."""
    for entry in _all(case):
        if entry.name in VERSION_CONTROL:
            yield _at(case, entry, "belongs to a version control system")


def host_certificates(case: Case) -> Iterator[Violation]:
    """Find certificates that the building host trusts and the public does not."""
    for entry in _all(case):
        found = sorted({case.expected.private[digest] for digest in entry.certificates & case.expected.private.keys()})
        if found:
            yield _at(case, entry, f"holds a certificate that only this host trusts: {', '.join(found)}")


def _all(case: Case) -> Iterable[Entry]:
    return (*case.facts.files.values(), *case.facts.hidden)


def _configured(case: Case) -> Iterator[tuple[str, str]]:
    settings = case.facts.settings
    yield from (*case.facts.environment.items(), *case.facts.labels.items())
    for key in ("Cmd", "Entrypoint"):
        yield key.upper(), " ".join(settings.get(key) or ())
    for instruction in case.facts.history:
        yield f"the image's history ({instruction[:20]} …)", instruction


def _at(case: Case, entry: Entry, message: str) -> Violation:
    seen = case.facts.files.get(entry.path) is entry
    return Violation(f"{entry.path} {message}{'' if seen else GONE}", entry.path, entry.layer)


RULES = (
    Rule("no-private-key", "no layer holds a private key", private_keys, ROTATE, Scope.EVERY),
    Rule("no-token", "no layer, variable, label or instruction holds a token or password", tokens, ROTATE, Scope.EVERY),
    Rule(
        "no-credential-file",
        "no layer holds a .env or another file for credentials",
        credential_files,
        ROTATE,
        Scope.EVERY,
    ),
    Rule(
        "no-version-control",
        "no layer holds a folder of a version control system",
        version_control,
        "name it in .dockerignore, and copy folders by name instead of the whole context",
        Scope.EVERY,
    ),
    Rule(
        "no-host-certificate",
        "no layer holds a certificate that only the building host trusts",
        host_certificates,
        "mount the bundle as a build secret over the CA file instead of copying it",
        Scope.EVERY,
    ),
)
