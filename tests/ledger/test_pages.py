"""The page for people, and the headers that guard it."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ledger.headers import HEADERS

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]


def test_empty_state(client: FlaskClient) -> None:
    """Without runs the page says how to record one."""
    page = client.get("/").text
    assert "Nothing is recorded yet" in page
    assert "curl http://localhost/api/runs" in page
    assert "ledger token add NAME" in page


def test_runs_are_shown(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A row says what ran, how it went and when, with the exact moment in the title."""
    git = {"commit": "0123456789" * 4, "branch": "main", "tag": "v1", "dirty": True}
    image = {"reference": "shop:1", "digest": f"sha256:{'0' * 64}", "size_bytes": 52_000_000, "layers": []}
    tests = {"passed": 41, "failed": 2, "skipped": 0, "coverage_percent": 93.25}
    record = make_record(git=git, image=image, tests=tests, cache={"steps": 9, "cached": 4}, outcome="failed")
    post(record)
    page = client.get("/").text
    for text in ("failed</span>", "01234567</code>", "v1 (changed)", 'title="2026-11-21 01:02:03 UTC"', "12 s"):
        assert text in page
    assert "52.0 MB · 4/9 cached · 41 passed · 2 failed · 93.25 % covered" in page
    assert f'href="/api/runs/{record["id"]}"' in page


def test_text_from_records_is_escaped(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A record cannot bring markup into the page."""
    git = {"commit": "0" * 40, "branch": "<b>", "dirty": False}
    for _ in range(2):
        post(make_record(project="<script>alert(1)</script>", target='"><img src=x>', git=git))
    page = client.get("/").text
    assert "&lt;script&gt;" in page
    for markup in ("<script", "<img", "<b>&lt;b"):
        assert markup not in page


def test_older_runs_are_linked(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """The link to older runs leads through the list to its end, and keeps the filters."""
    for _ in range(3):
        post(make_record())
    first = client.get("/?project=shop&limit=2").text
    link = re.search(r'rel="next" href="([^"]+)"', first)
    assert link
    second = client.get(link[1].replace("&amp;", "&")).text
    assert first.count("<time") == 2
    assert second.count("<time") == 1
    assert 'rel="next"' not in second
    assert "project <b>shop</b>" in second


def test_no_match_is_not_the_empty_state(client: FlaskClient) -> None:
    """A filter that matches nothing offers the way back."""
    page = client.get("/?kind=lock").text
    assert "No run matches" in page
    assert "Show all" in page


def test_bad_filter(client: FlaskClient) -> None:
    """A filter that makes no sense answers 400, in words."""
    response = client.get("/?limit=0")
    assert response.status_code == 400
    assert "limit: must be a whole number from 1 to 200" in response.text


def test_unknown_page(client: FlaskClient) -> None:
    """What is not there answers 404 with a page, and does not repeat the address."""
    response = client.get("/<script>")
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "Not Found" in response.text
    assert "<script" not in response.text


def test_database_in_trouble(client: FlaskClient, database: Path) -> None:
    """A database that fails answers 503 with a page."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE runs")
    response = client.get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "Service Unavailable" in response.text


def test_unexpected_error(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours answers 500 with a page."""
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    monkeypatch.setattr("ledger.runs.find", lambda db, filters: 1 // 0)
    response = app.test_client().get("/")
    assert response.status_code == 500
    assert "Internal Server Error" in response.text


@pytest.mark.parametrize("address", ["/", "/nothing", "/api/runs", "/healthz", "/static/ledger.css"])
def test_security_headers(client: FlaskClient, address: str) -> None:
    """Every response carries the headers."""
    with client.get(address) as response:
        assert {name: response.headers[name] for name in HEADERS} == HEADERS


def test_page_needs_nothing_that_the_policy_forbids(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """No script, no inline style and no other site: the policy could not allow them."""
    for _ in range(2):
        post(make_record())
    page = client.get("/").text
    assert "<svg" in page
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|(?:src|href)=\"https?:", page)
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; ")
