"""What nobody should send: refused with a clear error, never a 500, and stored nowhere."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MakeRecord = Callable[..., dict[str, Any]]

JSON = "application/json"


def deep(depth: int, around: bytes = b"0") -> bytes:
    """Return lists within lists."""
    return b"[" * depth + around + b"]" * depth


def packed_bomb() -> bytes:
    """Return little that unpacks to much."""
    return gzip.compress(b" " * 50_000_000)


BODIES: dict[str, tuple[bytes, str, int]] = {
    "nothing": (b"", JSON, 400),
    "null": (b"null", JSON, 422),
    "a list of records": (b'[{"schema": "dockyard.run/2"}]', JSON, 422),
    "very deep lists": (deep(400_000), JSON, 400),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, JSON, 400),
    "a deep schema name": (b'{"schema":' + deep(900) + b"}", JSON, 422),
    "an endless number": (b'{"schema": ' + b"9" * 900_000 + b"}", JSON, 400),
    "not finite": (b'{"duration_seconds": 1e400}', JSON, 400),
    "a name twice": (b'{"id": "a", "id": "b"}', JSON, 400),
    "UTF-16": ('{"schema": "dockyard.run/2"}'.encode("utf-16"), JSON, 400),
    "a byte order mark": (b"\xef\xbb\xbf{}", JSON, 400),
    "half a character": (b'{"project": "\xc3"}', JSON, 400),
    "half a pair": (b'{"project": "\\ud83d"}', JSON, 400),
    "many names": (json.dumps({str(number): 0 for number in range(60_000)}).encode(), JSON, 422),
    "another charset": (b"{}", f"{JSON}; charset=utf-16", 415),
    "no charset at all": (b"{}", f"{JSON}; charset=nonsense", 415),
    "a form": (b"schema=dockyard.run/2", "application/x-www-form-urlencoded", 415),
    "parts": (b"--x\r\n\r\n{}\r\n--x--", "multipart/form-data; boundary=x", 415),
    "XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "application/xml", 415),
    "no media type": (b"{}", "", 415),
    "a media type that is none": (b"{}", "\x7f;;=", 415),
    "packed, as plain JSON": (packed_bomb(), JSON, 400),
}


@pytest.mark.parametrize(("body", "media_type", "status"), BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused(client: FlaskClient, token: str, body: bytes, media_type: str, status: int) -> None:
    """Each has its status and a problem with a word for people, and nothing is stored."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = client.post("/api/runs", data=body, content_type=media_type, headers=headers)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.json
    assert answer.json["status"] == status
    assert answer.json["detail"]
    # What was sent comes back only as a short excerpt: an answer is no amplifier.
    assert len(answer.data) < 5_000
    assert client.get("/api/runs").json == {"runs": [], "next": None}


