"""Tokens: made and shown once, kept as digests, with scopes and an end; and whoever guesses has to wait."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from ledger import tokens
from ledger.models import Token, db

MakeRecord = Callable[..., dict[str, Any]]
NOW = 1_795_000_000.0


def make(runner: FlaskCliRunner, *arguments: str) -> str:
    """Make a token by the command, and return it."""
    result = runner.invoke(args=["ledger", "token", "add", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.output.strip())


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def test_a_token_writes_until_it_is_revoked(
    client: FlaskClient, runner: FlaskCliRunner, make_record: MakeRecord
) -> None:
    """A new token may post runs, and a revoked one may not."""
    token = make(runner, "ci")
    assert client.post("/api/runs", json=make_record(), headers=bearer(token)).status_code == 201
    result = runner.invoke(args=["ledger", "token", "revoke", "ci"])
    assert (result.exit_code, result.output) == (0, "ci counts no more\n")
    assert client.post("/api/runs", json=make_record(), headers=bearer(token)).status_code == 401


def test_only_a_digest_is_kept(app: Flask, runner: FlaskCliRunner) -> None:
    """Neither the database nor the list lets anybody write."""
    token = make(runner, "laptop", "--expires", "90d")
    secret = token.split("_", 2)[2]
    with app.app_context():
        (kept,) = tokens.listing(db.session())
        assert not any(secret in str(value) for value in vars(kept).values())
    listed = runner.invoke(args=["ledger", "token", "list"]).output
    assert secret not in listed
    assert "laptop  runs:write  active" in listed


def test_scopes_are_held_apart(client: FlaskClient, runner: FlaskCliRunner, make_record: MakeRecord) -> None:
    """A token that may write may not remove, and is told which scope that needs."""
    record = make_record()
    writer, remover = make(runner, "writer"), make(runner, "remover", "--scope", "runs:delete")
    assert client.post("/api/runs", json=record, headers=bearer(remover)).status_code == 403
    assert client.post("/api/runs", json=record, headers=bearer(writer)).status_code == 201
    refused = client.delete(f"/api/runs/{record['id']}", headers=bearer(writer))
    assert refused.status_code == 403
    assert refused.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="runs:delete"')
    assert client.delete(f"/api/runs/{record['id']}", headers=bearer(remover)).status_code == 204
    assert client.delete(f"/api/runs/{record['id']}", headers=bearer(remover)).status_code == 404


@pytest.mark.parametrize(("expires", "now", "counts"), [(NOW + 1, NOW, True), (NOW, NOW, False), (None, NOW * 2, True)])
def test_a_token_ends(app: Flask, expires: float | None, now: float, counts: bool) -> None:
    """It counts up to the moment that was said, or for good."""
    with app.app_context():
        token = tokens.add(db.session(), "short", (tokens.WRITE,), expires, NOW - 100)
        assert (tokens.scopes_of(db.session(), token, None, now) is not None) is counts


@pytest.mark.parametrize("change", [lambda text: text[:-1] + "-", lambda text: text.upper(), lambda text: text + "x"])
def test_a_token_almost_right_is_wrong(app: Flask, change: Callable[[str], str]) -> None:
    """One letter decides."""
    with app.app_context():
        token = tokens.add(db.session(), "exact", (tokens.WRITE,), None, NOW)
        assert tokens.scopes_of(db.session(), token, None, NOW) == frozenset({tokens.WRITE})
        changed = change(token)
        if changed != token:
            assert tokens.scopes_of(db.session(), changed, None, NOW) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", ""], "1 to 100 printable characters"),
        (["add", "x", "--expires", "soon"], "write a whole number and h, d, w or y"),
        (["add", "x", "--scope", "everything"], "is not one of"),
        (["revoke", "nobody"], "there is no token named nobody"),
    ],
)
def test_mistakes_are_explained(runner: FlaskCliRunner, arguments: list[str], told: str) -> None:
    """A command that cannot be carried out says why in one line."""
    result = runner.invoke(args=["ledger", "token", *arguments])
    assert result.exit_code in {1, 2}
    assert told in result.output


def test_one_name_one_token(app: Flask, runner: FlaskCliRunner) -> None:
    """A second token of a name is refused, and the first one stays."""
    make(runner, "ci")
    result = runner.invoke(args=["ledger", "token", "add", "ci"])
    assert (result.exit_code, "there is a token named ci already" in result.output) == (1, True)
    with app.app_context():
        assert db.session.query(Token).count() == 1


def test_guessing_has_to_wait(client: FlaskClient, token: str, make_record: MakeRecord) -> None:
    """After ten wrong tokens an address waits, even with the right one; others do not."""
    for _ in range(tokens.FAILURES):
        assert client.post("/api/runs", json=make_record(), headers=bearer("wrong")).status_code == 401
    refused = client.post("/api/runs", json=make_record(), headers=bearer(token))
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    answer = client.post("/api/runs", json=make_record(), headers=bearer(token), environ_base=elsewhere)
    assert answer.status_code == 201


def test_failures_are_forgotten() -> None:
    """What was long ago does not count, and no flood of addresses fills the memory."""
    failures = tokens.Failures()
    failures.note("a", 0.0)
    assert failures.recent("a", 59.9)
    assert not failures.recent("a", 60.1)
    for number in range(tokens.ADDRESSES_REMEMBERED + 10):
        failures.note(f"address {number}", 1.0)
    assert len(failures.times) <= tokens.ADDRESSES_REMEMBERED
