"""The JSON interface: every status it answers with."""

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ledger import create_app
from ledger.settings import sqlite_url

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]


def test_recording_a_run(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A new run answers 201 and can be read where Location says."""
    record = make_record(git=None, target="test")
    response = post(record)
    assert response.status_code == 201
    assert response.json == record
    assert response.headers["Location"] == f"/api/runs/{record['id']}"
    assert client.get(response.headers["Location"]).json == record


def test_same_run_again(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A record sent twice, its properties in another order, is kept once and answers 200."""
    record = make_record()
    post(record)
    response = post(dict(reversed(record.items())))
    assert response.status_code == 200
    assert response.headers["Location"] == f"/api/runs/{record['id']}"
    assert client.get("/api/runs").json == {"runs": [record], "next": None}


def test_other_run_under_the_same_id(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """Other content under a known id answers 409 and changes nothing."""
    record = make_record()
    post(record)
    response = post({**record, "outcome": "failed"})
    assert response.status_code == 409
    assert response.json is not None
    assert response.json["code"] == "conflict"
    assert client.get(f"/api/runs/{record['id']}").json == record


def test_malformed_json(post: Post) -> None:
    """A body that is not JSON answers 400."""
    response = post(b"{")
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["code"] == "malformed_json"


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="ledger"'),
        ("Basic dXNlcjpwYXNz", 'Bearer realm="ledger"'),
        ("Bearer", 'Bearer realm="ledger"'),
        ("Bearer wrong", 'Bearer realm="ledger", error="invalid_token"'),
        ("Bearer é", 'Bearer realm="ledger", error="invalid_token"'),
        ("Bearer a-token-for-testsx", 'Bearer realm="ledger", error="invalid_token"'),
    ],
)
def test_without_the_token(
    client: FlaskClient, make_record: MakeRecord, authorization: str | None, challenge: str
) -> None:
    """Only the right bearer token may write; the answer says which kind of credentials to send."""
    headers = {"Authorization": authorization} if authorization else {}
    response = client.post("/api/runs", json=make_record(), headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == challenge
    assert response.json is not None
    assert response.json["code"] == "unauthorized"
    assert client.get("/api/runs").json == {"runs": [], "next": None}


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer None", "Bearer a-token-for-tests"])
def test_nobody_writes_without_a_token(database: Path, make_record: MakeRecord, authorization: str | None) -> None:
    """No configured token means that nobody writes, not that everybody does."""
    client = create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(database)}).test_client()
    headers = {"Authorization": authorization} if authorization else {}
    response = client.post("/api/runs", json=make_record(), headers=headers)
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"


def test_too_large(post: Post, make_record: MakeRecord) -> None:
    """More than one MiB answers 413."""
    response = post(make_record(project="x" * 1024 * 1024))
    assert response.status_code == 413
    assert response.json is not None
    assert response.json == {
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": "a record may have at most 1048576 bytes",
        "code": "too_large",
    }


def test_too_large_without_a_length(client: FlaskClient, token: str, make_record: MakeRecord) -> None:
    """A chunked body that is too large is refused too, and never stored in part."""
    body = json.dumps(make_record()).encode() + b" " * 1024 * 1024 + b"more"
    response = client.post(
        "/api/runs",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked"},
        environ_base={"wsgi.input_terminated": True},
    )
    assert response.status_code == 413
    assert client.get("/api/runs").json == {"runs": [], "next": None}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_type(post: Post, content_type: str) -> None:
    """A body that does not claim to be JSON answers 415."""
    response = post(b"{}", content_type)
    assert response.status_code == 415
    assert response.json is not None
    assert response.json["code"] == "unsupported_media_type"


def test_schema_violations(post: Post, make_record: MakeRecord) -> None:
    """A record that breaks the schema answers 422 and lists everything that is wrong with it."""
    response = post(make_record(outcome="fine", cache={"steps": "many", "cached": 0}))
    assert response.status_code == 422
    assert response.json is not None
    assert response.json["code"] == "invalid_record"
    assert response.json["violations"] == [
        {"path": "/outcome", "message": "must be one of ['passed', 'failed', 'interrupted']"},
        {"path": "/cache/steps", "message": "must be integer"},
    ]


