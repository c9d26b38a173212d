"""The API's document (OpenAPI 3.1), made from the views themselves and from the schema of run records."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from apispec import APISpec
from flask import Flask

from ledger.records import SCHEMA_FILE
from ledger.runs import COMMIT, KINDS, LIMIT_DEFAULT, LIMIT_MAX, OUTCOMES, PYTHON_VERSION, RUN_ID

VERSION = "1"
V = TypeVar("V", bound=Callable[..., Any])
Schema = dict[str, Any]

NAME: Schema = {"type": "string", "minLength": 1}
ID: Schema = {"type": "string", "pattern": f"^{RUN_ID.pattern}$"}
FILTERS: dict[str, Schema] = {
    "kind": {"type": "string", "enum": list(KINDS)},
    "project": NAME,
    "outcome": {"type": "string", "enum": list(OUTCOMES)},
    "python": {"type": "string", "pattern": f"^{PYTHON_VERSION.pattern}$"},
    "target": NAME,
    "commit": {"type": "string", "pattern": f"^{COMMIT.pattern}$"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    "before": {**ID, "description": "The run after whose place in the list to go on"},
}
BADGE = {name: FILTERS[name] for name in ("kind", "target", "python")}
ALWAYS = (503,)
"""What every operation may answer: the database is busy or gone."""
GUARDED = (401, 403, 429)


@dataclass(frozen=True)
class Operation:
    """What the document says of a view beyond its docstring and its address."""

    summary: str
    answers: Mapping[int, str | None]
    """The name of a schema, a media type, or None for no body, by status."""
    refusals: tuple[int, ...] = ()
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: str = ""
    scope: str = ""


def describes(operation: Operation) -> Callable[[V], V]:
    """Note beside a view what the document is to say of it."""

    def note(view: V) -> V:
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return note


def document(app: Flask) -> dict[str, Any]:
    """Return the document of all operations below /api."""
    spec = APISpec("Ledger", VERSION, "3.1.0", info={"description": "Keeps run records and shows them."})
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    spec.components.schema("Run", {name: value for name, value in schema.items() if name not in ("$schema", "$id")})
    listed = {"type": "array", "items": _reference("Run")}
    properties = {"runs": listed, "next": {"type": ["string", "null"], "description": "The next page's address"}}
    spec.components.schema("Runs", {"type": "object", "required": ["runs", "next"], "properties": properties})
    spec.components.schema("Problem", PROBLEM)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        told: Operation | None = getattr(view, "operation", None)
        if told:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
            arguments = sorted(rule.arguments)
            spec.path(path, operations={each.lower(): _describe(told, view, arguments) for each in methods})
    found: dict[str, Any] = spec.to_dict()
    return found


PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details (RFC 9457)",
    "required": ["title", "status", "detail", "code"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, for people"},
        "code": {"type": "string", "description": "What is wrong, for programs"},
        "parameter": {"type": "string", "description": "The query parameter that is wrong"},
        "violations": {
            "type": "array",
            "description": "Where a record breaks its schema, as JSON Pointers",
            "items": {"type": "object", "properties": {"path": {"type": "string"}, "message": {"type": "string"}}},
        },
    },
}


def _describe(told: Operation, view: Callable[..., Any], arguments: list[str]) -> dict[str, Any]:
    within = [
        {"name": name, "in": "path", "required": True, "schema": ID if name == "run_id" else NAME} for name in arguments
    ]
    within += [{"name": name, "in": "query", "schema": schema} for name, schema in told.query.items()]
    refusals = sorted({*told.refusals, *ALWAYS, *(GUARDED if told.scope else ())})
    answers = {str(status): _answer(status, name) for status, name in told.answers.items()}
    problems = {str(status): _content(status, "application/problem+json", _reference("Problem")) for status in refusals}
    described = {
        "summary": told.summary,
        "description": (view.__doc__ or "").strip(),
        "operationId": view.__name__,
        "parameters": within,
        "responses": {**answers, **problems},
    }
    if told.body:
        body = {"required": True, "content": {"application/json": {"schema": _reference(told.body)}}}
        described["requestBody"] = body
    if told.scope:
        described["security"] = [{"bearer": [told.scope]}]
    return described


def _answer(status: int, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"description": HTTPStatus(status).phrase}
    if "/" in name:
        return _content(status, name, {})
    return _content(status, "application/json", _reference(name))


def _content(status: int, media_type: str, schema: Schema) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
