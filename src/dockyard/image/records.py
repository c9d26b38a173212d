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
from typing import Any

from dockyard import __version__
from dockyard.files import write_atomically
from dockyard.git import Git
from dockyard.settings import Settings

log = logging.getLogger(__name__)


FOLDER = Path(".dockyard") / "runs"
TOKEN = "DOCKYARD_LEDGER_TOKEN"  # noqa: S105 - the name of a variable, not a token
POST_SECONDS = 3.0


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


def make_record(
    settings: Settings, git: Git | None, clock: Clock, kind: str, outcome: str, **more: Any
) -> dict[str, Any]:
    """Return a run record; `more` holds the fields that only some kinds have."""
    return {
        "schema": "dockyard.run/1",
        "id": secrets.token_hex(16),
        "kind": kind,
        "project": settings.image,
        "started": clock.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_seconds": clock.seconds(),
        "outcome": outcome,
        "dockyard": __version__,
        "git": git and {"commit": git.commit, "branch": git.branch, "tag": git.tag, "dirty": git.dirty},
        **more,
    }


def keep_record(settings: Settings, record: Mapping[str, Any]) -> Path | None:
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


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a record atomically into `folder`, named by time so that a listing is in order."""
    stamp = str(record["started"]).replace(":", "").replace("-", "")[:15]
    path = folder / f"{stamp}-{record['kind']}-{str(record['id'])[:8]}.json"
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
