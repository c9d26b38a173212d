"""The page of what init detects, held to the program: a section for each thing, whose example is found so."""

import inspect
import re
from pathlib import Path

import pytest

from dockyard.adopt.detection import detect
from dockyard.adopt.model import Finding, Overrides, findings
from dockyard.adopt.snapshot import Snapshot
from dockyard.tasks import namespace

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "detection.md"
APP = "from flask import Flask\n\napp = Flask(__name__)\n"
BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def found_in(files: dict[str, str]) -> dict[str, Finding]:
    """Return what is found in a project of some files, which has a Flask app where none is among them."""
    usual = {} if any(path.endswith(".py") and "/" not in path for path in files) else {"app.py": APP}
    usual |= {} if "pyproject.toml" in files else {"requirements.txt": "flask\n"}
    files = {**usual, **files}
    return {one.what: one for one in findings(detect(Snapshot("shop", frozenset(files), files), Overrides()))}


def read_sections() -> dict[str, str]:
    """Return the sections of the page by their headings."""
    part = PAGE.read_text("utf-8").partition("\n## What is looked at\n")[2].partition("\n## ")[0]
    return dict(section.split("\n", 1) for section in part.split("\n### ")[1:])


SECTIONS = read_sections()


def test_each_thing_has_its_section() -> None:
    """In the order in which init shows them, and no other."""
    assert list(SECTIONS) == list(found_in({}))


def test_every_option_is_named() -> None:
    """What a person may say, and what init is asked to show."""
    options = inspect.signature(namespace["init"].body).parameters.keys() - {"_context"}
    assert {f"--{name.replace('_', '-')}" for name in options} <= set(re.findall(r"--[a-z-]+", PAGE.read_text("utf-8")))


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_is_found_as_it_says(name: str) -> None:
    """The files give the row that stands below them, and the section names what the row's last cell names."""
    *blocks, shown = BLOCK.findall(SECTIONS[name])
    files = {path[2:]: text for path, text in (block.split("\n", 1) for block in blocks)}
    found = found_in(files)[name]
    assert shown.strip().split("   ") == [found.what, found.value, found.source, found.option]
    assert found.option.split()[0] in SECTIONS[name].partition("```")[0]
