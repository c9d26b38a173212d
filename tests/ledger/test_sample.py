"""The sample: records of every kind, the same every time."""

from datetime import UTC, datetime

from flask.testing import FlaskCliRunner

from ledger import records, sample
from ledger.runs import KINDS

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_every_record_is_valid_and_its_own() -> None:
    """They break no rule, share no id, lie in the past and in order, and show every kind and outcome but one."""
    made = list(sample.make_records(NOON))
    assert [records.violations(record) for record in made] == [()] * len(made)
    assert len({record["id"] for record in made}) == len(made)
    assert {record["kind"] for record in made} == set(KINDS)
    assert {record["outcome"] for record in made} == {"passed", "failed"}
    assert max(record["started"] for record in made) < "2026-11-21T12:00:00Z"


def test_it_is_the_same_every_time() -> None:
    """So that adding it again adds nothing."""
    assert list(sample.make_records(NOON)) == list(sample.make_records(NOON))


def test_an_empty_database_gets_it_once(runner: FlaskCliRunner) -> None:
    """With the migration that asks for it, and never beside somebody's own runs."""
    first, second = (runner.invoke(args=["ledger", "migrate", "--sample"]) for _ in range(2))
    assert "runs of the project shop are added" in first.output
    assert "added" not in second.output


def test_it_can_be_added_to_a_full_one(runner: FlaskCliRunner) -> None:
    """By the command of its own, which adds nothing twice."""
    runner.invoke(args=["ledger", "sample"])
    assert runner.invoke(args=["ledger", "sample"]).output == "0 runs of the project shop are added\n"
