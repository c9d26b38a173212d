"""Find secrets and certificates in bytes (pure)."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple


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
    _sign("GitHub token", "ghp_", r"[A-Za-z0-9]{36}"),
    _sign("GitHub token", "gho_", r"[A-Za-z0-9]{36}"),
    _sign("GitHub token", "ghs_", r"[A-Za-z0-9]{36}"),
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
COMMON_NAME = b"\x06\x03\x55\x04\x03"
ORGANIZATION = b"\x06\x03\x55\x04\x0a"
"""How the DER encoding writes the names of these two attributes."""


def find_leaks(data: bytes) -> frozenset[str]:
    """Return the kinds of secret that are in `data`."""
    return frozenset(sign.kind for sign in SIGNS if sign.anchor in data and sign.form.search(data))


def read_certificates(data: bytes) -> Mapping[str, bytes]:
    """Return the certificates in PEM form that are in `data`: the SHA-256 of each, and its DER encoding."""
    return {sha256(der).hexdigest(): der for der in _decoded(data)} if b"CERTIFICATE-----" in data else {}


def _decoded(data: bytes) -> Iterator[bytes]:
    for body in CERTIFICATE.findall(data):
        try:
            yield base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            continue


def read_subject(der: bytes) -> str:
    """Return a certificate's name as well as it can be had without parsing it: the last common name or organization."""
    for attribute in (COMMON_NAME, ORGANIZATION):
        at = der.rfind(attribute)
        if at >= 0:
            start = at + len(attribute) + 2
            return der[start : start + der[start - 1]].decode("utf-8", "replace")
    return "a certificate without a name"
