"""What each command's record tells, held against the documented schema."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.engine.archive import Layer
from dockyard.image import records
from dockyard.image.record_types import Details, Kind
from dockyard.locks.audit import Acceptance, Audit
from dockyard.locks.audit import Finding as Vulnerability
from dockyard.locks.compile import Outcome as LockOutcome
from dockyard.locks.plan import Change
from dockyard.release.plan import Names, Shipped
from dockyard.release.steps import describe_release
from dockyard.settings import Settings
from dockyard.tasks.lock import describe_changes
from dockyard.tasks.verify import describe_audit
from dockyard.verify.compare import Likeness
from dockyard.verify.model import Case, Entry, Expected, Facts, Finding, Severity, Trial, Verdict
from dockyard.verify.output import Report, describe_report, find_packages
from dockyard.verify.reproduce import Comparison, describe_comparison

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json").read_text())
VALIDATE = fastjsonschema.compile(SCHEMA)
DIGEST = f"sha256:{'a' * 64}"
RUN = records.Recording(datetime(2026, 1, 2, tzinfo=UTC), 0.0)


def valid(settings: Settings, kind: Kind, details: Details) -> dict[str, Any]:
    """Return the record as it is written, which must be valid."""
    record = records.make_record(settings, None, RUN, kind, "passed", **details)
    return dict(VALIDATE(json.loads(json.dumps(record))))


ACCEPTED = Acceptance(until=datetime(2027, 1, 1, tzinfo=UTC).date(), reason="we never parse it")
HIGH = Vulnerability(
    id="CVE-1", aliases=("GHSA-1",), severity="high", score=7.5, mended_in=("1.1",), summary="",
    package="flask", version="1.0", locks=("requirements/3.13/base.txt",),
)  # fmt: skip


def test_an_audit(settings: Settings) -> None:
    """What counts and what is accepted; an acceptance that has ended accepts nothing."""
    found = (HIGH, replace(HIGH, id="CVE-2", acceptance=ACCEPTED), replace(HIGH, acceptance=ACCEPTED, expired=True))
    record = valid(settings, "audit", {"audit": describe_audit(Audit(found, 12))})
    assert record["audit"]["packages"] == 12
    assert [one["accepted"] for one in record["audit"]["vulnerabilities"]] == [False, True, False]
    assert record["audit"]["vulnerabilities"][0] == {
        "id": "CVE-1", "package": "flask", "version": "1.0", "severity": "high", "score": 7.5, "fixed_in": ["1.1"],
        "accepted": False,
    }  # fmt: skip


def test_a_lock(settings: Settings) -> None:
    """A package that moved alike in several locks is told once; one that came or went has null."""
    moved = Change("flask", "1.0", "1.1", ("a",), ())
    changes = (moved, replace(moved, locks=("b",)), Change("new", "", "2", ("a",), ()))
    record = valid(settings, "lock", {"lock": describe_changes(LockOutcome({}, changes, 3))})
    assert record["lock"] == {
        "locks": 3,
        "changes": [{"name": "flask", "from": "1.0", "to": "1.1"}, {"name": "new", "from": None, "to": "2"}],
    }


STATUS = b"""Package: libc6
Status: install ok installed
Version: 2.41

Package: gone
Status: deinstall ok config-files
Version: 1
"""
FILES = {
    path: Entry(path, "file", data=data)
    for path, data in {
        "/opt/venv/lib/python3.13/site-packages/flask-3.1.dist-info/METADATA": b"Name: Flask\nVersion: 3.1\n\n",
        "/var/lib/dpkg/status": STATUS,
        "/app/shop.py": b"x = 1",
        "/app/tests/data/fake.dist-info/METADATA": b"Name: fake\nVersion: 1\n\n",
    }.items()
}


def test_the_packages_of_an_image() -> None:
    """Distributions where Python finds them, and Debian packages that are installed."""
    found = find_packages(Facts("", {}, (), FILES))
    told = sorted((one["name"].lower(), one["version"], one["type"]) for one in found)
    assert told == [("flask", "3.1", "python"), ("libc6", "2.41", "debian")]


@pytest.mark.parametrize("trial", [Trial(), Trial(8000, answer=0.4, stop=0.2, memory=30_000_000)])
def test_a_verify(settings: Settings, trial: Trial) -> None:
    """Counts, times and memory, and the findings, those first that nobody has accepted."""
    broken = Finding("no-shell", Severity.ERROR, "there is a shell", "take it out", path="/bin/sh")
    verdict = Verdict(("no-shell", "size"), (replace(broken, accepted="needed"), broken))
    facts = Facts(DIGEST, {}, (Layer(DIGEST, 20_000_000, (), ""),), FILES)
    report = Report("shop:production", Case(facts, Expected(python="3.13"), trial), verdict, 5.0)
    record = valid(settings, "verify", describe_report(report))
    told = record["verify"]
    assert (told["rules"], told["violations"], told["accepted"]) == (2, 1, 1)
    assert told["start_seconds"] == (0.4 if trial.port else None)
    assert [one["accepted"] for one in told["findings"]] == [None, "needed"]
    assert record["error"] == "the image breaks no-shell"
    assert record["image"]["pull_bytes"] == 20_000_000
    assert len(record["image"]["packages"]) == 2


@pytest.mark.parametrize("word", ["identical", "recompressed", "different"])
def test_a_reproduce(settings: Settings, word: Likeness) -> None:
    """How alike the images are, in one word."""
    outcome = Comparison("shop:production", word, DIGEST, DIGEST, (), ())
    record = valid(settings, "reproduce", describe_comparison(outcome))
    assert record["reproduce"] == {"verdict": word, "existing": DIGEST, "rebuilt": DIGEST, "differences": 0}
    assert record["image"]["digest"] == DIGEST
    assert record.get("error") == ("0 differences" if word == "different" else None)


@pytest.mark.parametrize("unsigned", ["", "no key is set"])
def test_a_release(settings: Settings, unsigned: str) -> None:
    """Its digest, its tags, and whether it is signed."""
    names = Names("0123456789ab", "1.2.3", ("1.2", "1"))
    shipped = Shipped(
        "1.2.3", "0" * 40, "registry.example/shop", DIGEST, 20_000_000, names, unsigned, Path("n.md"), True
    )
    record = valid(settings, "release", describe_release(shipped))
    assert record["release"]["signed"] is not bool(unsigned)
    assert record["release"]["unsigned_because"] == (unsigned or None)
    assert set(record["release"]["tags"]) >= {"1.2.3", "1.2", "1"}
    assert record["image"] == {"reference": "registry.example/shop:1.2.3", "digest": DIGEST, "pull_bytes": 20_000_000}
