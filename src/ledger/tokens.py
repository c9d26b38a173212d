"""Bearer tokens: made once, shown once, kept as a digest, with scopes and an end."""

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from typing import ParamSpec, TypeVar

from flask import current_app, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.errors import APIError
from ledger.models import Token, db

P = ParamSpec("P")
R = TypeVar("R")

CHALLENGE = 'Bearer realm="ledger"'
WRITE, DELETE = "runs:write", "runs:delete"
SCOPES = (WRITE, DELETE)
TOKEN = re.compile(r"ledger_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
FAILURES, WITHIN_SECONDS = 10, 60.0
"""So many wrong tokens may come from one address in this time, to each worker; then it waits."""
ADDRESSES_REMEMBERED = 10_000


class TokenError(ValueError):
    """A token that cannot be made or revoked as asked, and why."""


def add(session: Session, name: str, scopes: tuple[str, ...], expires: float | None, now: float) -> str:
    """Make a token and return its text, which nobody can read again; times are seconds since 1970."""
    if not name or len(name) > 100 or not name.isprintable():
        raise TokenError("a token's name is 1 to 100 printable characters")
    if session.scalar(select(Token.id).where(Token.name == name)):
        raise TokenError(f"there is a token named {name} already: revoke it, or choose another name")
    number, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    session.add(
        Token(
            id=number,
            name=name,
            digest=digest(secret),
            scopes=" ".join(scopes),
            created_us=microseconds(now),
            expires_us=None if expires is None else microseconds(expires),
        )
    )
    session.commit()
    return f"ledger_{number}_{secret}"


def revoke(session: Session, name: str, now: float) -> None:
    """End a token at once; its name stays in the list."""
    token = session.scalar(select(Token).where(Token.name == name))
    if token is None:
        raise TokenError(f"there is no token named {name}: see flask ledger token list")
    if token.revoked_us is None:
        token.revoked_us = microseconds(now)
        session.commit()


def listing(session: Session) -> tuple[Token, ...]:
    """Return all tokens, the oldest first."""
    return tuple(session.scalars(select(Token).order_by(Token.created_us, Token.id)))


def digest(secret: str) -> str:
    """Return what is kept of a token's secret."""
    return sha256(secret.encode()).hexdigest()


def microseconds(seconds: float) -> int:
    """Return seconds since 1970 as whole microseconds."""
    return round(seconds * 1_000_000)


def state(token: Token, now: float) -> str:
    """Say whether a token still counts."""
    if token.revoked_us is not None:
        return "revoked"
    return "expired" if token.expires_us is not None and token.expires_us <= microseconds(now) else "active"


@dataclass
class Failures:
    """How often each address was refused of late; a worker counts for itself."""

    times: dict[str, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def recent(self, address: str, now: float) -> list[float]:
        """Return when the address was refused, within the time that counts."""
        with self.lock:
            return [moment for moment in self.times.get(address, ()) if moment > now - WITHIN_SECONDS]

    def note(self, address: str, now: float) -> None:
        """Count one refusal."""
        found = self.recent(address, now)
        with self.lock:
            if len(self.times) >= ADDRESSES_REMEMBERED:
                self.times.clear()
            self.times[address] = [*found, now][-FAILURES:]


def scope_required(scope: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse a request without a bearer token that has this scope."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            failures: Failures = current_app.extensions["ledger-failures"]
            _refuse_guessers(failures, request.remote_addr or "")
            authorize(scope, failures)
            return view(*args, **kwargs)

        return guarded

    return decorate


def _refuse_guessers(failures: Failures, address: str) -> None:
    recent = failures.recent(address, time.monotonic())
    if len(recent) >= FAILURES:
        wait = max(1, round(recent[0] + WITHIN_SECONDS - time.monotonic()))
        message = f"too many wrong tokens came from here: wait {wait} s"
        raise APIError(429, "too_many_failures", message, {"Retry-After": str(wait)})


def authorize(scope: str, failures: Failures) -> None:
    """Raise APIError unless the request's token is one of ours, still counts, and has the scope."""
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        headers = {"WWW-Authenticate": CHALLENGE}
        raise APIError(401, "unauthorized", "send a token as: Authorization: Bearer TOKEN", headers)
    scopes = scopes_of(db.session(), given.token, current_app.config["LEDGER_TOKEN"], time.time())
    if scopes is None:
        failures.note(request.remote_addr or "", time.monotonic())
        headers = {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
        raise APIError(401, "unauthorized", "the token is not known here, has expired or was revoked", headers)
    if scope not in scopes:
        headers = {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'}
        raise APIError(403, "insufficient_scope", f"the token may not do this: it needs the scope {scope}", headers)


def scopes_of(session: Session, given: str, configured: str | None, now: float) -> frozenset[str] | None:
    """Return what a token may do, None where it is not one that counts."""
    if configured and hmac.compare_digest(given.encode(), configured.encode()):
        return frozenset({WRITE})
    parts = TOKEN.fullmatch(given)
    token = session.get(Token, parts[1]) if parts else None
    if parts is None or token is None or state(token, now) != "active":
        return None
    return frozenset(token.scopes.split()) if hmac.compare_digest(token.digest, digest(parts[2])) else None
