"""Backup, restore and prune: all or nothing, and into any database."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from werkzeug.test import TestResponse

from ledger import backups, create_app, database
from ledger.settings import sqlite_url

MakeRecord = Callable[..., dict[str, Any]]
Post = Callable[..., TestResponse]


@pytest.fixture
def other(tmp_path: Path) -> Flask:
    """Make a second application, on an empty database of its own."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": sqlite_url(tmp_path / "other.sqlite3")})
    database.migrate(app)
    return app


def backup(runner: FlaskCliRunner, file: Path) -> None:
    """Write a backup by the command."""
    result = runner.invoke(args=["ledger", "backup", str(file)])
    assert result.exit_code == 0, result.output


def restore(app: Flask, file: Path) -> tuple[int, str]:
    """Restore by the command, and return how that ended."""
    result = app.test_cli_runner().invoke(args=["ledger", "restore", str(file)])
    return result.exit_code, result.output


def test_all_comes_back(
    runner: FlaskCliRunner, post: Post, make_record: MakeRecord, other: Flask, tmp_path: Path
) -> None:
    """Another database has the same runs and the same tokens afterwards; a second restore finds them there."""
    records = [make_record(project=f"größe {number}") for number in range(backups.AT_A_TIME + 3)]
    for record in records:
        assert post(record).status_code == 201
    token = runner.invoke(args=["ledger", "token", "add", "ci"]).output.strip()
    backup(runner, tmp_path / "all.gz")
    assert (tmp_path / "all.gz").stat().st_mode & 0o777 == 0o600
    assert restore(other, tmp_path / "all.gz") == (0, f"{len(records)} runs restored, 0 were there already\n")
    client = other.test_client()
    assert client.get(f"/api/runs/{records[-1]['id']}").json == records[-1]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/api/runs", json=make_record(), headers=headers).status_code == 201
    assert restore(other, tmp_path / "all.gz") == (0, f"0 runs restored, {len(records)} were there already\n")


def test_a_backup_goes_through_pipes(runner: FlaskCliRunner, saved: Path, other: Flask) -> None:
    """A dash stands for stdout and stdin: the same bytes, and only they; what is said goes to stderr."""
    result = runner.invoke(args=["ledger", "backup", "-"])
    assert (result.exit_code, result.stderr) == (0, "2 runs are in the backup\n")
    assert result.stdout_bytes == saved.read_bytes()
    taken = other.test_cli_runner().invoke(args=["ledger", "restore", "-"], input=result.stdout_bytes)
    assert (taken.exit_code, taken.output) == (0, "2 runs restored, 0 were there already\n")
    half = other.test_cli_runner().invoke(args=["ledger", "restore", "-"], input=result.stdout_bytes[:-30])
    assert half.exit_code == 1
    assert "is no whole backup" in half.output


@pytest.fixture
def saved(runner: FlaskCliRunner, post: Post, make_record: MakeRecord, tmp_path: Path) -> Path:
    """Return a backup of two runs."""
    for _ in range(2):
        post(make_record())
    backup(runner, tmp_path / "all.gz")
    return tmp_path / "all.gz"


def damage_end(lines: list[bytes]) -> list[bytes]:
    """Leave out the last line."""
    return lines[:-1]


def damage_count(lines: list[bytes]) -> list[bytes]:
    """Leave out a run."""
    return [*lines[:1], *lines[2:]]


def damage_record(lines: list[bytes]) -> list[bytes]:
    """Break the schema of a run."""
    return [lines[0], lines[1].replace(b'"passed"', b'"fine"'), *lines[2:]]


def damage_text(lines: list[bytes]) -> list[bytes]:
    """Break the JSON of a run."""
    return [lines[0], lines[1][:-5] + b"\n", *lines[2:]]


def damage_format(lines: list[bytes]) -> list[bytes]:
    """Begin with something else."""
    return [b"{}\n", *lines[1:]]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_end, "ends too early"),
        (damage_count, "has 1 runs where it should have 2"),
        (damage_record, "line 2: /outcome"),
        (damage_text, "no whole backup"),
        (damage_format, "no backup that this ledger knows"),
    ],
)
def test_damaged_backup_changes_nothing(
    saved: Path, other: Flask, tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], told: str
) -> None:
    """A backup that is not whole is refused, with no run of it kept."""
    lines = gzip.decompress(saved.read_bytes()).splitlines(keepends=True)
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"".join(damage(lines))))
    code, output = restore(other, tmp_path / "bad.gz")
    assert code == 1
    assert told in output
    assert other.test_client().get("/api/runs").json == {"runs": [], "next": None}


def test_file_that_is_no_backup(other: Flask, tmp_path: Path) -> None:
    """Any other file is refused in one line."""
    (tmp_path / "notes").write_text("no backup", "utf-8")
    code, output = restore(other, tmp_path / "notes")
    assert code == 1
    assert "no whole backup" in output


def test_other_content_is_never_overwritten(saved: Path, client: FlaskClient, other: Flask) -> None:
    """A run that is there with other content stops the restore, and stays."""
    record = client.get("/api/runs").json["runs"][0]  # type: ignore[index]
    token = other.test_cli_runner().invoke(args=["ledger", "token", "add", "x"]).output.strip()
    changed = {**record, "outcome": "failed"}
    other.test_client().post("/api/runs", json=changed, headers={"Authorization": f"Bearer {token}"})
    code, output = restore(other, saved)
    assert code == 1
    assert f"the run {record['id']} is in the database with other content" in output
    assert other.test_client().get(f"/api/runs/{record['id']}").json == changed


def test_backup_that_cannot_be_written(runner: FlaskCliRunner, tmp_path: Path) -> None:
    """A folder that is not there is said so in one line."""
    result = runner.invoke(args=["ledger", "backup", str(tmp_path / "nowhere" / "all.gz")])
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_prune(runner: FlaskCliRunner, client: FlaskClient, post: Post, make_record: MakeRecord) -> None:
    """Old runs go, young ones and releases stay; a dry run only counts."""
    old = "2020-01-01T00:00:00Z"
    for record in (
        make_record(started=old),
        make_record(started=old, kind="release"),
        make_record(started="2126-01-01T00:00:00Z"),
    ):
        post(record)
    arguments = ["ledger", "prune", "--keep", "90d"]
    assert "1 runs from before" in runner.invoke(args=[*arguments, "--dry-run"]).output
    assert len(client.get("/api/runs").json["runs"]) == 3  # type: ignore[index]
    result = runner.invoke(args=arguments)
    assert (result.exit_code, result.output[:6]) == (0, "1 runs")
    assert [run["kind"] for run in client.get("/api/runs").json["runs"]] == ["build", "release"]  # type: ignore[index]
    runner.invoke(args=[*arguments, "--releases"])
    assert len(client.get("/api/runs").json["runs"]) == 1  # type: ignore[index]


@pytest.mark.parametrize("keep", ["90", "d", "-3d", "0d", "1.5d", "999999d"])
def test_prune_refuses_what_it_cannot_read(runner: FlaskCliRunner, keep: str) -> None:
    """A duration that nobody can be sure of removes nothing."""
    assert runner.invoke(args=["ledger", "prune", "--keep", keep]).exit_code == 2
