"""Keep a record of every run: a JSON file in .dockyard/runs, and a ledger's copy where one is set.

The format is documented in docs/reference/run-record.md.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from dockyard import __version__
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, UsageError
from dockyard.files import write_atomically
from dockyard.git import Git, read_git
from dockyard.image.record_types import Details, EngineRecord, GitRecord, Kind, Outcome, RunRecord, StepRecord
from dockyard.settings import Settings

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)


FOLDER = Path(".dockyard") / "runs"
TOKEN = "DOCKYARD_LEDGER_TOKEN"  # noqa: S105 - the name of a variable, not a token
MOST_STEPS = 2000
LONGEST_ERROR = 500
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
class LedgerAnswer:
    """What came of a post: `trouble` is empty where the record was taken, `later` says to try it again.

    `down` says that the ledger itself is the trouble, and not this record or token.
    """

    trouble: str = ""
    later: bool = False
    down: bool = False


def _post(url: str, record: RunRecord, headers: Mapping[str, str]) -> "requests.Response":
    import requests

    return requests.post(url, json=record, headers=headers, timeout=POST_SECONDS)


@dataclass(frozen=True)
class Outbox:
    """The way to one ledger, and the folder of what it has not taken yet, oldest first by name."""

    url: str
    token: str
    folder: Path
    post: Callable[[str, RunRecord, Mapping[str, str]], "requests.Response"] = _post
    most: int = 500

    def deliver(self, record: RunRecord) -> None:
        """Send what waits, and this record last; what is not taken now waits for a later run. Raises nothing."""
        try:
            write_atomically(self.folder / name_file(record), json.dumps(record))
            for path in self.waiting()[: -self.most]:
                path.unlink(missing_ok=True)
            if self.resting():
                log.info(f"the ledger at {self.url} did not answer a moment ago: a later run sends the record")
            else:
                self.flush()
        except OSError as error:
            log.info(f"what the ledger at {self.url} has missed cannot be kept: {error}")

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Send what is waiting, the oldest first, until one is not taken or the time is over."""
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
                log.info(f"the ledger at {self.url} did not take {path.name}: {answer.trouble}; a later run sends it")
                if answer.down:
                    write_atomically(self.folder / "tried", "")
                break
            path.unlink(missing_ok=True)
            sent += not answer.trouble
            if answer.trouble:
                log.info(f"the ledger at {self.url} will never take {path.name}: {answer.trouble}")
        if sent > 1:
            log.info(f"the ledger at {self.url} has taken {sent} run records: some had to wait")

    def waiting(self) -> list[Path]:
        """Return the files of what has not been sent."""
        return sorted(self.folder.glob("*.json"))

    def resting(self) -> bool:
        """Say whether the ledger was in vain asked a moment ago."""
        try:
            return 0 <= time.time() - (self.folder / "tried").stat().st_mtime < PAUSE_SECONDS
        except OSError:
            return False

    def send(self, record: RunRecord) -> LedgerAnswer:
        """Post one record; the ledger takes one that it has already without a word."""
        import requests

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = self.post(f"{self.url.rstrip('/')}/api/runs", record, headers)
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            return LedgerAnswer("DOCKYARD_LEDGER_TOKEN has characters that no HTTP header can carry", later=True)
        except requests.RequestException as error:
            return LedgerAnswer(f"{type(error).__name__}: it cannot be reached", later=True, down=True)
        if answer.ok:
            return LedgerAnswer()
        down = answer.status_code >= 500
        later = down or answer.status_code in MAY_PASS
        if answer.status_code in (401, 403):
            return LedgerAnswer(f"{answer.status_code}: set DOCKYARD_LEDGER_TOKEN to the ledger's token", later)
        return LedgerAnswer(f"{answer.status_code} {' '.join(answer.text[:200].split())}", later, down)


