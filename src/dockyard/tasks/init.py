"""`dockyard init`: look at a project, write what is missing to ship it, and say what was found and why."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import UsageError
from dockyard.tasks.boundary import parse_number, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockyard.adopt.model import Finding, Project
    from dockyard.adopt.writing import Change

WORDS = {
    "create": "written",
    "append": "lines added",
    "update": "written anew",
    "same": "as it is",
    "keep": "yours, kept: --diff shows ours",
}
PLANNED = {**WORDS, "create": "would be written", "append": "would get lines", "update": "would be written anew"}


@task(
    help={
        "app": "the application, MODULE:OBJECT or 'MODULE:FACTORY()', or a command that serves by itself",
        "python": "the Python to ship on, such as 3.13",
        "server": "gunicorn, uvicorn, granian, hypercorn or waitress",
        "image": "the image's name",
        "health": "the path of a route that answers without a login",
        "port": "the port that the service listens on inside its container (default: 8000)",
        "env": "a variable of the service, NAME=VALUE: a line of .env, which nobody commits",
        "writable": "a folder of the image that the service writes, such as /app/uploads: it gets a volume",
        "apt": "a Debian package that the service needs when it runs: a line of Aptfile",
        "ci": "write a workflow for GitHub Actions too: locks, build, verify, tests",
        "dry_run": "show what was found and would be written; write nothing",
        "diff": "show every line that is or would be written",
    },
)
def init(
    app: str = "",
    python: str = "",
    server: str = "",
    image: str = "",
    health: str = "",
    port: str = "",
    env: list[str] | None = None,
    apt: list[str] | None = None,
    writable: list[str] | None = None,
    ci: bool = False,
    dry_run: bool = False,
    diff: bool = False,
    json: bool = False,
) -> None:
    """Detect what this project's web service needs, and write the files that are missing to ship it."""
    from dockyard.adopt import writing
    from dockyard.adopt.compose_files import foreign_stack
    from dockyard.adopt.detection import detect
    from dockyard.adopt.files import render
    from dockyard.adopt.model import Overrides
    from dockyard.adopt.snapshot import read_snapshot

    parse_number(port, "--port", 65535)
    root = Path.cwd()
    if ci:
        require_top(root)
    told = read_snapshot(root)
    snapshot = told.with_lines("Aptfile", apt or ())
    folders = check_each(writable, "--writable", r"/.*[^/].*", "folder of the image", "/app/uploads")
    given = Overrides(app, python, server, image, health, port, tuple(path.rstrip("/") for path in folders))
    project = detect(snapshot, given)
    # What init once wrote and nobody has changed since is written anew where the answers are others now.
    unanswered = project if told is snapshot and given == Overrides() else None
    before = (unanswered or detect(told, Overrides())) if told.settings else None
    files = render(project, snapshot, workflow=ci, before=before)
    variables = check_each(env, "--env", r"[A-Za-z_]\w*=.+", "variable with a value", "CURRENCY=EUR")
    answers = {".env": variables, "Aptfile": tuple(apt or ())}
    present = writing.read_present(root, (*files, *answers), told)
    files |= {path: writing.add_lines(present.get(path, ""), lines) for path, lines in answers.items() if lines}
    changes = writing.plan_changes(files, present, render(before, told, workflow=ci) if before else {})
    if not dry_run:
        writing.write_changes(root, changes)
    if json:
        console.as_json(as_json(project, changes, written=not dry_run))
        return
    show(project, changes, written=not dry_run)
    if diff:
        print("".join(writing.differences(changes)), end="")
    stack = foreign_stack(snapshot.texts)
    if stack and not any(".production.y" in path for path in files):
        console.log.warning(
            f"{stack} is yours, and builds no service from this folder: give one `build: .`, then run this again"
        )
    advise(project, changes, present.get(".env", "") + files.get(".env", ""), written=not dry_run)


