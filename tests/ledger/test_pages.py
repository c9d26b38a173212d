"""The pages for people, and the headers that guard them."""

import html
import itertools
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ledger import sample
from ledger.headers import HEADERS
from ledger.models import db
from ledger.runs import run_of

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


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
    for address in ("/", "/runs"):
        page = client.get(address).text
        for text in ("failed</span>", "01234567</code>", "v1 (changed)", 'title="2026-11-21 01:02:03 UTC"', "12 s"):
            assert text in page
        assert "52.0 MB · 4/9 cached · 41 passed · 2 failed · 93.25 % covered" in page
        assert f'href="/runs/{record["id"]}"' in page


def test_text_from_records_is_escaped(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """A record cannot bring markup into the page."""
    git = {"commit": "0" * 40, "branch": "<b>", "dirty": False}
    hostile = "<script>alert(1)</script>"
    layers = [{"size_bytes": 1, "created_by": "<img src=x>", "digest": None}]
    image = {"reference": hostile, "digest": f"sha256:{'0' * 64}", "layers": layers,
             "packages": [{"name": "<img src=x>", "version": "<b>", "type": "python"}]}  # fmt: skip
    steps = [{"name": hostile, "started_seconds": 0, "duration_seconds": 1}]
    both = [
        make_record(project=hostile, target='"><img src=x>', git={**git, "tag": "<b>"}, error=hostile, image=image,
                    steps=steps)
        for _ in range(2)
    ]  # fmt: skip
    for record in both:
        post(record)
    first, second = (record["id"] for record in both)
    named = {"project": hostile}
    addresses = [("/", None), ("/runs", named), ("/image", named), ("/tests", named), ("/releases", named),
                 (f"/runs/{first}", None), ("/compare", {"before": first, "after": second})]  # fmt: skip
    for address, query in addresses:
        page = client.get(address, query_string=query).text
        assert "&lt;script&gt;" in page, address
        for markup in ("<script", "<img", "<b>&lt;b"):
            assert markup not in page, address


def test_older_runs_are_linked(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """The link to older runs leads through the list to its end, and keeps the filters."""
    for _ in range(3):
        post(make_record())
    first = client.get("/runs?project=shop&limit=2").text
    link = re.search(r'rel="next" href="([^"]+)"', first)
    assert link
    second = client.get(link[1].replace("&amp;", "&")).text
    assert first.count("<time") == 2
    assert second.count("<time") == 1
    assert 'rel="next"' not in second
    assert "project <b>shop</b>" in second


def test_no_match_is_not_the_empty_state(client: FlaskClient) -> None:
    """A filter that matches nothing offers the way back."""
    page = client.get("/runs?kind=lock").text
    assert "No run matches" in page
    assert "Show all" in page


def test_bad_filter(client: FlaskClient) -> None:
    """A filter that makes no sense answers 400, in words."""
    response = client.get("/runs?limit=0")
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


@pytest.fixture
def sampled(app: Flask) -> list[dict[str, Any]]:
    """Keep the sample's records and return them."""
    made = list(sample.make_records(NOON))
    with app.app_context():
        db.session.add_all(run_of(record) for record in made)
        db.session.commit()
    return made


def pages_of(client: FlaskClient, made: list[dict[str, Any]]) -> dict[str, str]:
    """Return every kind of page that shows the sample, by its address."""
    one_of_each = {record["kind"]: record["id"] for record in made}
    builds = [record["id"] for record in made if record["kind"] == "build"]
    addresses = [
        "/", "/runs", "/runs?kind=test&project=shop", "/image?project=shop", "/tests?project=shop",
        "/releases?project=shop", f"/compare?before={builds[0]}&after={builds[-1]}",
        *(f"/runs/{run}" for run in one_of_each.values()),
    ]  # fmt: skip
    answers = {address: client.get(address) for address in addresses}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {address: answer.text for address, answer in answers.items()}


def test_pages_need_nothing_that_the_policy_forbids(client: FlaskClient, sampled: list[dict[str, Any]]) -> None:
    """No script, no inline style and no other site: the policy could not allow them."""
    for address, page in pages_of(client, sampled).items():
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|(?:src|href)=\"(?:https?:|//)", page), address
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; ")


def test_pages_are_well_formed(client: FlaskClient, sampled: list[dict[str, Any]]) -> None:
    """Each has one main heading and no identifier twice, names its language, and its headings skip no level."""
    for address, page in pages_of(client, sampled).items():
        assert page.count("<h1") == 1, address
        assert '<html lang="en">' in page
        identifiers = re.findall(r'\sid="([^"]*)"', page)
        assert len(identifiers) == len(set(identifiers)), address
        for reference in re.findall(r'aria-labelledby="([^"]*)"|url\(#([^)]*)\)', page):
            assert "".join(reference) in identifiers, address
        levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), address


