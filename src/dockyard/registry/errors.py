"""Sort what engines and registries say when a push fails, and tell people what to do about it (pure)."""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from dockyard.errors import DockyardError


class Kind(StrEnum):
    """What went wrong between us and a registry."""

    DENIED = "denied"
    UNREACHABLE = "unreachable"
    TLS = "certificate"
    PLAIN_HTTP = "plain http"
    QUOTA = "storage is full"
    REFUSED = "refused"
    UNKNOWN = "unknown repository"
    MISSING = "missing image"
    LIMITED = "too many requests"
    SERVER = "server error"
    DROPPED = "connection lost"
    MISMATCH = "another digest"
    OTHER = "other"


WORTH_RETRYING = frozenset({Kind.LIMITED, Kind.SERVER, Kind.DROPPED, Kind.UNREACHABLE})


class RegistryError(DockyardError):
    """A registry cannot be used as asked; `wait` is how many seconds it asked us to stay away, if it did.

    `may_pass` says whether the same may succeed in a while.
    """

    def __init__(self, kind: Kind, message: str, hint: str = "", *, wait: float = 0.0) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.wait = wait
        self.may_pass = kind in WORTH_RETRYING


SIGNS: tuple[tuple[Kind, str], ...] = (
    (Kind.MISSING, r"tag does not exist|does not exist locally|no such image|does not provide .*platform"),
    (Kind.LIMITED, r"toomanyrequests|429 too many|(status|code):? 429|rate limit"),
    (Kind.QUOTA, r"no space left|disk quota|quota|413 (request entity|payload|content) too large|\b507 insufficient"),
    (Kind.QUOTA, r"(will|would|to) exceed the .*limit|storage limit|size limit|entity too large"),
    (Kind.REFUSED, r"read-only|405 method|method not allowed|unsupported|immutable|manifest invalid|name invalid"),
    (Kind.DENIED, r"unauthori[sz]ed|denied|no basic auth|authentication required|authorization failed|forbidden"),
    (Kind.DENIED, r"insufficient.scope|incorrect username or password|no credentials"),
    (Kind.PLAIN_HTTP, r"http response to https client|http request to an https server|not look like a tls handshake"),
    (Kind.DROPPED, r"handshake timeout|connection reset|broken pipe|closed pipe|\beof\b|goaway|stream error"),
    (Kind.DROPPED, r"use of closed|connection (was )?closed|server closed|http2: (client|transport|server)"),
    (Kind.UNREACHABLE, r"connection refused|no such host|no route to host|network is unreachable|dial tcp|i/o timeout"),
    (Kind.UNREACHABLE, r"server misbehaving|name resolution|proxyconnect"),
    (Kind.TLS, r"x509|tls: |certificate"),
    (Kind.DROPPED, r"timeout|timed out|deadline exceeded"),
    (Kind.SERVER, r"\b5\d\d (internal|bad gateway|service|gateway)|(?:^|: )5\d\d\b|blob (upload )?(unknown|invalid)"),
    (Kind.UNKNOWN, r"name unknown|name not known|404 not found|repository .*(not found|does not exist)"),
)
"""The words that give a kind away, the first match counting: engines pass a registry's own words on."""

HINTS: Mapping[Kind, str] = {
    Kind.DENIED: "log in as a user who may push to {repository}: `docker login {host}` writes ~/.docker/config.json",
    Kind.UNREACHABLE: "check the name and port of {host}, that it runs, and the proxy settings of the engine",
    Kind.TLS: "put the registry's CA certificate into /etc/docker/certs.d/{host}/ca.crt, where the engine reads it too",
    Kind.PLAIN_HTTP: "give {host} a certificate, or name it in the engine's insecure-registries (daemon.json)",
    Kind.QUOTA: "delete old images from {host}, or ask whoever runs it for more room",
    Kind.REFUSED: "ask whoever runs {host} whether it is read-only, or forbids to overwrite this tag",
    Kind.UNKNOWN: "create the repository {repository} on {host} first, or mend registry and image in pyproject.toml",
    Kind.MISSING: "build it first: invoke build",
    Kind.LIMITED: "wait a while before the next push to {host}",
    Kind.SERVER: "the log of {host} tells more; full or read-only storage is a common reason",
    Kind.DROPPED: "push again: layers that arrived whole are not sent twice",
    Kind.MISMATCH: "push again, and make sure that nobody else pushes the same tag meanwhile",
}


def classify(message: str, repository: str = "") -> Kind:
    """Return the kind of error that an engine's or registry's message tells of.

    URLs and the repository's own name are left out of sight: a repository may be called quota or denied.
    """
    said = re.sub(r"https?://[^\s\"]+", "", message)
    said = (said.replace(repository, "") if repository else said).lower()
    return next((kind for kind, sign in SIGNS if re.search(sign, said)), Kind.OTHER)


def wanted_pause(message: str) -> float:
    """Return the seconds that a message asks to wait ("retry-after: 1.5s", "retry after 300ms"), or 0."""
    found = re.search(r"retry[- ]after:?\s*(\d+(?:\.\d+)?)\s*(ms)?", message, re.IGNORECASE)
    return float(found[1]) / (1000 if found[2] else 1) if found else 0.0


def spoken(document: Any) -> str:
    """Return the errors of a registry's JSON answer as one line; operating system numbers become words."""
    errors = document.get("errors") if isinstance(document, dict) else None
    parts = []
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict):
            words = [str(error.get("code", "")).lower().replace("_", " "), str(error.get("message", ""))]
            parts.append(": ".join(filter(None, [*words, _reason(error.get("detail"))])))
    return "; ".join(parts)


def _reason(detail: Any) -> str:
    """Return what a storage driver met: the reference registry gives the bare errno, such as 28 for a full disk."""
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, dict):
        return ""
    number = detail.get("Err")
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return _reason(detail.get("Enclosed"))
