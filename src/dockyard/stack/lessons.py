"""Say what a service that does not come up lacks, by the end of its log, and the one edit that mends it (pure)."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Lesson(NamedTuple):
    """What is wrong, and where to write what."""

    cause: str
    edit: str


def explain_log(lines: Iterable[str]) -> Lesson | None:
    """Return what a log gives away, or None where it tells nothing that is known."""
    text = "\n".join(lines)
    for form, explain in SIGNS:
        found = form.search(text)
        if found:
            return explain(*found.groups())
    return None


def _variable(name: str) -> Lesson:
    return Lesson(f"the environment variable {name} is not set", f"write {name}=… into .env")


def _fields(name: str) -> Lesson:
    return _variable(name.upper())


def _module(name: str) -> Lesson:
    edit = (
        "write its distribution into requirements/production.in and lock; is it yours, give it a COPY in the Dockerfile"
    )
    return Lesson(f"there is no module {name} in the image", edit)


def _table(name: str) -> Lesson:
    edit = "say in Procfile what makes the tables, such as `release: flask db upgrade`, then `dockyard init --diff`"
    return Lesson(f"the database has no table {name}", edit)


def _library(name: str) -> Lesson:
    edit = "write the Debian package that holds it into Aptfile, then `dockyard init --diff`"
    return Lesson(f"the shared library {name} is missing", edit)


def _folder(path: str) -> Lesson:
    edit = f"give {path} --writable in the stage runtime of the Dockerfile, and a volume in compose.production.yaml"
    return Lesson(f"it may not write {path}", edit)


def _host(name: str) -> Lesson:
    return Lesson(
        f"it refuses the host name {name}", f"add {name} to ALLOWED_HOSTS or TRUSTED_HOSTS of the application"
    )


def _attribute(name: str, module: str) -> Lesson:
    edit = "correct CMD in the Dockerfile and app in pyproject.toml, or `dockyard init --app MODULE:OBJECT`"
    return Lesson(f"the module {module} has no {name}", edit)


SIGNS: tuple[tuple[re.Pattern[str], Callable[..., Lesson]], ...] = (
    (re.compile(r"(lib[\w+.-]+\.so(?:\.[0-9]+)*): cannot open shared object file"), _library),
    (re.compile(r"No module named \\*'?([\w.]+)"), _module),
    (re.compile(r"(?:Read-only file system|Permission denied): \\*'(/[^'\\]+)"), _folder),
    (re.compile(r"KeyError: \\*['\"]([A-Z][A-Z0-9_]+)"), _variable),
    (re.compile(r"UndefinedValueError: (\w+) not found"), _variable),
    (re.compile(r"(?i:environment) variable \"?(\w+)\"? (?:not|is not) set"), _variable),
    (re.compile(r"validation errors? for \w+\n(\w+)\n\s+Field required"), _fields),
    (re.compile(r"no such table: ([\w.]+)"), _table),
    (re.compile(r"relation \"([\w.]+)\" does not exist"), _table),
    (re.compile(r"Table '([\w.]+)' doesn't exist"), _table),
    (re.compile(r"Invalid HTTP_HOST header: '([\w.-]+)"), _host),
    (re.compile(r"Host '([\w.-]+)(?::\d+)?' is not trusted"), _host),
    (re.compile(r"Failed to find attribute '(\w+)' in '([\w.]+)'"), _attribute),
    (re.compile(r"Attribute \"(\w+)\" not found in module \"([\w.]+)\""), _attribute),
)
"""What a log says, most telling first; backslashes stand before quotes in logs that are JSON."""
