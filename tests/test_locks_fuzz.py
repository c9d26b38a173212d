"""Random and hostile edits of inputs, locks and settings: a result or a clear error, and never another lock unseen.

`--edits` says how many of each kind to try; DOCKYARD_SEED repeats a run.
"""

import os
import random
from pathlib import Path

import pytest
from pip._internal.req.req_file import preprocess

from dockyard.errors import DockyardError
from dockyard.locks.check import (
    check_project,
    inspect_locks,
)
from dockyard.locks.indexes import read_access
from dockyard.locks.pins import parse_pins
from dockyard.locks.plan import Wish, finish_locks, plan_batches
from dockyard.settings import Settings
from tests.lock_project import COMPILED, compiled_here, locked_project, write_inputs

SEED = int(os.environ.get("DOCKYARD_SEED", "20"))

HASH = f"--hash=sha256:{'5a' * 32}"
INPUT = f"""\
# what the shop needs
--index-url https://${{USER}}:${{TOKEN}}@host/simple
flask[async]>=3,<4 ; python_version >= "3.9"
six==1.16.0 {HASH}
pyinotify; sys_platform == "linux" and platform_machine != "aarch64"
name @ https://host/name-1.0.tar.gz
urllib3 \\
    >= 2
"""
PYPROJECT = """\
[tool.dockyard]
app = "shop:app"
image = "shop"
pythons = ["3.12", "3.13"]
platforms = ["linux/amd64", "linux/arm64"]
resolver = "pip-tools"
hashes = "all"
"""
REQUIREMENTS = (
    *("-r base.in", "-c test.in", "-e .", "git+ssh://git@host/a", "./a.whl", "a @ file:///a.zip", "--hash=sha256:"),
    *(HASH, "; os_name == 'nt'", "; extra == 'x'", "; python_version ~= 'x'", ";", "[", "]", "(", "==", "===", "~="),
    *(",", "@", "${TOKEN}", "${"),
)
SPACES = (
    "\\\n",
    "\\",
    "\n",
    "\r",
    "\r\n",
    "\x00",
    "\x0c",
    "\x1c",
    "\u2028",
    "\u00a0",
    "\ufeff",
    "#",
    " # ",
    "\x1b[31m",
)
SETTINGS = (
    "'",
    '"',
    '"""',
    "[tool.dockyard]",
    "= [",
    "true",
    "-1",
    "1e999",
    "pythons = []",
    "3.99",
    "\ud83d\ude80",
    "é",
)
LOCKS = (
    "<<<<<<< ours\n",
    "=======\n",
    "# body: sha256:0",
    "# for: ",
    "/" * 300,
    "(" * 200,
    "a" * 5000,
    "%s",
    "{0}",
    "\x1b[31m",
)
WORDS = (*REQUIREMENTS, *SPACES, *SETTINGS, *LOCKS)


def edit(text: str, rng: random.Random) -> str:
    """Return a text after a few edits: words put in, stretches taken out, doubled, swapped, or a character changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + rng.choice((1, 3, 20, 200)))
        piece = text[at:end]
        text = rng.choice(
            (
                text[:at] + rng.choice(WORDS) + text[at:],
                text[:at] + text[end:],
                text[:at] + piece + piece + text[end:],
                text[:at] + piece[::-1] + text[end:],
                text[:at] + chr(rng.randrange(1, 0x300)) + text[at + 1 :],
                text[:at] + piece.swapcase() + text[end:],
            )
        )
    return text


def pips(text: str) -> list[str]:
    """Return the lines of a file as pip takes them."""
    return [" ".join(line.split()) for _, line in preprocess(text) if line.strip()]


def write(path: Path, text: str, rng: random.Random) -> None:
    """Write a text, now and then with bytes that are none."""
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(content if rng.random() < 0.97 else content[: rng.randrange(len(content) + 1)] + b"\xff\xfe\x80")


@pytest.fixture
def project(settings: Settings) -> Settings:
    """Return a locked project with an input of every form."""
    made = locked_project(settings)
    write_inputs(made.root, {"base": INPUT})
    (made.root / "pyproject.toml").write_text(PYPROJECT)
    return made


def test_random_edits_of_an_input_give_locks_or_an_error(project: Settings, edits: int) -> None:
    """From the check to the lock as it is written: a result or an error with a place and a way out."""
    rng, place = random.Random(SEED), project.root / "requirements/base.in"
    environment = {"USER": "me", "TOKEN": "hush", "HOME": str(project.root)}
    for number in range(edits):
        text = edit(INPUT, rng)
        write(place, text, rng)
        told = None
        try:
            check_project(project)
            state = inspect_locks(project)
            for batch in plan_batches(state, Wish(everything=True)):
                read_access([file for job in batch.jobs for file in job.lock.inputs], "", environment)
                finish_locks(batch, compiled_here(COMPILED))
        except DockyardError as error:
            told = error
        except Exception as error:
            raise AssertionError(f"edit {number} of seed {SEED}: {text!r}") from error
        assert told is None or (told.message and told.hint and "hush" not in told.message), (SEED, number, told)


def test_random_edits_of_a_lock_are_found_or_say_the_same(settings: Settings, edits: int) -> None:
    """A lock that passes the check is to pip what it was."""
    project, rng = locked_project(settings), random.Random(SEED)
    place = project.root / "requirements/3.13/production.txt"
    before = place.read_text(encoding="utf-8")
    for number in range(edits):
        text = edit(before, rng)
        write(place, text, rng)
        try:
            problems = check_project(project)
            parse_pins(text)
        except Exception as error:
            raise AssertionError(f"edit {number} of seed {SEED}: {text!r}") from error
        if not problems:
            read = place.read_bytes().decode("utf-8-sig")
            assert pips(read) == pips(before), (SEED, number)
