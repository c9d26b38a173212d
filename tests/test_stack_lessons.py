"""What the last lines of a failing service give away, and the edit that mends it."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from dockyard.stack.compose import find_lesson, read_lessons
from dockyard.tasks import namespace

LESSONS = read_lessons()
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "lessons.md"
FILES = {
    ".env",
    ".dockerignore",
    "Dockerfile",
    "Procfile",
    "compose.production.yaml",
    "requirements/production.in",
    "[tool.dockyard]",
}
EXAMPLES = [pytest.param(one, text, id=text[:50]) for one in LESSONS for text in one["examples"]]


@pytest.mark.parametrize(("lesson", "example"), EXAMPLES)
@pytest.mark.parametrize(
    "form", ["{}", "Traceback (most recent call last):\n{}\n[INFO] Reason: Worker failed to boot."]
)
def test_every_example_teaches_its_own_lesson(lesson: dict[str, Any], example: str, form: str) -> None:
    """None before it takes it away, wherever in the log it stands, and no blank stays open."""
    found = find_lesson(form.format(example))
    assert found
    assert found.says == lesson["says"], found.says
    assert not re.search(r"[{}]|:$|  ", f"{found.cause}\n{found.edit}", re.MULTILINE)


@pytest.mark.parametrize("lesson", LESSONS, ids=[one["cause"] for one in LESSONS])
def test_every_lesson_names_the_edit(lesson: dict[str, Any]) -> None:
    """An option of `dockyard init` that exists, or a file that it writes; and nothing that would break the table."""
    options = {name.replace("_", "-") for name in inspect.signature(namespace["init"].body).parameters}
    said = set(re.findall(r"dockyard init --([\w-]+)", lesson["edit"]))
    assert said <= options
    assert said or any(file in lesson["edit"] for file in FILES) or "dockyard down --volumes" in lesson["edit"]
    assert "|" not in lesson["cause"] + lesson["edit"] + "".join(lesson["examples"])


@pytest.mark.parametrize(
    ("line", "cause", "edit"),
    [
        ("KeyError: 'SECRET_KEY'", "SECRET_KEY is not set", "--env SECRET_KEY=…"),
        ('{"error": "No module named \\\'redis.client\\\'"}', "no module redis.client", "requirements/production.in"),
        ("ImportError: libmagic.so.1: cannot open shared object file: No such file", "libmagic.so.1", "--apt PACKAGE"),
        ("OSError: [Errno 30] Read-only file system: '/app/uploads'", "writes /app/uploads", "/app/uploads itself"),
        ("SecurityError: Host 'localhost:8000' is not trusted.", "host name localhost", "add localhost to ALLOWED"),
        ("TypeError: create_app() missing 1 required positional argument: 'config'", "create_app must be given 'con",
         "\"MODULE:create_app('production')\""),
    ],
)  # fmt: skip
def test_what_is_filled_in(line: str, cause: str, edit: str) -> None:
    """The cause and the edit name what the log names."""
    lesson = find_lesson(line)
    assert lesson
    assert cause in lesson.cause
    assert edit in lesson.edit


@pytest.mark.parametrize("said", ["Listening at: http://0.0.0.0:8000\nKeyError: 'name'", "", "ValueError: x"])
def test_what_tells_nothing(said: str) -> None:
    """No cause is invented."""
    assert find_lesson(said) is None


def test_the_page_has_every_lesson() -> None:
    """Its table is what the program says; `python -m tests.test_stack_lessons` writes it anew."""
    assert PAGE.read_text("utf-8").endswith(render_table())


def render_table() -> str:
    """Return the table of the page: an example of each lesson, and what is said of it."""
    rows = ["| its log says | so | what to do |", "| --- | --- | --- |"]
    for one in LESSONS:
        example = one["examples"][0]
        found = find_lesson(example)
        assert found
        rows.append(f"| `{' '.join(example.split())}` | {found.cause} | {found.edit} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text("utf-8").partition("| its log says")[0] + render_table(), "utf-8")
