"""Run records: their form, their file, and a ledger that may be down."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

import pytest
import requests

from dockyard.git import Git
from dockyard.image import records
from dockyard.image.records import Details, RunRecord
from dockyard.settings import Settings

SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json"
GIT = Git("0" * 40, 1, "main", "v1.0.0", True)
CLOCK = records.Clock(datetime(2026, 1, 2, 3, 4, 5, 678, UTC), 0.0)
Post = Callable[..., requests.Response]


class Ledger:
    """A ledger that answers what it is told to, and remembers what it was sent."""

    def __init__(self, status: int = 201, text: str = "", error: Exception | None = None) -> None:
        self.status, self.text, self.error = status, text, error
        self.seen: dict[str, Any] = {}

    def post(self, url: str, **options: Any) -> requests.Response:
        """Stand in for requests.post."""
        self.seen = {"url": url, **options}
        if self.error:
            raise self.error
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = self.text.encode()
        return answer


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ledger], Ledger]:
    """Return a function that puts a ledger in the place of the network."""

    def put(ledger: Ledger) -> Ledger:
        monkeypatch.setattr(requests, "post", ledger.post)
        return ledger

    return put


def made(settings: Settings, **more: Unpack[Details]) -> RunRecord:
    """Return a record of a build."""
    return records.make_record(settings, GIT, CLOCK, "build", "passed", **more)


def test_a_record_has_the_documented_fields(settings: Settings) -> None:
    """Every field that the schema requires, none that it does not know."""
    schema = json.loads(SCHEMA.read_text())
    record = made(settings, target="production", python="3.13", engine={"kind": "host", "version": "28"},
                  cache={"steps": 3, "cached": 1}, image=None)  # fmt: skip
    assert set(schema["required"]) <= set(record) <= set(schema["properties"])
    assert record["started"] == "2026-01-02T03:04:05.000678Z"
    assert record["git"] == {"commit": "0" * 40, "branch": "main", "tag": "v1.0.0", "dirty": True}
    assert record["kind"] in schema["properties"]["kind"]["enum"]


def test_a_record_without_git(settings: Settings) -> None:
    """Outside a repository, git is null."""
    assert records.make_record(settings, None, CLOCK, "build", "failed")["git"] is None


def test_every_record_has_its_own_id(settings: Settings) -> None:
    """So that one can be sent again without being counted twice."""
    assert made(settings)["id"] != made(settings)["id"]


def test_the_clock_only_goes_forward() -> None:
    """A duration is measured on a clock that nobody sets."""
    clock = records.Clock.start()
    assert 0 <= clock.seconds() < 5
    assert clock.started.tzinfo is UTC


def test_the_file_is_named_by_its_time(settings: Settings, tmp_path: Path) -> None:
    """A listing of the folder is in order, and the file holds the record."""
    record = made(settings)
    path = records.write_record(tmp_path / "new" / "runs", record)
    assert path.name == f"20260102T030405-build-{record['id'][:8]}.json"
    assert json.loads(path.read_text()) == record
    assert path.read_text().endswith("}\n")


def test_keep_without_a_ledger(settings: Settings, answering: Callable[[Ledger], Ledger], said: list[str]) -> None:
    """Nothing is sent where no ledger is set."""
    ledger = answering(Ledger())
    path = records.keep_record(settings, made(settings))
    assert path is not None
    assert path.parent == settings.root / ".dockyard" / "runs"
    assert (said, ledger.seen) == ([], {})


def test_keep_posts_with_the_token(
    settings: Settings, answering: Callable[[Ledger], Ledger], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """The record goes to the API with the token from the environment, and not for ever."""
    monkeypatch.setenv(records.TOKEN, "s3cret")
    ledger = answering(Ledger())
    record = made(settings)
    records.keep_record(replace(settings, ledger_url="http://ledger/"), record)
    assert ledger.seen == {
        "url": "http://ledger/api/runs",
        "json": record,
        "headers": {"Authorization": "Bearer s3cret"},
        "timeout": records.POST_SECONDS,
    }
    assert said == []


TROUBLE = {
    "down": (Ledger(error=requests.ConnectionError("refused")), "ConnectionError: it cannot be reached"),
    "slow": (Ledger(error=requests.Timeout()), "Timeout: it cannot be reached"),
    "url": (Ledger(error=requests.exceptions.InvalidURL("x")), "InvalidURL: it cannot be reached"),
    "token": (Ledger(401), "401: set DOCKYARD_LEDGER_TOKEN to the ledger's token"),
    "forbidden": (Ledger(403), "403: set DOCKYARD_LEDGER_TOKEN to the ledger's token"),
    "broken": (Ledger(500, "<html>\n  oh no\n</html>"), "500 <html> oh no </html>"),
    "odd token": (
        Ledger(error=requests.exceptions.InvalidHeader("x")),
        "DOCKYARD_LEDGER_TOKEN has characters that no HTTP header can carry",
    ),
}


@pytest.mark.parametrize(("ledger", "trouble"), TROUBLE.values(), ids=TROUBLE)
def test_a_ledger_in_trouble_fails_nothing(
    settings: Settings, answering: Callable[[Ledger], Ledger], ledger: Ledger, trouble: str, said: list[str]
) -> None:
    """One line says what is wrong, the file is written, and nothing is raised."""
    answering(ledger)
    path = records.keep_record(replace(settings, ledger_url="http://ledger"), made(settings))
    assert path is not None
    assert path.is_file()
    assert said == [f"the ledger at http://ledger did not take the run record: {trouble}"]


@pytest.mark.parametrize("token", ["s\u0142owo", "line\nbreak"])
def test_a_token_that_no_header_carries(token: str) -> None:
    """A token pasted wrongly is a message, found before anything is sent."""
    assert "no HTTP header can carry" in records.post_record("http://127.0.0.1:9", {}, token)


def test_a_folder_that_cannot_be_written(settings: Settings, said: list[str]) -> None:
    """A file in the way of the folder is told, and the run goes on."""
    (settings.root / ".dockyard").write_text("")
    assert records.keep_record(settings, made(settings)) is None
    assert said[0].startswith("the run record could not be written: ")
