"""What a ledger misses while it is down: it waits in a folder, within bounds, and goes with a later run."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from dockyard.image.records import LedgerAnswer, Outbox, name_file


@dataclass
class Ledger:
    """A ledger that answers what it is told to, and remembers what it took."""

    status: int = 201
    text: str = ""
    error: Exception | None = None
    taken: list[str] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def post(self, url: str, record: Mapping[str, Any], headers: Mapping[str, str]) -> requests.Response:
        """Stand in for the network."""
        self.asked.append((url, headers))
        if self.error:
            raise self.error
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = self.text.encode()
        if self.status < 300:
            self.taken.append(record["id"])
        return answer


def record(number: int) -> Any:
    """Return as much of a record as is looked at."""
    return {"id": f"{number:08x}" * 4, "started": f"2026-01-02T03:00:{number:02d}.5Z", "kind": "build"}


def put_aside(box: Outbox, *numbers: int) -> None:
    """Let records wait that an earlier run could not send."""
    box.folder.mkdir()
    for number in numbers:
        (box.folder / name_file(record(number))).write_text(json.dumps(record(number)))


@pytest.fixture
def ledger() -> Ledger:
    """Return a ledger that takes everything."""
    return Ledger()


@pytest.fixture
def box(tmp_path: Path, ledger: Ledger) -> Outbox:
    """Return the way to that ledger."""
    return Outbox("http://ledger/", "s3cret", tmp_path / "unsent", ledger.post)


def awake(box: Outbox) -> None:
    """Let it be long ago that the ledger did not answer."""
    os.utime(box.folder / "tried", (0, 0))


def test_it_posts_with_the_token(box: Outbox, ledger: Ledger, said: list[str]) -> None:
    """The record goes to the API with the token, and nothing is kept of it."""
    box.deliver(record(1))
    assert ledger.asked == [("http://ledger/api/runs", {"Authorization": "Bearer s3cret"})]
    assert (ledger.taken, said, box.waiting()) == ([record(1)["id"]], [], [])


TROUBLE = {
    "down": (
        Ledger(error=requests.ConnectionError("refused")),
        LedgerAnswer("ConnectionError: it cannot be reached", True, True),
    ),
    "slow": (Ledger(error=requests.Timeout()), LedgerAnswer("Timeout: it cannot be reached", True, True)),
    "starting": (Ledger(503, "not yet"), LedgerAnswer("503 not yet", True, True)),
    "broken": (Ledger(500, "<html>\n  oh no\n</html>"), LedgerAnswer("500 <html> oh no </html>", True, True)),
    "token": (Ledger(401), LedgerAnswer("401: set DOCKYARD_LEDGER_TOKEN to the ledger's token", True)),
    "busy": (Ledger(429, "slowly"), LedgerAnswer("429 slowly", True)),
    "odd token": (
        Ledger(error=requests.exceptions.InvalidHeader("x")),
        LedgerAnswer("DOCKYARD_LEDGER_TOKEN has characters that no HTTP header can carry", True),
    ),
    "refused": (Ledger(422, "no"), LedgerAnswer("422 no")),
    "too large": (Ledger(413, "no"), LedgerAnswer("413 no")),
    "known": (Ledger(200), LedgerAnswer()),
}


@pytest.mark.parametrize(("ledger", "answer"), TROUBLE.values(), ids=TROUBLE)
def test_what_an_answer_means(box: Outbox, answer: LedgerAnswer) -> None:
    """What the ledger or the token is to blame for is sent again; a record that it will never take is not."""
    assert box.send(record(1)) == answer


@pytest.mark.parametrize("token", ["s\u0142owo", "line\nbreak"])
def test_a_token_that_no_header_carries(tmp_path: Path, token: str) -> None:
    """A token pasted wrongly is a message, found before anything is sent."""
    found = Outbox("http://127.0.0.1:9", token, tmp_path).send(record(1))
    assert found == LedgerAnswer("DOCKYARD_LEDGER_TOKEN has characters that no HTTP header can carry", later=True)


def test_what_was_missed_is_sent_later(box: Outbox, ledger: Ledger, said: list[str]) -> None:
    """With the next run that finds the ledger: the oldest first, each once."""
    ledger.error = requests.ConnectionError()
    for number in (2, 1):
        box.deliver(record(number))
        awake(box)
    assert len(box.waiting()) == 2
    assert said[0].endswith("ConnectionError: it cannot be reached; a later run sends it")
    ledger.error = None
    box.deliver(record(3))
    assert ledger.taken == [record(number)["id"] for number in (1, 2, 3)]
    assert box.waiting() == []
    assert said[-1] == "the ledger at http://ledger/ has taken 3 run records: some had to wait"


def test_a_ledger_that_is_down_is_not_asked_all_the_time(box: Outbox, ledger: Ledger) -> None:
    """Runs in quick succession wait for it once; a wrong token makes no pause."""
    ledger.status = 401
    box.deliver(record(1))
    ledger.error = requests.Timeout()
    box.deliver(record(2))
    box.deliver(record(3))
    assert len(ledger.asked) == 2
    assert len(box.waiting()) == 3


def test_a_flush_ends_at_the_first_that_is_not_taken(box: Outbox, ledger: Ledger) -> None:
    """A ledger that goes down in the middle is not waited for once per record."""
    put_aside(box, 0, 1, 2)
    ledger.error = requests.Timeout()
    box.flush()
    assert len(ledger.asked) == 1
    assert len(box.waiting()) == 3


def test_a_flush_has_an_end(box: Outbox, ledger: Ledger) -> None:
    """A long queue is sent by several runs: none goes on for ever."""
    put_aside(box, 1)
    box.flush(seconds=-1)
    assert ledger.asked == []


def test_what_is_never_taken_is_given_up(box: Outbox, ledger: Ledger, said: list[str]) -> None:
    """A record that breaks the ledger's rules stops none behind it, nor does a file that somebody has edited."""
    put_aside(box, 1)
    (box.folder / "0.json").write_text("{")
    ledger.status, ledger.text = 422, "no"
    box.flush()
    assert box.waiting() == []
    assert said[-1].endswith("20260102T030001-build-00000001.json: 422 no")


def test_the_queue_is_bounded(box: Outbox, ledger: Ledger) -> None:
    """The oldest are given up where a ledger is away for good."""
    box = replace(box, most=3)
    ledger.error = requests.Timeout()
    for number in range(5):
        box.deliver(record(number))
    assert [json.loads(path.read_text())["id"] for path in box.waiting()] == [record(n)["id"] for n in (2, 3, 4)]


def test_a_folder_that_cannot_be_written(box: Outbox, ledger: Ledger, said: list[str]) -> None:
    """It is told, and the run goes on."""
    box.folder.write_text("")
    ledger.error = requests.Timeout()
    box.deliver(record(1))
    assert said[-1].startswith("what the ledger at http://ledger/ has missed cannot be kept: ")
