"""Keep a record of every run: a JSON file in .dockyard/runs, and a ledger's copy where one is set.

The format is documented in docs/reference/run-record.md.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from dockyard import __version__
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.files import write_atomically
from dockyard.git import Git, read_git
from dockyard.image.bake import Solved
from dockyard.image.outbox import Outbox
from dockyard.image.record_types import Details, EngineRecord, GitRecord, Kind, Outcome, RunRecord, StepRecord
from dockyard.settings import Settings

log = logging.getLogger(__name__)


FOLDER = Path(".dockyard") / "runs"
TOKEN = "DOCKYARD_LEDGER_TOKEN"  # noqa: S105 - the name of a variable, not a token
MOST_STEPS = 2000
LONGEST_ERROR = 500
LONGEST_STEP = 300
CI_SYSTEMS = {
    "GITHUB_ACTIONS": "GitHub Actions",
    "GITLAB_CI": "GitLab CI",
    "JENKINS_URL": "Jenkins",
    "CIRCLECI": "CircleCI",
    "BUILDKITE": "Buildkite",
    "TF_BUILD": "Azure Pipelines",
    "BITBUCKET_BUILD_NUMBER": "Bitbucket Pipelines",
    "TEAMCITY_VERSION": "TeamCity",
    "DRONE": "Drone",
    "CI": "CI",
}
"""Variables by which CI systems can be told, the one that most of them set last."""


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
        "ci": detect_ci(os.environ),
        "git": commit,
        **more,
    }


def describe_engine(engine: Engine) -> EngineRecord:
    """Return what a record says of an engine."""
    return {"kind": engine.kind, "version": engine.version}


def detect_ci(environment: Mapping[str, str]) -> str | None:
    """Return the name of the CI that this runs on, or None on a person's machine (pure)."""
    return next((name for variable, name in CI_SYSTEMS.items() if environment.get(variable, "") not in UNSET), None)


UNSET = ("", "0", "false")


def keep_record(settings: Settings, record: RunRecord) -> Path | None:
    """Write a record to its file and bring it to the ledger; trouble is said in one line and changes nothing."""
    path = None
    try:
        path = write_record(settings.root / FOLDER, record)
    except OSError as error:
        log.info(f"the run record could not be written: {error}")
    if settings.ledger_url:
        make_outbox(settings).deliver(record)
    return path


def make_outbox(settings: Settings) -> Outbox:
    """Return the way to the project's ledger."""
    return Outbox(settings.ledger_url, os.environ.get(TOKEN, ""), settings.root / ".dockyard" / "unsent")


def write_record(folder: Path, record: RunRecord) -> Path:
    """Write a record atomically into `folder`, named by time so that a listing is in order."""
    stamp = record["started"].replace(":", "").replace("-", "")[:15]
    path = folder / f"{stamp}-{record['kind']}-{record['id'][:8]}.json"
    write_atomically(path, json.dumps(record, indent=2) + "\n")
    return path


@dataclass
class Recording:
    """A run that is under way: when it started, what there is to tell of it, its steps as they end, and its outcome.

    `failed` says of a run that ends without an error that it found something wrong, `idle` that it had nothing to do.
    """

    clock: Clock
    details: Details = field(default_factory=Details)
    steps: list[StepRecord] = field(default_factory=list)
    failed: bool = False
    idle: bool = False
    outcome: Outcome = "failed"

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note how what is done inside ends, and the line of an error."""
        try:
            yield
            self.outcome = "failed" if self.failed else "passed"
        except KeyboardInterrupt:
            self.outcome = "interrupted"
            raise
        except DockyardError as error:
            self.details["error"] = shorten_line(error.message)
            raise

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note when a step starts and how it ends."""
        step: StepRecord = {"name": name, "started_seconds": self.clock.seconds(), "duration_seconds": 0.0}
        self.steps.append(step)
        step["outcome"] = "failed"
        try:
            yield
            step["outcome"] = "passed"
        except KeyboardInterrupt:
            step["outcome"] = "interrupted"
            raise
        finally:
            step["duration_seconds"] = round(self.clock.seconds() - step["started_seconds"], 3)

    def told(self) -> Details:
        """Return what there is to tell so far, the steps in the order of their starts."""
        steps = sorted(self.steps, key=lambda step: step["started_seconds"])
        return {**self.details, "steps": steps[:MOST_STEPS]}


Keep = Callable[[Settings, RunRecord], object]


@contextmanager
def record_run(settings: Settings, kind: Kind, *, keep: Keep | None = None) -> Iterator[Recording]:
    """Keep a record of what is done inside, however it ends; one that was mistyped or had nothing to do is no run."""
    recording = Recording(Clock.start())
    mistyped = False
    try:
        with recording.watch():
            yield recording
    except UsageError:
        mistyped = True
        raise
    finally:
        if not (mistyped or recording.idle):
            details: Details = {"error": None, **recording.told()}
            git = read_git(settings.root)
            record = make_record(settings, git, recording.clock, kind, recording.outcome, **details)
            (keep or keep_record)(settings, record)


def describe_solve(steps: Iterable[Solved], began: float) -> Iterator[StepRecord]:
    """Yield what BuildKit did in a build that began so many seconds after the run's start (pure)."""
    for step in steps:
        told: StepRecord = {
            "name": step.name[:LONGEST_STEP],
            "started_seconds": round(began + step.started, 3),
            "duration_seconds": round(step.seconds, 3),
            "cached": step.cached,
        }
        yield {**told, "outcome": "failed"} if step.failed else told


def shorten_line(text: str) -> str:
    """Return the first line of a text, cut where it is too long for a record (pure)."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…"
