"""Run records: their form, their file, and a ledger that may be down."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

import fastjsonschema
import pytest

from dockyard.errors import DockyardError, UsageError
from dockyard.git import Git
from dockyard.image import records
from dockyard.image.record_types import Details, ImageRecord, RunRecord
from dockyard.settings import Settings

SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json"
GIT = Git("0" * 40, 1, "main", "v1.0.0", True)
RUN = records.Recording(datetime(2026, 1, 2, 3, 4, 5, 678, UTC), 0.0)


def made(settings: Settings, **more: Unpack[Details]) -> RunRecord:
    """Return a record of a build."""
    return records.make_record(settings, GIT, RUN, "build", "passed", **more)


def test_a_record_has_the_documented_fields(settings: Settings) -> None:
    """Every field that the schema requires, none that it does not know."""
    schema = json.loads(SCHEMA.read_text())
    record = made(settings, target="production", python="3.13", engine={"kind": "host", "version": "28"},
                  cache={"steps": 3, "cached": 1}, image=None)  # fmt: skip
    assert set(schema["required"]) <= set(record) <= set(schema["properties"])
    assert record["started"] == "2026-01-02T03:04:05.000678Z"
    assert record["git"] == {"commit": "0" * 40, "branch": "main", "tag": "v1.0.0", "dirty": True}
    assert record["kind"] in schema["properties"]["kind"]["enum"]


def test_a_record_without_git(settings: Settings) -> None:
    """Outside a repository, git is null."""
    assert records.make_record(settings, None, RUN, "build", "failed")["git"] is None


def test_every_record_has_its_own_id(settings: Settings) -> None:
    """So that one can be sent again without being counted twice."""
    assert made(settings)["id"] != made(settings)["id"]


def test_the_clock_only_goes_forward() -> None:
    """A duration is measured on a clock that nobody sets."""
    recording = records.Recording()
    assert 0 <= recording.seconds() < 5
    assert recording.started.tzinfo is UTC


def test_the_file_is_named_by_its_time(settings: Settings, said: list[str]) -> None:
    """A listing of the folder is in order, the file holds the record, and nothing is sent where no ledger is set."""
    record = made(settings)
    records.keep_record(settings, record)
    path = settings.root / ".dockyard" / "runs" / f"20260102T030405-build-{record['id'][:8]}.json"
    assert json.loads(path.read_text()) == record
    assert path.read_text().endswith("}\n")
    assert said == []
    assert not (settings.root / ".dockyard" / "unsent").exists()


def test_a_ledger_that_is_down_fails_nothing(settings: Settings, said: list[str]) -> None:
    """One line tells of it, the file is written, and the record waits."""
    named = settings._replace(ledger_url="http://ledger.invalid:port")
    records.keep_record(named, made(settings))
    (path,) = (settings.root / ".dockyard" / "runs").glob("*.json")
    (line,) = said
    assert f"did not take {path.name}: InvalidURL: it cannot be reached; a later run sends it" in line
    (waiting,) = records.make_outbox(named).waiting()
    assert json.loads(waiting.read_text()) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"CI": "false"}, None),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, "GitHub Actions"),
        ({"JENKINS_URL": "http://x"}, "Jenkins"),
        ({"CI": "1"}, "CI"),
    ],
)
def test_where_a_run_was(environment: dict[str, str], name: str | None) -> None:
    """CI systems say who they are; a person's machine says nothing."""
    assert records.detect_ci(environment) == name


def kept(settings: Settings) -> list[dict[str, Any]]:
    """Return the records in the project's folder, which must have the documented form."""
    validate = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
    files = sorted((settings.root / records.FOLDER).glob("*.json"))
    return [validate(json.loads(path.read_text())) for path in files]


def test_a_run_with_steps(settings: Settings) -> None:
    """Its steps stand in the order of their starts, however they end."""
    with records.record_run(settings, "verify") as recording, recording.step("whole"):
        with recording.step("first"):
            pass
        with pytest.raises(ValueError, match="no"), recording.step("second"):
            raise ValueError("no")
    (record,) = kept(settings)
    assert (record["kind"], record["outcome"], record["error"]) == ("verify", "passed", None)
    steps = [(step["name"], step["outcome"]) for step in record["steps"]]
    assert steps == [("whole", "passed"), ("first", "passed"), ("second", "failed")]


class Endings:
    """How runs end: the error, or none; what is recorded then: the outcome and the line of the error."""

    fails = (DockyardError("no engine\nat all"), "failed", "no engine")
    long = (DockyardError("x" * 600), "failed", "x" * 499 + "…")
    bug = (ZeroDivisionError("secret"), "failed", None)
    interrupt = (KeyboardInterrupt(), "interrupted", None)


@pytest.mark.parametrize(("error", "outcome", "line"), [Endings.fails, Endings.long, Endings.bug, Endings.interrupt])
def test_a_run_that_does_not_finish(settings: Settings, error: BaseException, outcome: str, line: str | None) -> None:
    """The record says how it ended and, of an error that people are told, its first line."""
    with pytest.raises(type(error)), records.record_run(settings, "audit"):
        raise error
    (record,) = kept(settings)
    assert (record["outcome"], record["error"]) == (outcome, line)


def test_a_run_that_makes_several_images(settings: Settings) -> None:
    """Each has a record of its own: those that are there have passed, although another has not."""
    image: ImageRecord = {"reference": "shop:1", "digest": f"sha256:{'a' * 64}"}
    with records.record_run(settings, "push") as recording:
        recording.details = {"engine": {"kind": "host", "version": "28"}}
        recording.parts = [{"python": "3.13", "image": image}, {"python": "3.14", "image": None}]
        recording.failed = True
    told = {record["python"]: (record["outcome"], record["engine"]["kind"]) for record in kept(settings)}
    assert told == {"3.13": ("passed", "host"), "3.14": ("failed", "host")}


def test_what_found_something_wrong_failed(settings: Settings) -> None:
    """Although no error ended it."""
    with records.record_run(settings, "audit") as recording:
        recording.failed = True
    assert kept(settings)[0]["outcome"] == "failed"


def test_what_is_no_run(settings: Settings) -> None:
    """A command that was mistyped, and one that had nothing to do."""
    with pytest.raises(UsageError), records.record_run(settings, "lock"):
        raise UsageError("no such Python")
    with records.record_run(settings, "lock") as recording:
        recording.idle = True
    assert kept(settings) == []


def test_a_folder_that_cannot_be_written(settings: Settings, said: list[str]) -> None:
    """A file in the way of the folder is told, and the run goes on."""
    (settings.root / ".dockyard").write_text("")
    records.keep_record(settings, made(settings))
    assert said[0].startswith("the run record could not be written: ")
