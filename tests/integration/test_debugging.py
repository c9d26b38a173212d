"""Debuggers in real containers: attached from outside where Python allows it, at the terminal where it does not."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dockyard.bases import resolve
from dockyard.engine.client import Engine
from dockyard.process import Command, capture
from dockyard.settings import Settings
from dockyard.stack import shell
from dockyard.stack.stack import Stack

COUNTING = """\
import time

def tick(number):
    breakpoint() if number == {stop} else time.sleep(0.05)
    return number + 1

number = 0
while number != 1_000_000:
    number = tick(number)
"""


def counting(project: Settings, engine: Engine, name: str, python: str, root: Path, *, stop: int) -> Stack:
    """Start a stack of one service that counts on a Python, and stops at a number for a debugger."""
    found, missing = resolve.ensure_bases(project._replace(pythons=(python,), python=python), engine, (python,))
    if missing:
        pytest.skip(f"no base image: {missing[0].reason}")
    image = f"{name}:development"
    context = f"--build-context={found[0].reference}={found[0].context}"
    (root / "count.py").write_text(COUNTING.format(stop=stop))
    (root / "Dockerfile").write_text(f"FROM {found[0].reference}\nCOPY count.py /\nUSER 65532:65532\n")
    build = ("buildx", "build", "--load", "--provenance=false", context, f"--tag={image}", str(root))
    capture(engine.command(*build))
    service = {"image": image, "init": True, "command": ["python", "/count.py"], "stop_grace_period": "1s"}
    (root / "compose.yaml").write_text(json.dumps({"services": {"web": service}}))
    (root / "Dockerfile").write_text("FROM scratch AS development\n")
    settings = Settings(root=root, app="shop:app", image=name, stack=name, pythons=(python,), python=python)
    stack = Stack(settings, engine, ("compose.yaml",))
    capture(stack.by_files("up", "--detach"))
    return stack


def test_a_running_process_is_attached_to(project: Settings, engine: Engine, unique: str, tmp_path: Path) -> None:
    """The debugger sees the variables of a process that nobody prepared for it, and lets it go on."""
    stack = counting(project, engine, unique, "3.14", tmp_path, stop=-1)
    before = [one.id for one in stack.containers()]
    command = shell.debug_service(stack, "", None, terminal=False)
    assert command
    for _ in range(2):
        words = b"up\nup\nup\np 'counted', number > 0\nq\n"
        done = capture(replace(command, input=words, timeout=60), check=False)
        assert "('counted', True)" in done.stdout, done.stdout + done.stderr
    assert [one.id for one in stack.containers() if one.running] == before
    capture(stack.by_name("down"))


def test_an_older_python_stops_at_a_breakpoint(project: Settings, engine: Engine, unique: str, tmp_path: Path) -> None:
    """The service runs where the debugger can be talked to, and by itself again after that."""
    if tuple(map(int, project.python.split("."))) >= shell.FIRST_TO_ATTACH:
        pytest.skip("this project's Python can be attached to")
    stack = counting(project, engine, unique, project.python, tmp_path, stop=3)
    before = [one.service for one in stack.containers()]
    talk = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(shell.__file__).parents[2])!r})\n"
        "from pathlib import Path\n"
        "from dockyard.stack import shell\n"
        "from dockyard import console\n"
        "from dockyard.engine.client import Engine\n"
        "from dockyard.settings import Settings\n"
        "from dockyard.stack.stack import Stack\n"
        f"settings = Settings(root=Path({str(tmp_path)!r}), app='shop:app', image={unique!r}, stack={unique!r})\n"
        f"stack = Stack(settings, Engine('host', '', True, 1, {dict(engine.environment)!r}), ('compose.yaml',))\n"
        "console.show_progress()\n"
        "container, = stack.containers()\n"
        "shell.run_in_foreground(stack, container, terminal=False)\n"
    )
    words = b"p 'counted', number\nnumber = 999_999\nc\n"
    done = capture(Command((sys.executable, "-c", talk), input=words, timeout=90), check=False)
    assert "('counted', 3)" in done.stdout, done.stdout + done.stderr
    assert "web runs by itself again" in done.stderr
    assert [one.service for one in stack.containers()] == before
    capture(stack.by_name("down"))
