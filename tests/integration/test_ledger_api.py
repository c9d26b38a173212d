"""The ledger's API held against its own document by schemathesis: what the document allows, and what it forbids.

No engine is needed: requests go straight into the application. Only a developer's environment has schemathesis.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from ledger import create_app, database
from ledger.models import db
from ledger.settings import sqlite_url

TOKEN = "a-token-for-tests"
EXAMPLES = 40
"""Of each operation and mode: all of them take some seconds."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Make the application, on an empty database."""
    file = tmp_path_factory.mktemp("api") / "ledger.sqlite3"
    app = create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(file), "LEDGER_TOKEN": TOKEN})
    database.migrate(app)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_the_api_keeps_to_its_document(app: Flask, mode: GenerationMode) -> None:
    """No answer is a server error, and each has a status, a media type and a form that the document names."""
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert {operation.label for operation in operations} >= {"GET /api/runs", "POST /api/runs"}
    for operation in operations:
        # Of the others nothing is wrong that can be sent: any text is the name of a project.
        if mode is GenerationMode.POSITIVE or operation.body or operation.query or "{run_id}" in operation.label:
            check(app, operation, mode)


def check(app: Flask, operation: Any, mode: GenerationMode) -> None:
    """Ask one operation many things."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and operation.body:
            case.body["started"] = "2026-11-21T01:02:03Z"  # most that have the form are no date, such as 2026-99-99
        # It tries wrong tokens too, and would be told to wait.
        app.extensions["ledger-failures"].times.clear()
        # A schema cannot say which dates exist, nor which runs do: such a refusal has its own documented status.
        answer = case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[checks.positive_data_acceptance]
        )
        if answer.status_code == 201:
            look_at_pages(app, case.body)

    ask()


def look_at_pages(app: Flask, record: dict[str, Any]) -> None:
    """Open every page that shows a record: whatever the schema allows, it can be shown."""
    client, run, project = app.test_client(), record["id"], record["project"]
    for path, query in {
        "/": {},
        "/runs": {"kind": record["kind"]},
        "/image": {"project": project},
        "/tests": {"project": project},
        "/releases": {"project": project},
        f"/runs/{run}": {},
        "/compare": {"before": run, "after": run},
        f"/api/badges/{quote(project, safe='')}.svg": {"kind": record["kind"]},
    }.items():
        answer = client.get(path, query_string=query)
        assert answer.status_code in (200, 308, 400, 404), f"{path}: {answer.status_code}"
