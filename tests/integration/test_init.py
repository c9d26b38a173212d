"""From clone to a healthy container in three commands: sample projects, and Dockyard installed from its wheel."""

import json
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from dockyard.process import Command, Completed, capture
from tests.integration.checkout import CONFIGURATION, ROOT, committed

SAMPLES = ROOT / "tests" / "samples"
Run = Callable[..., Completed]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment that holds nothing but Dockyard, from its wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    capture(Command((sys.executable, "-m", *wheel)))
    capture(Command((sys.executable, "-m", "venv", str(folder / "venv"))))
    programs = folder / "venv" / "bin"
    capture(Command((str(programs / "python"), "-m", "pip", "install", "--quiet", *map(str, folder.glob("*.whl")))))
    return programs


@pytest.fixture
def run(installed: Path, tmp_path: Path, unique: str) -> Iterator[Run]:
    """Return a function that runs a program of Dockyard's in the project; its stack is taken down at the end."""

    def run(program: str, *words: str) -> Completed:
        return capture(Command((str(installed / program), *words), cwd=tmp_path / unique, env=CONFIGURATION))

    yield run
    run("dockyard", "down", "--volumes")


def page(port: int, **fields: str) -> str:
    """Return what the service's first page says; fields are posted to it."""
    data = urlencode(fields).encode() or None
    with urlopen(f"http://127.0.0.1:{port}/", data, timeout=10) as answer:
        return str(answer.read().decode())


class Story(NamedTuple):
    """A sample, what is posted to it, and what it shows then, also after a restart."""

    sample: str
    kept: str
    posted: dict[str, str]


@pytest.mark.parametrize(
    "story",
    [
        Story("single", "Good morning", {}),
        Story("factory", "buy milk", {"text": "buy milk"}),
        Story("django", "Walden", {"title": "Walden"}),
        Story("variables", "help@example.com", {}),
        Story("postgres", "Ada", {"name": "Ada"}),
        Story("own_compose", "Ada", {"name": "Ada"}),
    ],
    ids=lambda story: story.sample,
)
def test_three_commands(story: Story, run: Run, tmp_path: Path, unique: str) -> None:
    """A project that knows nothing of containers answers, keeps its data, passes the policy and its own tests."""
    shutil.copytree(SAMPLES / story.sample, tmp_path / unique)
    committed(tmp_path / unique)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])

    run("dockyard", "init", "--image", unique)
    run("dockyard", "up", "--production", "--port", str(port))

    if story.posted:
        page(port, **story.posted)
    run("dockyard", "restart")
    assert story.kept in page(port)

    run("dockyard", "verify")  # it ends with an error where a rule is broken
    assert re.search(r"3\.13 +passed +1 +0 +0 ", run("nox", "-s", "tests").stdout)

    again = json.loads(run("dockyard", "init", "--image", unique, "--json").stdout)
    assert {file["action"] for file in again["files"]} == {"same"}