def test_links_lead_somewhere(client: FlaskClient, sampled: list[dict[str, Any]]) -> None:
    """Every address on every page of the sample answers."""
    pages = pages_of(client, sampled)
    links = {html.unescape(link) for page in pages.values() for link in re.findall(r'href="(/[^"]*)"', page)}
    assert len(links) > 50
    for link in links:
        with client.get(link) as answer:
            assert answer.status_code == 200, link


@pytest.mark.usefixtures("sampled")
def test_one_image_over_time(client: FlaskClient) -> None:
    """Six charts, each with its words and a table that has a row for each run."""
    page = client.get("/image?project=shop").text
    titles = re.findall(r'<h2 id="[a-z-]+-title">([^<]+)</h2>', page)
    assert titles == ["Size by layer", "Build time", "Start", "Tests", "Steps from the cache", "Known vulnerabilities"]
    assert page.count('<svg xmlns="http://www.w3.org/2000/svg" class="chart"') == 6
    assert page.count("<details>") == 6
    assert "last cold" in page


def test_an_image_is_chosen(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """Each target and Python has its own page, the one that ships comes first, an unknown one is that one."""
    cache = {"steps": 4, "cached": 0}
    for target, python, seconds in (("test", "3.13", 41), ("production", "3.9", 42), ("production", "3.13", 43)):
        post(make_record(target=target, python=python, duration_seconds=seconds, cache=cache))
    assert "last cold 43 s" in client.get("/image?project=shop").text.lower()
    assert "last cold 42 s" in client.get("/image?project=shop&target=production&python=3.9").text.lower()
    assert "last cold 43 s" in client.get("/image?project=shop&target=none&python=3.9").text.lower()
    links = re.findall(r">(\w+ on Python [0-9.]+)</a>", client.get("/image?project=shop").text)
    assert links == ["production on Python 3.13", "production on Python 3.9", "test on Python 3.13"]


def test_a_project_without_charts(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """It says so; a project of which nothing is known is not there."""
    post(make_record(kind="push", project="bare"))
    for address, words in (
        ("image", "nothing else is known"),
        ("tests", "No test run"),
        ("releases", "Nothing is released"),
    ):
        assert words in client.get(f"/{address}?project=bare").text
    assert client.get("/image?project=other").status_code == 404
    assert client.get("/image").status_code == 400
    assert client.get("/tests?project=").status_code == 400


def test_a_run_shows_its_steps(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """As a time line whose bars stand beside the numbers, and says why it failed."""
    steps = [
        {"name": "base images", "started_seconds": 0.0, "duration_seconds": 1.0},
        {"name": "[a 1/1] RUN false", "started_seconds": 1.0, "duration_seconds": 3.0, "outcome": "failed"},
    ]
    record = make_record(duration_seconds=4.0, steps=steps, outcome="failed", error="the build failed: no", ci="Drone")
    post(record)
    page = client.get(f"/runs/{record['id']}").text
    assert "the build failed: no" in page
    assert "Drone" in page
    assert '<rect class="ran" x="0.0" y="1" width="25.0" height="10"/>' in page
    assert '<rect class="failed" x="25.0" y="1" width="75.0" height="10"/>' in page
    assert client.get("/runs/unknown").status_code == 404


def test_old_records_have_pages_too(client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """Those of the first version, which tell less."""
    image = {"reference": "shop:1", "digest": f"sha256:{'0' * 64}", "size_bytes": 1, "layers": []}
    both = [make_record(schema="dockyard.run/1", image=image, target="production", python="3.13") for _ in range(2)]
    for record in both:
        post(record)
    first, second = (record["id"] for record in both)
    assert client.get(f"/runs/{first}").status_code == 200
    page = client.get(f"/compare?before={first}&after={second}").text
    assert "Not known: a run does not tell its packages." in page
    assert "Not known: neither run tells its layers." in page


def test_comparing_what_is_not_there(client: FlaskClient) -> None:
    """It answers that it is not there."""
    assert client.get("/compare").status_code == 404
