"""The run-record format: what is valid, what is said about what is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledger import records
from ledger.runs import KINDS, OUTCOMES

DOCS = Path(__file__).parents[2] / "docs" / "reference"

OLD: dict[str, Any] = {
    "git": {"commit": "0" * 40, "branch": "main", "tag": None, "dirty": False},
    "python": "3.13",
    "target": "production",
    "platform": "linux/arm/v7",
    "image": {
        "reference": "registry.example/shop:1",
        "digest": f"sha256:{'0' * 64}",
        "size_bytes": 1,
        "layers": [{"size_bytes": 1, "created_by": "COPY . ."}],
    },
    "cache": {"steps": 3, "cached": 1},
    "tests": {"passed": 1, "failed": 0, "skipped": 0, "coverage_percent": 99.5},
    "engine": {"kind": "host", "version": "28.5.1"},
}

DIGEST = f"sha256:{'0' * 64}"
FULL: dict[str, Any] = {
    **OLD,
    "ci": "GitHub Actions",
    "error": "the image breaks the policy: 1 violation",
    "steps": [
        {"name": "[base 1/2] FROM x", "started_seconds": 0.1, "duration_seconds": 0, "cached": True},
        {"name": "verify", "started_seconds": 2, "duration_seconds": 1.5, "outcome": "failed"},
    ],
    "image": {
        **OLD["image"],
        "pull_bytes": 1,
        "layers": [{"size_bytes": 1, "created_by": "COPY . .", "digest": DIGEST}],
        "packages": [{"name": "flask", "version": "3.1", "type": "python"}],
    },
    "verify": {
        "rules": 40, "violations": 1, "accepted": 1, "start_seconds": 0.4, "stop_seconds": None, "memory_bytes": 1,
        "findings": [{"rule": "no-shell", "severity": "error", "message": "/bin/sh", "path": "", "accepted": None}],
    },
    "audit": {
        "packages": 20,
        "vulnerabilities": [
            {"id": "X-1", "package": "flask", "version": "1", "severity": "high", "score": 7.5, "fixed_in": ["2"],
             "accepted": False},
        ],
    },
    "reproduce": {"verdict": "recompressed", "existing": DIGEST, "rebuilt": DIGEST, "differences": 0},
    "lock": {"locks": 3, "changes": [{"name": "flask", "from": "1", "to": None}]},
    "release": {
        "version": "1.2.3", "tags": ["1.2.3", "1"], "signed": False, "unsigned_because": "no key", "sbom": True,
        "provenance": True, "changed": True,
    },
    "deploy": {
        "destination": "production", "kind": "swarm", "action": "rollback", "number": 3, "previous": None, "changes": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ["run-record.schema.json", "run-record-1.schema.json"])
def test_packaged_schema_is_the_documented_one(name: str) -> None:
    """The wheel and the documentation hold the same bytes."""
    assert (DOCS / name).read_bytes() == records.SCHEMA_FILE.with_name(name).read_bytes()


def test_records_of_the_first_version_are_still_taken(make_record: Any) -> None:
    """As they were: they know nothing of what came later, and their image tells its size and layers."""
    first = {"schema": "dockyard.run/1"}
    assert records.violations(make_record(**first, **OLD)) == ()
    paths = [one.path for one in records.violations(make_record(**first, steps=[]))]
    assert paths == [""]
    bare = {"reference": "shop:1", "digest": DIGEST}
    assert records.violations(make_record(image=bare)) == ()
    assert [one.path for one in records.violations(make_record(**first, image=bare))] == ["/image"]


def test_documented_example_is_valid() -> None:
    """The example can be copied from the page and sent."""
    example = re.search(r"```json\n(.*?)```", (DOCS / "run-record.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example
    assert records.violations(records.parse(example[1].encode())) == ()


def test_every_property_is_documented() -> None:
    """The page names every property, at every depth."""
    page = (DOCS / "run-record.md").read_text(encoding="utf-8")
    names = set(_property_names(json.loads(records.SCHEMA_FILE.read_text(encoding="utf-8"))))
    assert {name for name in names if f"`{name}`" not in page} == set()


def _property_names(schema: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, inner in schema.get("properties", {}).items():
        names += [prefix + name, *_property_names(inner, f"{prefix}{name}."), *_items(inner, f"{prefix}{name}[].")]
    return names


def _items(schema: dict[str, Any], prefix: str) -> list[str]:
    return _property_names(schema.get("items", {}), prefix)


def test_filters_know_the_values_of_the_schema() -> None:
    """A kind or an outcome that can be recorded can be asked for."""
    properties = json.loads(records.SCHEMA_FILE.read_text(encoding="utf-8"))["properties"]
    assert properties["kind"]["enum"] == list(KINDS)
    assert properties["outcome"]["enum"] == list(OUTCOMES)


@pytest.mark.parametrize("changes", [{}, FULL, dict.fromkeys(FULL)], ids=["minimal", "full", "nulls"])
def test_valid(make_record: Any, changes: dict[str, Any]) -> None:
    """Optional properties may be absent, present or null."""
    assert records.violations(make_record(**changes)) == ()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"id": "A" * 32}, "/id"),
        ({"id": "a" * 32 + "\n"}, "/id"),
        ({"schema": "dockyard.run/3"}, "/schema"),
        ({"schema": ["dockyard.run/1"]}, "/schema"),
        ({"kind": "bake"}, "/kind"),
        ({"steps": [{"name": "a", "started_seconds": -1, "duration_seconds": 0}]}, "/steps/0/started_seconds"),
        ({"deploy": {"destination": "production"}}, "/deploy"),
        ({"project": ""}, "/project"),
        ({"started": "2026-11-21T01:02:03+00:00"}, "/started"),
        ({"started": "2026-11-21 01:02:03Z"}, "/started"),
        ({"started": "2026-11-21T24:00:00Z"}, "/started"),
        ({"started": "2026-02-30T01:02:03Z"}, "/started"),
        ({"duration_seconds": -0.1}, "/duration_seconds"),
        ({"duration_seconds": True}, "/duration_seconds"),
        ({"outcome": None}, "/outcome"),
        ({"python": "3.13.1"}, "/python"),
        ({"platform": "linux"}, "/platform"),
        ({"git": {"commit": "0" * 40}}, "/git"),
        ({"git": {"commit": "HEAD", "dirty": False}}, "/git/commit"),
        ({"image": {**FULL["image"], "digest": "sha256:0"}}, "/image/digest"),
        ({"image": {**FULL["image"], "layers": [{"size_bytes": -1, "created_by": ""}]}}, "/image/layers/0/size_bytes"),
        ({"cache": {"steps": 3}}, "/cache"),
        ({"tests": {**FULL["tests"], "coverage_percent": 101}}, "/tests/coverage_percent"),
        ({"engine": {"kind": "podman", "version": "5"}}, "/engine/kind"),
        ({"colour": "red"}, ""),
    ],
)
def test_violation_names_the_place(make_record: Any, changes: dict[str, Any], path: str) -> None:
    """One mistake is one violation, at the place where it was made."""
    assert [violation.path for violation in records.violations(make_record(**changes))] == [path]


@pytest.mark.parametrize("record", [None, 3, "text", []])
def test_only_an_object_is_a_record(record: object) -> None:
    """Any other JSON value is refused as a whole."""
    assert records.violations(record) == (records.Violation("", "must be object"),)


def test_missing_properties_are_all_named() -> None:
    """An empty record learns everything it lacks at once."""
    (violation,) = records.violations({})
    assert "'started'" in violation.message
    assert "'dockyard'" in violation.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Expecting value"),
        (b'{"id":', "Expecting value"),
        (b"\xff", "not valid Unicode"),
        (b'["\\ud800"]', "not valid Unicode"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[NaN]", "NaN is not a finite number"),
        (b"[-Infinity]", "not a finite number"),
        (b"[1e999]", "1e999 is not a finite number"),
        (b"[9007199254740992]", "beyond the whole numbers"),
        (b"1" * 5000, "beyond the whole numbers"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_malformed_json(body: bytes, message: str) -> None:
    """What readers of JSON would understand differently is refused, with the reason."""
    with pytest.raises(records.MalformedJSONError, match=message):
        records.parse(body)


def test_largest_exact_integers_are_kept() -> None:
    """The bounds themselves are fine."""
    assert records.parse(b"[9007199254740991, -9007199254740991]") == [2**53 - 1, 1 - 2**53]


def test_fraction_sorts_after_the_whole_second() -> None:
    """Times compare as times, not as text, where a point comes before Z."""
    whole, later = "2026-11-21T01:02:03Z", "2026-11-21T01:02:03.5Z"
    assert records.started_microseconds(later) - records.started_microseconds(whole) == 500_000