def check_each(said: "Sequence[str] | None", option: str, pattern: str, wanted: str, example: str) -> tuple[str, ...]:
    """Return what an option was given; raise UsageError where a pattern does not fit."""
    for one in said or ():
        if not re.fullmatch(pattern, one):
            raise UsageError(f"{option} {one} is no {wanted}", f"such as {option} {example}")
    return tuple(said or ())


def require_top(root: Path) -> None:
    """Raise UsageError where a workflow would lie in a folder of a repository, where nothing reads it."""
    if (root / ".git").exists():
        return
    top = next((folder for folder in root.parents if (folder / ".git").exists()), None)
    if top:
        raise UsageError(
            f"--ci: workflows are read at the top of a repository alone, which is {top}",
            f"leave it out, and run dockyard in a workflow there with working-directory: {root.relative_to(top)}",
        )


def show(project: "Project", changes: "Sequence[Change]", *, written: bool) -> None:
    """Print what was found, and what became of each file."""
    from dockyard.adopt.model import NONE, findings

    screen = console.make_console(sys.stdout)
    console.table(*arrange(findings(project), screen.width))
    absent = ", ".join(f"{one.what} ({one.option})" for one in findings(project) if one.value == NONE)
    if absent:
        screen.print(f"Not found, and where you say otherwise: {absent}.", markup=False)
    words = WORDS if written else PLANNED
    console.table(
        ("file", "", "lines"),
        [(change.path, words[change.action], str(change.lines or "")) for change in changes],
        right=("lines",),
    )


def arrange(found: "Sequence[Finding]", width: int) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows that show what is there (pure).

    Two long columns on a narrow terminal would break most words: there a finding's source stands below it.
    """
    from dockyard.adopt.model import NONE

    rows = [
        [one.what, one.value, one.source + (f"; or {', '.join(one.others)}" if one.others else ""), one.option]
        for one in found
        if one.value != NONE
    ]
    if width >= console.NARROWEST:
        return ["what", "found", "from", "otherwise"], rows
    narrow = [[what, f"{value}\nfrom {source}", option] for what, value, source, option in rows]
    return ["what", "found", "otherwise"], narrow


def advise(project: "Project", changes: "Sequence[Change]", environment: str, *, written: bool) -> None:
    """Say what to do next; `environment` is the text of .env, whose variables have a value."""
    from dockyard.adopt.commands import variables
    from dockyard.adopt.values import without_value

    given = variables(environment)
    for variable in without_value(project):
        if given.get(variable.name):
            continue
        console.log.warning(f"{variable.name} has no value ({variable.where} needs one): give it one in .env")
    if said := warn_of_base(project.python.value, project.python.others):
        console.log.warning(said)
    if asks := project.version.value.asks_git:
        console.log.warning(
            f"{asks} starts git, which no image has: let it read PROJECT_VERSION from the environment first"
        )
    if not any(change.writes for change in changes):
        console.log.info("nothing is missing")
    console.log.info("next: invoke up --production" if written else "nothing is written: invoke init does it")


def warn_of_base(python: str, others: "Sequence[str]") -> str:
    """Return what to say of a Python that only a registry has a base image of; empty where one has answered of late."""
    from dockyard.bases.lookup import recall_answers
    from dockyard.bases.recipe import RELEASES

    known = recall_answers().get(f"python:{python}-slim")
    if python in RELEASES or (known and known.digest):
        return ""
    instead = next((other for other in others if other in RELEASES), "")
    way = f"--python {instead}" if instead else f"--python {' or '.join(RELEASES)}, if the project allows it"
    return f"Debian has no Python {python}: where no registry has its base image, say {way}"


def as_json(project: "Project", changes: "Sequence[Change]", *, written: bool) -> dict[str, Any]:
    """Return what `--json` prints."""
    from dockyard.adopt.model import findings
    from dockyard.adopt.values import without_value

    return {
        "written": written,
        "findings": findings(project),
        "files": [{"path": one.path, "action": one.action, "lines": one.lines} for one in changes],
        "needs_a_value": [one.name for one in without_value(project)],
    }
