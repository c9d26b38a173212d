"""Keep runs in the database and find them again."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ledger.models import Run
from ledger.records import started_microseconds

Record = dict[str, Any]

KINDS = ("build", "test", "verify", "audit", "reproduce", "lock", "push", "release", "deploy")
OUTCOMES = ("passed", "failed", "interrupted")
RUN_ID = re.compile(r"[0-9a-f]{32}")
COMMIT = re.compile(r"[0-9a-f]{40}")
PYTHON_VERSION = re.compile(r"[0-9]+\.[0-9]+")
COLUMNS = ("kind", "project", "outcome", "python", "target")
LIMIT_DEFAULT, LIMIT_MAX = 50, 200
PRUNED_AT_A_TIME = 500


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
    target: str | None = None
    commit: str | None = None
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
        commit = args.get("commit")
        if commit is not None and not COMMIT.fullmatch(commit):
            raise FilterError("commit", "must be a full hash of 40 lower-case hexadecimal digits")
        return cls(
            kind=_one_of("kind", args.get("kind"), KINDS),
            project=_name("project", args.get("project")),
            outcome=_one_of("outcome", args.get("outcome"), OUTCOMES),
            python=python,
            target=_name("target", args.get("target")),
            commit=commit,
            limit=_limit(args.get("limit", str(LIMIT_DEFAULT))),
            before=args.get("before"),
        )

    def matching(self) -> dict[str, str]:
        """Return the values that a run must have, by filter."""
        names = ("kind", "project", "outcome", "python", "target", "commit")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what the columns of a run must be."""
        columns = {"git_commit" if name == "commit" else name: value for name, value in self.matching().items()}
        return [getattr(Run, column) == fit(column, value) for column, value in columns.items()]

    def next_page(self, last: str) -> dict[str, Any]:
        """Return the query parameters of the page that follows the run `last`."""
        return {**self.matching(), "limit": self.limit, "before": last}


def _one_of(parameter: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise FilterError(parameter, f"must be one of {', '.join(allowed)}")
    return value


def _name(parameter: str, value: str | None) -> str | None:
    if value == "":
        raise FilterError(parameter, "must not be empty")
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


def add(session: Session, record: Record) -> Added:
    """Store a valid record, unless its id is taken; of two equal requests at once, one is told that it is known."""
    session.add(run_of(record))
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        return Added.KNOWN if get(session, record["id"]) == record else Added.CONFLICT
    return Added.NEW


def run_of(record: Record) -> Run:
    """Return the row that keeps a record."""
    return Run(
        **{name: fit(name, record.get(name)) for name in ("id", *COLUMNS)},
        started_us=started_microseconds(record["started"]),
        duration_seconds=record["duration_seconds"],
        git_commit=(record.get("git") or {}).get("commit"),
        record=json.dumps(record, ensure_ascii=False, separators=(",", ":")),
    )


def fit(column: str, value: str | None) -> str | None:
    """Return what a column holds of a value: what fits, and no NUL, which PostgreSQL has no text with."""
    return None if value is None else value.replace("\0", "")[: Run.__table__.c[column].type.length]  # type: ignore[attr-defined]


def get(session: Session, run_id: str) -> Record | None:
    """Return the run of this id, if there is one."""
    text = session.scalar(select(Run.record).where(Run.id == run_id)) if RUN_ID.fullmatch(run_id) else None
    return None if text is None else json.loads(text)


def remove(session: Session, run_id: str) -> bool:
    """Remove the run of this id, and tell whether there was one."""
    run = session.get(Run, run_id) if RUN_ID.fullmatch(run_id) else None
    if run is not None:
        session.delete(run)
        session.commit()
    return run is not None


def prune(session: Session, before_us: int, kinds: tuple[str, ...], *, dry_run: bool) -> int:
    """Remove the runs of these kinds from before a moment, in small steps that let others write; return how many."""
    old = (Run.kind.in_(kinds), Run.started_us < before_us)
    if dry_run:
        return session.scalar(select(func.count()).select_from(Run).where(*old)) or 0
    count = 0
    while found := session.scalars(select(Run.id).where(*old).limit(PRUNED_AT_A_TIME)).all():
        session.execute(delete(Run).where(Run.id.in_(found)))
        session.commit()
        count += len(found)
    return count


def query_runs(filters: Filters) -> Select[str]:
    """Return the query for the runs that match, newest first, and one more than the limit."""
    newest_first = (Run.started_us.desc(), Run.id.desc())
    return select(Run.record).where(*filters.conditions()).order_by(*newest_first).limit(filters.limit + 1)


def find(session: Session, filters: Filters) -> Page:
    """Return one page of the runs that match; raises FilterError when `before` names no run."""
    query = query_runs(filters)
    if filters.before is not None:
        known = RUN_ID.fullmatch(filters.before)
        us = session.scalar(select(Run.started_us).where(Run.id == filters.before)) if known else None
        if us is None:
            raise FilterError("before", "must be the id of a recorded run")
        # Written out, since MariaDB uses no index for a comparison of two pairs.
        query = query.where(
            Run.started_us <= us, or_(Run.started_us < us, and_(Run.started_us == us, Run.id < filters.before))
        )
    records = tuple(json.loads(text) for text in session.scalars(query))
    shown = records[: filters.limit]
    return Page(shown, last=shown[-1]["id"] if len(records) > filters.limit else None)


def projects(session: Session, limit: int) -> tuple[str, ...]:
    """Return the names of projects, by their newest run; of each, one entry of an index is read, and not every run."""
    names = select(func.min(Run.project).label("project")).cte("names", recursive=True)
    following = select(func.min(Run.project)).where(Run.project > names.c.project).scalar_subquery()
    names = names.union_all(select(following).where(names.c.project.is_not(None)))
    newest = select(func.max(Run.started_us)).where(Run.project == names.c.project).scalar_subquery()
    query = select(names.c.project).where(names.c.project.is_not(None)).order_by(newest.desc(), names.c.project)
    return tuple(session.scalars(query.limit(limit)))
