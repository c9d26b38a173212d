"""Keep a record of every run: a JSON file in .dockyard/runs, and a POST to a ledger where one is set.

The format is documented in docs/reference/run-record.md. A ledger that is down never fails a build.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from dockyard import __version__
from dockyard.engine.client import Engine
from dockyard.files import write_atomically
from dockyard.git import Git
from dockyard.settings import Settings

log = logging.getLogger(__name__)


FOLDER = Path(".dockyard") / "runs"
TOKEN = "DOCKYARD_LEDGER_TOKEN"  # noqa: S105 - the name of a variable, not a token
POST_SECONDS = 3.0
Kind = Literal["build", "test", "push"]
Outcome = Literal["passed", "failed", "interrupted"]


@dataclass(frozen=True)
class Clock:
    """When a run started: in UTC for people, and on a clock that never jumps for its duration."""

    started: datetime
    ticks: float

    @classmethod
    def start(cls) -> "Clock":
        """Return a clock that starts now."""
        return cls(datetime.now(UTC), time.monotonic())

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return round(time.monotonic() - self.ticks, 3)


class LayerRecord(TypedDict):
    """One layer of an image."""

    size_bytes: int
    created_by: str


class ImageRecord(TypedDict):
    """The image that a run made or pushed."""

    reference: str
    digest: str
    size_bytes: int
    layers: list[LayerRecord]


class CacheRecord(TypedDict):
    """How much of a build came from the cache."""

    steps: int
    cached: int


class TestsRecord(TypedDict):
    """The result of a test run."""

    passed: int
    failed: int
    skipped: int
    coverage_percent: float | None


class EngineRecord(TypedDict):
    """The engine that did the work."""

    kind: str
    version: str


class GitRecord(TypedDict):
    """The commit that was worked on."""

    commit: str
    branch: str | None
    tag: str | None
    dirty: bool


class Details(TypedDict, total=False):
    """What only some kinds of runs have to tell."""

    target: str
    python: str
    image: ImageRecord | None
    cache: CacheRecord
    tests: TestsRecord
    engine: EngineRecord


class RunRecord(Details):
    """One run of the pipeline, as docs/reference/run-record.schema.json describes it."""

    schema: str
    id: str
    kind: Kind
    project: str
    started: str
    duration_seconds: float
    outcome: Outcome
    dockyard: str
    git: GitRecord | None


def make_record(
    settings: Settings, git: Git | None, clock: Clock, kind: Kind, outcome: Outcome, **more: Unpack[Details]
) -> RunRecord:
    """Return a run record; `more` holds the fields that only some kinds have."""
    commit: GitRecord | None = None
    if git:
        commit = {"commit": git.commit, "branch": git.branch, "tag": git.tag, "dirty": git.dirty}
    return {
        "schema": "dockyard.run/2",
        "id": secrets.token_hex(16),
        "kind": kind,
        "project": settings.image,
        "started": clock.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_seconds": clock.seconds(),
        "outcome": outcome,
        "dockyard": __version__,
        "git": commit,
        **more,
    }


def describe_engine(engine: Engine) -> EngineRecord:
    """Return what a record says of an engine."""
    return {"kind": engine.kind, "version": engine.version}


def keep_record(settings: Settings, record: RunRecord) -> Path | None:
    """Write a record to its file and post it to the ledger; trouble is said in one line and changes nothing."""
    path = None
    try:
        path = write_record(settings.root / FOLDER, record)
    except OSError as error:
        log.info(f"the run record could not be written: {error}")
    url = settings.ledger_url
    if url and (trouble := post_record(url, record, os.environ.get(TOKEN, ""))):
        log.info(f"the ledger at {url} did not take the run record: {trouble}")
    return path


def write_record(folder: Path, record: RunRecord) -> Path:
    """Write a record atomically into `folder`, named by time so that a listing is in order."""
    stamp = record["started"].replace(":", "").replace("-", "")[:15]
    path = folder / f"{stamp}-{record['kind']}-{record['id'][:8]}.json"
    write_atomically(path, json.dumps(record, indent=2) + "\n")
    return path


def post_record(url: str, record: Mapping[str, Any], token: str) -> str:
    """Send a record to a ledger; return what went wrong, or an empty string."""
    import requests

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.post(f"{url.rstrip('/')}/api/runs", json=record, headers=headers, timeout=POST_SECONDS)
    except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
        return f"{TOKEN} has characters that no HTTP header can carry"
    except requests.RequestException as error:
        return f"{type(error).__name__}: it cannot be reached"
    if answer.ok:
        return ""
    if answer.status_code in (401, 403):
        return f"{answer.status_code}: set {TOKEN} to the ledger's token"
    return f"{answer.status_code} {' '.join(answer.text[:200].split())}"
