"""What pages ask of the database: whole records, newest first."""

from typing import Any

from ledger import runs
from ledger.models import db

Record = dict[str, Any]
MOST_PROJECTS = 30


def list_projects(limit: int = MOST_PROJECTS) -> list[str]:
    """Return the names of the projects, the one that was worked on last first."""
    return list(runs.projects(db.session(), limit))


def find_page(filters: runs.Filters) -> runs.Page:
    """Return one page of the runs that match."""
    return runs.find(db.session(), filters)


def find_runs(project: str, kind: str, limit: int = runs.LIMIT_MAX) -> list[Record]:
    """Return the newest runs of a kind."""
    return list(runs.find(db.session(), runs.Filters(project=project, kind=kind, limit=limit)).records)


def find_latest(project: str, limit: int) -> list[Record]:
    """Return the newest runs of any kind."""
    return list(runs.find(db.session(), runs.Filters(project=project, limit=limit)).records)


def read_run(run_id: str) -> Record | None:
    """Return one run."""
    return runs.get(db.session(), run_id)
