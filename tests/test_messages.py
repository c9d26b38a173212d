"""Tests of the table of messages: how errors are read from the source, and how tests are named for them."""

from pathlib import Path

import pytest

from dockyard.errors import UsageError

from .messages import Recorder, Site, choose_test, has_test, read_page, read_sites, write_page

ERRORS = """\
class DockyardError(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message


class UsageError(DockyardError):
    code = ExitCode.USAGE


class LineError(UsageError):
    def __init__(self, line: int, wrong: str, hint: str) -> None:
        super().__init__(f"line {line}: {wrong}", hint)
"""
RAISES = """\
def read(name: str) -> None:
    if name:
        raise UsageError(f"{name!r} is " + "no name", hint="a | b")
    text = f"{name} is {name.title()}"
    text = f"now {name}"
    raise LineError(3, text, "mend it" if name else "or leave it")


class Reader:
    def read(self) -> Exception:
        return DockyardError("two\\nlines")
"""
SITES = [
    ("room.raises.read", "{…} is no name", "a \\| b", 2, (3, 3)),
    ("room.raises.read", "line 3: now {…}", "mend it / or leave it", 2, (6, 6)),
    ("room.raises.Reader.read", "two ⏎ lines", "", 1, (11, 11)),
]


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Site, ...]:
    """Return the sites of a small package."""
    (tmp_path / "room").mkdir()
    (tmp_path / "errors.py").write_text(ERRORS)
    (tmp_path / "room" / "raises.py").write_text(RAISES)
    return read_sites(tmp_path)


def test_errors_are_read_from_the_source(sites: tuple[Site, ...]) -> None:
    """Texts are put together as far as the source says them; class, function and exit code are found."""
    assert [(site.place, site.message, site.hint, site.code, site.lines) for site in sites] == SITES


def test_what_is_written_is_read_again(sites: tuple[Site, ...], tmp_path: Path) -> None:
    """The page is the memory: which test was named, also where a message holds a bar."""
    tests = {"tests/test_a.py::test_a": {sites[0].identity}}
    page = tmp_path / "messages.md"
    page.write_text(write_page(sites, {}, tests))
    assert read_page(page) == {
        sites[0].identity: "tests/test_a.py::test_a",
        sites[1].identity: "",
        sites[2].identity: "",
    }
    assert "| line 3: now {…} | mend it / or leave it | 2 | `room.raises.read` | none |" in page.read_text()


def test_an_error_that_moves_keeps_its_test(sites: tuple[Site, ...]) -> None:
    """Its function has another name, or its module another room; the test itself shows whether that is right."""
    old = {("another.place", sites[2].message): HERE, ("another.place", "another message"): HERE}
    assert write_page(sites, old, {}).count(f"`{HERE}`") == 1


COMMAND = "pytest -p no:xdist --write-messages tests/test_messages.py, and the tests that bring the error about"
HERE = "tests/test_messages.py::test_a_test_is_chosen"


@pytest.mark.parametrize(
    ("old", "by", "ran", "chosen"),
    [
        ("b", {"a", "b"}, {"a", "b"}, "b"),
        ("b", {"a", "long"}, {"a", "b"}, "a"),
        ("", {"a[x]", "long"}, set(), "long"),
        ("", {"heavy", "light"}, set(), "light"),
        (HERE, set(), set(), HERE),
        (HERE, set(), {HERE}, ""),
        ("tests/test_messages.py::test_gone", set(), set(), ""),
    ],
    ids=["still serves", "serves no more", "no parameters", "few errors", "did not run", "ran without it", "is gone"],
)
def test_a_test_is_chosen(old: str, by: set[str], ran: set[str], chosen: str) -> None:
    """The named one stays as long as it may; else the plainest."""
    assert choose_test(old, by, ran, {"heavy": 9} | dict.fromkeys({*by, *ran} - {"heavy"}, 1)) == chosen


def test_tests_are_found_by_name() -> None:
    """By file and function, with parameters or without."""
    assert has_test(f"{HERE}[x-y]")
    assert not has_test("tests/test_messages.py::test_tests_are")
    assert not has_test("tests/test_nothing.py::test_a")


def test_a_run_notes_who_made_an_error() -> None:
    """The place is the line outside the errors' own constructors; one made by a test is none of ours."""
    recorder = Recorder()
    UsageError("made here")
    assert recorder.finish("a") == set()
    site = next(site for site in read_sites() if site.place == "settings.load")
    recorder.made.add((str(site.path), site.lines[1]))
    assert recorder.finish("b") == {site.identity}


def test_the_page_has_every_error_and_a_test_for_each(pytestconfig: pytest.Config) -> None:
    """Whoever adds or changes one writes the page anew, as it says, and with a test that brings the error about."""
    if pytestconfig.getoption("--write-messages"):
        return  # the page is written when this run ends
    page = read_page()
    assert page.keys() == {site.identity for site in read_sites()}, f"run {COMMAND}"
    lacking = [identity for identity, test in page.items() if not test or not has_test(test)]
    assert lacking == [], f"write a test for each, then run {COMMAND}"