WRONG: tuple[dict[str, Any], ...] = (
    {"id": "../../etc/passwd"},
    {"id": "' OR 1=1 --"},
    {"id": ["a"]},
    {"schema": {"a": 1}},
    {"schema": ["dockyard.run/2"]},
    {"schema": "dockyard.run/2\n"},
    {"kind": "build' OR '1'='1"},
    {"kind": True},
    {"project": 7},
    {"started": "now"},
    {"started": "2026-11-21T01:02:60Z"},
    {"started": "0000-01-01T00:00:00Z"},
    {"duration_seconds": "1"},
    {"duration_seconds": -1},
    {"git": "main"},
    {"git": {"commit": "0" * 41, "dirty": False}},
    {"git": []},
    {"python": "3.13'"},
    {"image": {"reference": "", "digest": "sha256:../.."}},
    {"tests": {"passed": 2.5, "failed": 0, "skipped": 0}},
    {"__proto__": {"admin": True}},
)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_wrong_type_or_value_is_refused(
    client: FlaskClient, token: str, make_record: MakeRecord, changes: dict[str, Any]
) -> None:
    """The answer names the place, and nothing is stored."""
    answer = client.post("/api/runs", json=make_record(**changes), headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422
    assert answer.json
    assert answer.json["violations"]
    assert client.get("/api/runs").json == {"runs": [], "next": None}


@pytest.mark.parametrize(
    "address",
    [
        "/api/runs/%00",
        "/api/runs/..%2f..%2fetc%2fpasswd",
        "/api/runs/" + "a" * 8000,
        "/api/runs?project=%00",
        "/api/runs?project=%ff%fe",
        "/api/runs?project=" + "%F0%9F%9A%A2" * 2000,
        "/api/runs?before='%20OR%201=1",
        "/api/runs?limit=99999999999999999999",
        "/api/runs?limit=1&limit=999",
        "/api/runs?%00=1",
        "/api/runs?kind[]=build",
        "/api/badges/%00.svg",
        "/api/badges/a%0d%0aSet-Cookie:%20a=b.svg",
        "/api/badges/.svg",
        "/api/badges/..%2f..%2f.svg?python=3.13%00",
        "/?project=%00&colour[]=red",
        "/runs?before=%00",
        "/runs?project=%00",
        "/image?project=%00",
        "/tests?project=%00&project=a",
        "/releases?project=%ff",
        "/compare?before=%00&after=%00",
        "/compare?before=../..&after=",
        "/static/..%2f..%2fapplication.py",
        "/static/%2e%2e/settings.py",
        "//evil.example/",
    ],
)
def test_a_hostile_address_is_answered(client: FlaskClient, address: str) -> None:
    """Never a 500, never a file of ours, never a header or a redirect that the address brought."""
    answer = client.get(address)
    assert answer.status_code in (200, 400, 404, 414), answer.text
    assert "Set-Cookie" not in answer.headers
    assert "Location" not in answer.headers
    assert b"import" not in answer.data


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer " + "a" * 60_000},
        {"Authorization": "Bearer ledger_0000000000000000_" + "A" * 43},
        {"Authorization": "Bearer \x00"},
        {"Authorization": "Bearer é🚢"},
        {"Authorization": "Basic " + "!" * 100},
        {"Authorization": "Digest username="},
        {"Authorization": "Bearer a, Bearer a-token-for-tests"},
        {"X-Request-ID": "a" * 10_000},
        {"X-Request-ID": '"}{"level":"error"'},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example"},
        {"Content-Encoding": "gzip"},
        {"X-HTTP-Method-Override": "DELETE"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_hostile_headers_are_refused(client: FlaskClient, make_record: MakeRecord, headers: dict[str, str]) -> None:
    """Without a token that counts, no header lets anybody write, and none is echoed."""
    answer = client.post("/api/runs", json=make_record(), headers=headers)
    assert answer.status_code == 401
    assert "evil" not in answer.text + str(answer.headers)
    assert len(answer.headers["X-Request-ID"]) <= 64
    assert client.get("/api/runs").json == {"runs": [], "next": None}


def test_a_token_in_the_address_counts_for_nothing(client: FlaskClient, token: str, make_record: MakeRecord) -> None:
    """It would be in every log."""
    assert client.post(f"/api/runs?access_token={token}", json=make_record()).status_code == 401


def test_another_address_may_still_write(app: Flask, token: str, make_record: MakeRecord) -> None:
    """Whoever guesses is held up alone, and a header cannot pretend to be somebody else."""
    client = app.test_client()
    wrong, right = ({"Authorization": f"Bearer {text}"} for text in ("wrong", token))
    statuses = [
        client.post("/api/runs", json={}, headers={**wrong, "X-Forwarded-For": f"10.0.0.{number}"}).status_code
        for number in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.post("/api/runs", json=make_record(), headers=right, environ_base=elsewhere).status_code == 201


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ("schema", "id", "kind", "project", "started", "duration_seconds", "git", "python", "target", "image", "steps")
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_any_value_anywhere_is_refused_or_kept_whole(
    client: FlaskClient, token: str, make_record: MakeRecord, changes: dict[str, Any]
) -> None:
    """A record is stored as it came, or not at all, whatever the values are."""
    record = make_record(**changes)
    answer = client.post("/api/runs", json=record, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 201, 400, 409, 422), answer.text
    if answer.status_code == 201:
        assert client.get(f"/api/runs/{record['id']}").json == record
        assert client.get("/").status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused(client: FlaskClient, token: str, body: bytes) -> None:
    """No body of random bytes is a record."""
    answer = client.post("/api/runs", data=body, content_type=JSON, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (400, 422)
