"""Pages of a folder of records: read once, caught up with, and written as files."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ledger import report, static_pages
from ledger.report import Report, open_report

MakeRecord = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, make_record: MakeRecord) -> Path:
    """Return a folder with one record, and two files that are none."""
    made = tmp_path / "runs"
    made.mkdir()
    (made / "1.json").write_text(json.dumps(make_record()))
    (made / "2.json").write_text("{")
    (made / "3.json").write_text(json.dumps(make_record(kind="bake")))
    return made


@pytest.fixture
def opened(folder: Path) -> Iterator[Report]:
    """Yield a report on that folder."""
    with open_report(folder) as made:
        yield made


def test_a_folder_is_shown(opened: Report) -> None:
    """What is no record is left out, and told."""
    page = opened.app.test_client().get("/runs").text
    assert page.count("badge passed") == 1
    assert sorted(opened.skipped) == ["2.json", "3.json"]
    assert opened.skipped["3.json"].startswith("/kind: must be one of")


def test_new_records_show_up(opened: Report, folder: Path, make_record: MakeRecord) -> None:
    """With the next page, each once, also where a file was written twice."""
    record = make_record(outcome="failed")
    for name in ("4.json", "5.json"):
        (folder / name).write_text(json.dumps(record))
    assert opened.app.test_client().get("/runs").text.count("badge failed") == 1


def test_it_is_for_this_machine_alone(opened: Report, make_record: MakeRecord) -> None:
    """Another name is refused, which a page elsewhere could have given to this address; and nothing can be posted."""
    client = opened.app.test_client()
    assert client.get("/", base_url="http://evil.example").status_code == 400
    assert client.post("/api/runs", json=make_record()).status_code in (401, 403, 503)


def test_pages_are_written(opened: Report, tmp_path: Path) -> None:
    """Every link leads to a file beside it or nowhere; a second time, what is no longer there is gone."""
    out = tmp_path / "out"
    for _ in range(2):
        written = static_pages.write_pages(opened.app, out)
        (out / "old-page.html").write_text("")
    static_pages.write_pages(opened.app, out)
    assert written.left_out == 0
    files = {path.name for path in out.iterdir()}
    assert {"index.html", "ledger.css", "icon.svg"} <= files
    assert "old-page.html" not in files
    links = [link for path in out.glob("*.html") for link in re.findall(r'href="([^"]*)"', path.read_text("utf-8"))]
    assert len(links) > 10
    assert {link for link in links if not link.startswith("#")} <= files


def test_written_pages_tell_dates(opened: Report, tmp_path: Path) -> None:
    """Nobody knows when they are read: how long ago something was is for pages that are served."""
    assert "ago</time>" in opened.app.test_client().get("/runs").text
    static_pages.write_pages(opened.app, tmp_path / "out")
    pages = "".join(path.read_text("utf-8") for path in (tmp_path / "out").glob("*.html"))
    assert ">2026-11-21 01:02</time>" in pages
    assert " ago" not in pages


def test_the_number_of_pages_is_bounded(opened: Report, tmp_path: Path) -> None:
    """The overview comes first, and links to what is left out are none."""
    written = static_pages.write_pages(opened.app, tmp_path / "out", most=1)
    assert written.pages == 1
    assert written.left_out > 3
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert set(re.findall(r'href="([^"]*)"', page)) == {"ledger.css", "icon.svg", "#main", "index.html"}


def test_comparisons_are_left_out_first(opened: Report, folder: Path, make_record: MakeRecord, tmp_path: Path) -> None:
    """Of many runs there are far more pairs than pages that fit: every run's own page comes before any of them."""
    for number in range(4, 10):
        (folder / f"{number}.json").write_text(json.dumps(make_record()))
    out = tmp_path / "out"
    written = static_pages.write_pages(opened.app, out)
    pairs = len(list(out.glob("compare-*.html")))
    assert pairs > 20
    static_pages.write_pages(opened.app, out, most=written.pages - pairs)
    assert list(out.glob("compare-*.html")) == []
    assert len(list(out.glob("runs-0*.html"))) == 7


def test_file_names() -> None:
    """They can be read, and no two addresses share one."""
    assert static_pages.file_name("/", "") == "index.html"
    names = {static_pages.file_name(address, "<!doctype html>") for address in ("/a?b=c", "/a/b/c", "/A?b=c")}
    assert len(names) == 3
    assert all(re.fullmatch(r"a-b-c-[0-9a-f]{8}\.html", name) for name in names)
    assert static_pages.file_name("/api/runs/1", "{}").endswith(".json")


def test_the_program_writes(folder: Path, tmp_path: Path) -> None:
    """It says where the pages are, and what was left out."""
    done = CliRunner().invoke(report.main, [f"--static={tmp_path / 'out'}", str(folder)])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(tmp_path / "out" / "index.html")
    assert "2.json is left out" in done.stderr


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    """The records' own folder, say, is not written to."""
    before = sorted(folder.iterdir())
    done = CliRunner().invoke(report.main, [f"--static={folder}", str(folder)])
    assert done.exit_code == 1
    assert "is not empty, and not of pages" in done.stderr
    assert sorted(folder.iterdir()) == before