def describe_engine(engine: Engine) -> EngineRecord:
    """Return what a record says of an engine."""
    return {"kind": engine.kind, "version": engine.version}


def detect_ci(environment: Mapping[str, str]) -> str | None:
    """Return the name of the CI that this runs on, or None on a person's machine (pure)."""
    unset = ("", "0", "false")
    return next((name for variable, name in CI_SYSTEMS.items() if environment.get(variable, "") not in unset), None)


def keep_record(settings: Settings, record: RunRecord) -> None:
    """Write a record to its file and bring it to the ledger; trouble is said in one line and changes nothing."""
    try:
        write_atomically(settings.root / FOLDER / name_file(record), json.dumps(record, indent=2) + "\n")
    except OSError as error:
        log.info(f"the run record could not be written: {error}")
    if settings.ledger_url:
        make_outbox(settings).deliver(record)


def make_outbox(settings: Settings) -> Outbox:
    """Return the way to the project's ledger."""
    return Outbox(settings.ledger_url, os.environ.get(TOKEN, ""), settings.root / ".dockyard" / "unsent")


def name_file(record: RunRecord) -> str:
    """Return the name of a record's file, by its time, so that a listing is in order (pure)."""
    stamp = record["started"].replace(":", "").replace("-", "")[:15]
    return f"{stamp}-{record['kind']}-{record['id'][:8]}.json"


@dataclass
class Recording:
    """A run that is under way: what there is to tell of it, its steps as they end, and its outcome.

    `failed` says of a run that ends without an error that it found something wrong, `idle` that it had nothing to do.
    `parts` are images that get a record each; one that has what it was to have passed, whatever becomes of others.
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ticks: float = field(default_factory=time.monotonic)
    """Its start on a clock that never jumps."""
    git: Git | None = None
    details: Details = field(default_factory=Details)
    parts: list[Details] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    failed: bool = False
    idle: bool = False
    outcome: Outcome = "failed"

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return round(time.monotonic() - self.ticks, 3)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note when a step starts and how it ends."""
        step: StepRecord = {"name": name, "started_seconds": self.seconds(), "duration_seconds": 0.0}
        self.steps.append(step)
        step["outcome"] = "failed"
        try:
            yield
            step["outcome"] = "passed"
        except KeyboardInterrupt:
            step["outcome"] = "interrupted"
            raise
        finally:
            step["duration_seconds"] = round(self.seconds() - step["started_seconds"], 3)


@contextmanager
def record_run(
    settings: Settings, kind: Kind, *, keep: Callable[[Settings, RunRecord], object] = keep_record
) -> Iterator[Recording]:
    """Keep a record of what is done inside, however it ends; one that was mistyped or had nothing to do is no run."""
    recording = Recording()
    try:
        yield recording
        recording.outcome = "failed" if recording.failed else "passed"
    except KeyboardInterrupt:
        recording.outcome = "interrupted"
        raise
    except UsageError:
        recording.idle = True
        raise
    except DockyardError as error:
        recording.details["error"] = shorten_line(error.message)
        raise
    finally:
        if not recording.idle:
            git = recording.git or read_git(settings.root)
            steps = sorted(recording.steps, key=lambda step: step["started_seconds"])[:MOST_STEPS]
            for part in recording.parts or [Details()]:
                details: Details = {"error": None, **recording.details, "steps": steps, **part}
                outcome = "passed" if part.get("image") else recording.outcome
                keep(settings, make_record(settings, git, recording, kind, outcome, **details))


def make_record(
    settings: Settings, git: Git | None, recording: Recording, kind: Kind, outcome: Outcome, **more: Unpack[Details]
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
        "started": recording.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_seconds": recording.seconds(),
        "outcome": outcome,
        "dockyard": __version__,
        "ci": detect_ci(os.environ),
        "git": commit,
        **more,
    }


def shorten_line(text: str) -> str:
    """Return the first line of a text, cut where it is too long for a record (pure)."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…"