def _ids(client: FlaskClient, address: str) -> list[int]:
    response = client.get(address)
    assert response.status_code == 200
    assert response.json is not None
    return [int(run["id"], 16) for run in response.json["runs"]]


def test_list_is_newest_first(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """The start decides, fractions included, whatever the order of arrival."""
    for second in ("02Z", "03.5Z", "03Z", "01Z"):
        post(make_record(started=f"2026-11-21T01:02:{second}"))
    assert _ids(client, "/api/runs") == [2, 3, 1, 4]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("kind=test", [2]),
        ("project=till", [3]),
        ("outcome=failed", [4]),
        ("python=3.11", [5]),
        ("python=3.11&outcome=failed", []),
        ("project=shop&kind=build", [5, 4, 1]),
    ],
)
def test_filters(client: FlaskClient, post: Post, make_record: MakeRecord, query: str, ids: list[int]) -> None:
    """Filters narrow the list, and together they must all match."""
    post(make_record())
    for name, value in {"kind": "test", "project": "till", "outcome": "failed", "python": "3.11"}.items():
        post(make_record(**{name: value}))
    assert _ids(client, f"/api/runs?{query}") == ids


def test_pages(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """Following `next` shows every match once, runs of the same moment too, and keeps the filters."""
    for kind in ("build", "test", "build", "build", "build", "build"):
        post(make_record(kind=kind))
    seen, address = [], "/api/runs?kind=build&limit=2"
    while address:
        seen.append(_ids(client, address))
        answer = client.get(address).json
        assert answer is not None
        address = answer["next"]
    assert seen == [[6, 5], [4, 3], [1]]


def test_default_limit(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A list without a limit has fifty runs."""
    for _ in range(51):
        post(make_record())
    assert len(_ids(client, "/api/runs")) == 50
    assert len(_ids(client, "/api/runs?limit=200")) == 51


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("kind=bake", "kind"),
        ("kind=", "kind"),
        ("project=", "project"),
        ("outcome=ok", "outcome"),
        ("python=3", "python"),
        ("python=3.13%0A", "python"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=%D9%A1", "limit"),
        ("before=unknown", "before"),
        ("colour=red", "colour"),
    ],
)
def test_bad_filter(client: FlaskClient, query: str, parameter: str) -> None:
    """A filter that makes no sense answers 400 and is named, rather than ignored."""
    response = client.get(f"/api/runs?{query}")
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["code"] == "invalid_filter"
    assert response.json["parameter"] == parameter


@pytest.mark.parametrize("address", ["/api/runs/unknown", "/api/nothing", "/api"])
def test_not_found(client: FlaskClient, address: str) -> None:
    """What is not there answers 404 in JSON."""
    response = client.get(address)
    assert response.status_code == 404
    assert response.json is not None
    assert response.json["code"] == "not_found"


def test_method_not_allowed(client: FlaskClient) -> None:
    """Another method answers 405 in JSON and says which are allowed."""
    response = client.delete("/api/runs")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert response.json is not None
    assert response.json["code"] == "method_not_allowed"


def test_database_in_trouble(client: FlaskClient, database: Path) -> None:
    """A database that fails answers 503, since the same request may succeed later."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE runs")
    response = client.get("/api/runs")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert response.json is not None
    assert response.json["code"] == "database_unavailable"


def test_unexpected_error(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours answers 500 in JSON, and says nothing of what is inside."""
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    monkeypatch.setattr("ledger.runs.find", lambda db, filters: 1 // 0)
    response = app.test_client().get("/api/runs")
    assert response.status_code == 500
    assert response.json is not None
    assert response.json["code"] == "internal_server_error"
    assert "ZeroDivision" not in response.text
