"""Bring run records to a ledger: what it misses while it is down waits in a folder, and goes with a later run.

A ledger that is down never fails a run, and costs each at most a few seconds.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard.files import write_atomically

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

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
