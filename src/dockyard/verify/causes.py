"""Say why a service did not come up, by what it and the engine said (pure)."""

import re
from collections.abc import Callable
from typing import NamedTuple

from dockyard.engine.inside import PAYLOAD
from dockyard.verify.model import Trial

LEFT_OUT = {"tkinter", "_tkinter", "idlelib", "turtledemo", "turtle", "ensurepip", "pip", "test"}
"""What the minimal image leaves out of the standard library, see payload/layers.py."""


class Cause(NamedTuple):
    """Why something failed, what to do about it, and the path that it is about, each empty where it is unknown.

    `wanted` is the file that would mend it: its path, or its name alone.
    """

    what: str = ""
    hint: str = ""
    path: str = ""
    wanted: str = ""


def diagnose(trial: Trial) -> Cause:
    """Return the cause, and where the base image has the file that is missing, how to keep it."""
    cause = _cause(trial)
    if not cause.wanted or not trial.in_base:
        return cause
    paths = ", ".join(f'"{path}"' for path in trial.in_base)
    hint = f"the base image has it, but nothing showed that it is needed: keep = [{paths}] in [tool.dockyard]"
    return cause._replace(hint=hint)


def _cause(trial: Trial) -> Cause:
    """Return the cause that the log, the health check's output or the engine's refusal gives away."""
    said = "\n".join((*trial.log, trial.health_output, trial.refused))
    for form, explain in SIGNS:
        found = form.search(said)
        if found:
            return explain(*found.groups())
    return Cause()


def debian_package(library: str) -> str:
    """Return the Debian package that usually holds a shared library, by the table that builds use too, or nothing."""
    for row in (PAYLOAD / "debian-packages.txt").read_text("utf-8").splitlines():
        pattern, _, package = row.partition(" ")
        found = re.fullmatch(pattern, library)
        if found:
            return found.expand(package.strip()).lower().replace("_", "-")
    return ""


def _library(name: str) -> Cause:
    package = debian_package(name)
    install = (
        f"install the Debian package that has it, usually {package}, in the base stage"
        if package
        else "install the package that holds it in the base stage"
    )
    scan = "if it is opened by name, which no scan sees, add it to keep in [tool.dockyard] as well"
    return Cause(f"the shared library {name} is missing", f"{install}; {scan}", "", name)


def _module(name: str) -> Cause:
    if name.partition(".")[0] in LEFT_OUT:
        return Cause(
            f"it imports {name}, which the minimal image leaves out",
            "do without it, or add its path in the base image to keep in [tool.dockyard]",
            "",
            name.partition(".")[0],
        )
    hint = (
        "add its distribution to requirements/production.in and run `invoke lock`, or copy the module, if it is yours"
    )
    return Cause(f"it does not import: there is no module {name}", hint)


def _data(path: str) -> Cause:
    return Cause(
        f"the file {path} is missing",
        f"copy {path} into the final stage, or install its package in the base stage and add it to keep in "
        "[tool.dockyard]: a minimal image holds only what was found to be needed",
        path,
        path,
    )


def _program(name: str) -> Cause:
    return Cause(
        f"it calls the program {name}, which the image has not",
        "a minimal image has no shell or tools: do it in Python, or add the program's path to keep in [tool.dockyard]",
        "",
        name,
    )


def _executable(name: str) -> Cause:
    return Cause(f"there is no program {name} on PATH", "is its distribution in the lock, and is CMD a list?")


def _read_only(path: str) -> Cause:
    hint = "write below /tmp, or give its folder a volume in production and name it in trial-tmpfs of [tool.dockyard]"
    return Cause(f"it writes {path}", hint, path)


def _denied(path: str) -> Cause:
    return Cause(
        f"user 65532 may not use {path}",
        "give it the right mode or owner where it is copied: COPY --chown=65532:65532",
        path,
    )


def _variable(name: str) -> Cause:
    return Cause(
        f"the environment variable {name} is not set",
        f'give the trial one: trial-environment = {{ {name} = "…" }} in [tool.dockyard]',
    )


def _attribute(name: str, module: str) -> Cause:
    return Cause(
        f"it does not import: {module} has no {name}",
        "correct the application's name in CMD, and app in [tool.dockyard]",
    )


def _import(message: str) -> Cause:
    return Cause(
        f"it does not import: {message}",
        "it imports on the host? then compare the versions: `invoke lock` pins what the image has",
    )


def _syntax(message: str) -> Cause:
    return Cause(f"it does not import: SyntaxError: {message}", "is it written for this Python?")


def _zone(name: str) -> Cause:
    return Cause(
        f"the time zone {name} is missing",
        f"copy /usr/share/zoneinfo/{name}, or add tzdata to requirements/production.in",
        f"/usr/share/zoneinfo/{name}",
    )


def _locale() -> Cause:
    return Cause(
        "it asks for a locale that the image has not",
        "use C.UTF-8, or make the locale in the base stage and add /usr/lib/locale to keep in [tool.dockyard]",
    )


def _service() -> Cause:
    return Cause(
        "it reaches for a service that is not there",
        "name it in trial-services of [tool.dockyard], and its address in trial-environment; trial-release migrates",
    )


UNREACHABLE = re.compile(
    r"(?i:connection refused)|name resolution|Name or service not known|could not translate host name"
)

SIGNS: tuple[tuple[re.Pattern[str], Callable[..., Cause]], ...] = (
    (re.compile(r"(lib[\w+.-]+\.so(?:\.[0-9]+)*): cannot open shared object file"), _library),
    (re.compile(r"exec: \\*\"([^\"\\]+)\\*\": (?:executable file not found|stat .*no such file)"), _executable),
    (re.compile(r"No module named '([\w.]+)'"), _module),
    (re.compile(r"No module named ([\w.]+)"), _module),
    (re.compile(r"No time zone found with key ([\w+/-]+)"), _zone),
    (re.compile(r"unsupported locale setting"), _locale),
    (re.compile(r"Read-only file system: \\*'(/[^']+?)\\*'"), _read_only),
    (re.compile(r"\[Errno 13\] Permission denied: \\*'(/[^']+?)\\*'"), _denied),
    (re.compile(r"No such file or directory: \\*'(/[^']+?)\\*'"), _data),
    (re.compile(r"No such file or directory: \\*'([\w.-]+)\\*'"), _program),
    (re.compile(r"Failed to find attribute '(\w+)' in '([\w.]+)'"), _attribute),
    (re.compile(r"SyntaxError: ([^\n\\]+)"), _syntax),
    (re.compile(r"ImportError: ([^\n\\]+)"), _import),
    (re.compile(r"KeyError: \\*['\"]([A-Z][A-Z0-9_]+)"), _variable),
    (UNREACHABLE, _service),
)
"""What a log says, most telling first, and what it means; backslashes stand before quotes in logs that are JSON."""
