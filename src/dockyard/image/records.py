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
from typing import TYPE_CHECKING, Any, Unpack

from dockyard import __version__
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.files import write_atomically
from dockyard.git import Git, read_git
from dockyard.image.bake import Solved
from dockyard.image.record_types import Details, EngineRecord, GitRecord, Kind, Outcome, RunRecord, StepRecord
from dockyard.settings import Settings

if TYPE_CHECKING:
    import requests

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


POST_SECONDS = 3.0
FLUSH_SECONDS = 5.0
"""How long a run goes on with sending what earlier ones could not."""
PAUSE_SECONDS = 20.0
"""A ledger that did not answer is left alone for so long: the five Pythons of one test run do not each wait for it."""
MAY_PASS = (401, 403, 408, 425, 429)
"""Refusals that are not the record's fault: sent again, when the token is right, it will be taken."""


@dataclass(frozen=True)
class Answer:
    """What came of a post: `trouble` is empty where the record was taken, `later` says to try it again.

    `down` says that the ledger itself is the trouble, and not this record or token.
    """

    trouble: str = ""
    later: bool = False
    down: bool = False


def _post(url: str, record: Mapping[str, Any], headers: Mapping[str, str]) -> "requests.Response":
    import requests

    return requests.post(url, json=record, headers=headers, timeout=POST_SECONDS)


Post = Callable[[str, Mapping[str, Any], Mapping[str, str]], "requests.Response"]


@dataclass(frozen=True)
class Outbox:
    """The way to one ledger, and the folder of what it has not taken yet, oldest first by name."""

    url: str
    token: str
    folder: Path
    post: Post = _post
    most: int = 500

    def deliver(self, record: Mapping[str, Any]) -> None:
        """Send a record, and then what had to wait; what cannot be sent now waits from now on. Raises nothing."""
        try:
            if self.resting():
                self.put_aside(record, "it did not answer a moment ago", down=True)
                return
            answer = self.send(record)
            if answer.later:
                self.put_aside(record, answer.trouble, down=answer.down)
            elif answer.trouble:
                log.info(f"the ledger at {self.url} did not take the run record: {answer.trouble}")
            else:
                self.flush()
        except OSError as error:
            log.info(f"what the ledger at {self.url} has missed cannot be kept: {error}")

    def flush(self, seconds: float = FLUSH_SECONDS) -> int:
        """Send what is waiting, the oldest first, until one is not taken or the time is over; return how many went."""
        until = time.monotonic() + seconds
        sent = 0
        for path in self.waiting():
            if time.monotonic() > until:
                break
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # another run has sent it meanwhile, or somebody has edited it
                path.unlink(missing_ok=True)
                continue
            answer = self.send(record)
            if answer.later:
                break
            path.unlink(missing_ok=True)
            sent += not answer.trouble
            if answer.trouble:
                log.info(f"the ledger at {self.url} will never take {path.name}: {answer.trouble}")
        if sent:
            log.info(f"the ledger at {self.url} has {sent} earlier run record{'s' if sent > 1 else ''} now")
        return sent

    def waiting(self) -> list[Path]:
        """Return the files of what has not been sent."""
        return sorted(self.folder.glob("*.json"))

    def resting(self) -> bool:
        """Say whether the ledger was in vain asked a moment ago."""
        try:
            return 0 <= time.time() - (self.folder / "tried").stat().st_mtime < PAUSE_SECONDS
        except OSError:
            return False

    def put_aside(self, record: Mapping[str, Any], trouble: str, *, down: bool) -> None:
        """Keep a record for later; beyond the bound, the oldest is given up."""
        stamp = str(record.get("started", "")).replace(":", "").replace("-", "")[:15]
        write_atomically(self.folder / f"{stamp}-{record.get('id', '')}.json", json.dumps(record))
        if down and not self.resting():
            write_atomically(self.folder / "tried", "")
        for path in self.waiting()[: -self.most]:
            path.unlink(missing_ok=True)
        log.info(f"the ledger at {self.url} did not take the run record: {trouble}; a later run sends it again")

    def send(self, record: Mapping[str, Any]) -> Answer:
        """Post one record; the ledger takes one that it has already without a word."""
        import requests

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = self.post(f"{self.url.rstrip('/')}/api/runs", record, headers)
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            return Answer("DOCKYARD_LEDGER_TOKEN has characters that no HTTP header can carry", later=True)
        except requests.RequestException as error:
            return Answer(f"{type(error).__name__}: it cannot be reached", later=True, down=True)
        if answer.ok:
            return Answer()
        down = answer.status_code >= 500
        later = down or answer.status_code in MAY_PASS
        if answer.status_code in (401, 403):
            return Answer(f"{answer.status_code}: set DOCKYARD_LEDGER_TOKEN to the ledger's token", later)
        return Answer(f"{answer.status_code} {' '.join(answer.text[:200].split())}", later, down)


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
