"""Keep runs in the database and find them again."""

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ledger.records import started_microseconds

Record = dict[str, Any]

KINDS = ("build", "test", "verify", "audit", "reproduce", "lock", "push", "release", "deploy")
OUTCOMES = ("passed", "failed", "interrupted")
PYTHON_VERSION = re.compile(r"[0-9]+\.[0-9]+")
LIMIT_DEFAULT, LIMIT_MAX = 50, 200


class FilterError(ValueError):
    """A query parameter that cannot be understood, and what it should have been."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


class Added(Enum):
    """What came of adding a run."""

    NEW = auto()
    KNOWN = auto()
    CONFLICT = auto()


@dataclass(frozen=True)
class Filters:
    """Which runs to show: those that match every given value, newest first, after the run named `before`."""

    kind: str | None = None
    project: str | None = None
    outcome: str | None = None
    python: str | None = None
    limit: int = LIMIT_DEFAULT
    before: str | None = None

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> "Filters":
        """Read query parameters; raises FilterError on one that is unknown or makes no sense."""
        unknown = sorted(args.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise FilterError(unknown[0], f"is not a filter: use {', '.join(cls.__dataclass_fields__)}")
        python = args.get("python")
        if python is not None and not PYTHON_VERSION.fullmatch(python):
            raise FilterError("python", "must be a version such as 3.13")
        if args.get("project") == "":
            raise FilterError("project", "must not be empty")
        return cls(
            kind=_one_of("kind", args.get("kind"), KINDS),
            project=args.get("project"),
            outcome=_one_of("outcome", args.get("outcome"), OUTCOMES),
            python=python,
            limit=_limit(args.get("limit", str(LIMIT_DEFAULT))),
            before=args.get("before"),
        )

    def matching(self) -> dict[str, str]:
        """Return the values that a run must have, by column."""
        columns = {"kind": self.kind, "project": self.project, "outcome": self.outcome, "python": self.python}
        return {column: value for column, value in columns.items() if value is not None}

    def next_page(self, last: str) -> dict[str, Any]:
        """Return the query parameters of the page that follows the run `last`."""
        return {**self.matching(), "limit": self.limit, "before": last}


def _one_of(parameter: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise FilterError(parameter, f"must be one of {', '.join(allowed)}")
    return value


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise FilterError("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


@dataclass(frozen=True)
class Page:
    """Some runs, newest first; `last` names the run to go on after, None at the end."""

    records: tuple[Record, ...]
    last: str | None


def add(db: sqlite3.Connection, record: Record) -> Added:
    """Store a valid record, unless its id is taken; one statement, so that two equal requests cannot both win."""
    cursor = db.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            *(record.get(key) for key in ("id", "kind", "project", "outcome", "python", "target")),
            started_microseconds(record["started"]),
            record["duration_seconds"],
            json.dumps(record, ensure_ascii=False, separators=(",", ":")),
        ),
    )
    if cursor.rowcount == 1:
        return Added.NEW
    return Added.KNOWN if get(db, record["id"]) == record else Added.CONFLICT


def get(db: sqlite3.Connection, run_id: str) -> Record | None:
    """Return the run of this id, if there is one."""
    row = db.execute("SELECT record FROM runs WHERE id = ?", (run_id,)).fetchone()
    return _record(row) if row else None


def find(db: sqlite3.Connection, filters: Filters) -> Page:
    """Return one page of the runs that match; raises FilterError when `before` names no run."""
    values: dict[str, Any] = {**filters.matching(), "more": filters.limit + 1}
    conditions = [f"{column} = :{column}" for column in filters.matching()]
    if filters.before is not None:
        row = db.execute("SELECT started_us, id FROM runs WHERE id = ?", (filters.before,)).fetchone()
        if row is None:
            raise FilterError("before", "must be the id of a recorded run")
        conditions.append("(started_us, id) < (:before_us, :before_id)")
        values |= {"before_us": row["started_us"], "before_id": row["id"]}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    # Only column names of our own become part of the statement; every value is bound.
    query = f"SELECT record FROM runs {where} ORDER BY started_us DESC, id DESC LIMIT :more"  # noqa: S608
    records = tuple(_record(row) for row in db.execute(query, values))
    shown = records[: filters.limit]
    return Page(shown, last=shown[-1]["id"] if len(records) > filters.limit else None)


def _record(row: sqlite3.Row) -> Record:
    record: Record = json.loads(row["record"])
    return record
