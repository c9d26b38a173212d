"""Rules on a running container: it starts, answers, is healthy under hardening, stops in time, keeps its budgets."""

import re
from collections.abc import Iterator
from dataclasses import replace

from dockyard import console
from dockyard.engine.inside import PAYLOAD
from dockyard.stack.compose import Lesson, find_lesson
from dockyard.verify.model import Case, Rule, Scope, Severity, Trial, Violation

STOP_SECONDS = 10.0
LAST_LINES = 8
LOOPBACK = ("127.", "[::1]")


def diagnose(trial: Trial) -> Lesson:
    """Return the cause that the log, the health check's output or the engine's refusal gives away, else an empty one.

    Where the base image has the file that is missing, the hint says how to keep it.
    """
    cause = find_lesson("\n".join((*trial.log, trial.health_output, trial.refused))) or Lesson()
    hint = cause.trial or cause.edit
    if cause.wanted and trial.in_base:
        paths = ", ".join(f'"{path}"' for path in trial.in_base)
        hint = f"the base image has it, but nothing showed that it is needed: keep = [{paths}] in [tool.dockyard]"
    elif package := debian_package(cause.wanted):
        hint = hint.replace("the package that holds it", f"the Debian package that has it, usually {package},")
    return replace(cause, edit=hint)


def debian_package(library: str) -> str:
    """Return the Debian package that usually holds a shared library, by the table that builds use too, or nothing."""
    for row in (PAYLOAD / "debian-packages.txt").read_text("utf-8").splitlines():
        pattern, _, package = row.partition(" ")
        found = re.fullmatch(pattern, library)
        if found:
            return found.expand(package.strip()).lower().replace("_", "-")
    return ""


def starts(case: Case) -> Iterator[Violation]:
    """Find a service that ends by itself, and say why: it cannot be executed, does not import, lacks a file."""
    trial = _broken(case)
    if trial is None:
        return
    cause = diagnose(trial)
    if trial.refused:
        yield _told(trial, f"the container cannot be tried: {cause.cause or trial.refused}", cause)
    elif trial.exit_code is not None:
        memory = ": the kernel ended it for lack of memory" if trial.out_of_memory else ""
        yield _told(
            trial, f"the service exits by itself, with status {trial.exit_code}{memory or _because(cause)}", cause
        )


def listens(case: Case) -> Iterator[Violation]:
    """Find a service that runs but does not answer where it should."""
    trial = _broken(case) or case.trial
    if trial is None or trial.refused or trial.exit_code is not None:
        return
    here = [address for address in trial.listening if address.rpartition(":")[2] == str(trial.port)]
    if trial.answer is None and here:
        yield _told(
            trial, f"the service takes connections on port {trial.port}, but gives no answer for {trial.waited:.0f} s"
        )
    elif trial.answer is None and trial.listening:
        where = ", ".join(trial.listening)
        hint = f"make it listen on 0.0.0.0:{trial.port}, or name its port: ports in [tool.dockyard]"
        yield _told(trial, f"the service listens elsewhere: on {where}, not on port {trial.port}", hint=hint)
    elif trial.answer is None:
        yield _told(trial, f"the service runs, but listens nowhere after {trial.waited:.0f} s", diagnose(trial))
    elif here and all(address.startswith(LOOPBACK) for address in here):
        hint = f"make it listen on 0.0.0.0:{trial.port}"
        yield _told(
            trial,
            f"the service listens on {', '.join(here)} only: nobody outside the container can reach it",
            hint=hint,
        )


def healthy(case: Case) -> Iterator[Violation]:
    """Find a health check that is missing, cannot work, or does not pass."""
    test = tuple((case.facts.settings.get("Healthcheck") or {}).get("Test") or ())
    if not test or test[0] == "NONE":
        yield Violation(
            "the image has no health check",
            hint="write a HEALTHCHECK in the final stage; it needs no curl: python -m PACKAGE.probe",
        )
        return
    if test[0] == "CMD-SHELL" and case.facts.resolve("/bin/sh") is None:
        yield Violation(
            "the health check needs a shell, and the image has none",
            hint='write it as a list: HEALTHCHECK CMD ["python", …]',
        )
    trial = _broken(case) or case.trial
    if trial and trial.answer is not None and trial.healthy is False:
        said = trial.health_output.strip().splitlines()
        telling = said[-1 if "Traceback" in trial.health_output else 0][:200] if said else ""
        because = f", it says: {telling}" if telling else ""
        yield _told(trial, f"the service answers, but never gets healthy{because}", diagnose(trial))


def hardened(case: Case) -> Iterator[Violation]:
    """Find a service that works, but not read-only, without capabilities and as the numeric user."""
    trial = case.trial
    if trial and trial.plain and trial.plain.serves:
        cause = diagnose(trial)
        yield _told(
            trial, f"the service works, but not on a read-only root without capabilities{_because(cause)}", cause
        )


def stops(case: Case) -> Iterator[Violation]:
    """Find a service that does not end, or not well, when it is told to."""
    trial = case.trial
    if trial is None or not trial.serves:
        return
    if trial.stop is None:
        hint = "run the server itself as process 1 (CMD as a list, or exec in a script), and shorten its grace time"
        yield Violation(f"the service is still there {STOP_SECONDS:g} s after SIGTERM", hint=hint)
    elif trial.stop_code:
        yield _told(
            trial,
            f"the service ends on SIGTERM with status {trial.stop_code}",
            hint="end with status 0 when told to stop: an orchestrator takes any other for a crash",
        )


def small(case: Case) -> Iterator[Violation]:
    """Compare the size of a pull with its budget."""
    budget, size = case.expected.budgets.size, case.facts.size
    if budget is not None and size > budget:
        largest = max(range(len(case.facts.layers)), key=lambda index: case.facts.layers[index].size)
        of = f"; its largest layer has {console.size(case.facts.layers[largest].size)}"
        yield Violation(
            f"the image has {console.size(size)} to pull, the budget is {console.size(budget)}{of}", "", largest
        )


def quick(case: Case) -> Iterator[Violation]:
    """Compare the time to the first answer with its budget."""
    budget, trial = case.expected.budgets.start, case.trial
    if budget is not None and trial and trial.answer is not None and trial.answer > budget:
        yield Violation(f"the first answer took {trial.answer:.2f} s, the budget is {budget:g} s")


def light(case: Case) -> Iterator[Violation]:
    """Compare the memory of the healthy service with its budget."""
    budget, trial = case.expected.budgets.memory, case.trial
    if budget is None or trial is None or not trial.serves:
        return
    if trial.memory is None:
        yield Violation(
            "the memory could not be measured: this engine tells nothing of it",
            hint="take memory-budget out of [tool.dockyard], or use an engine with cgroups",
        )
    elif trial.memory > budget:
        used, allowed = console.size(trial.memory), console.size(budget)
        yield Violation(f"the service uses {used} of memory when it is healthy, the budget is {allowed}")


def _broken(case: Case) -> Trial | None:
    """Return the trial that shows what is wrong with the service itself: the one without hardening, if there is one."""
    trial = case.trial
    return None if trial is None or trial.serves else trial.plain or trial


def _because(cause: Lesson) -> str:
    return f": {cause.cause}" if cause.cause else ""


def _told(trial: Trial, message: str, cause: Lesson | None = None, hint: str = "") -> Violation:
    """Return a violation with the last lines of the log below its message."""
    because = "" if cause is None or not cause.cause or cause.cause in message else f": {cause.cause}"
    log = "".join(f"\n  | {line}" for line in trial.log[-LAST_LINES:])
    return Violation(
        f"{message}{because}{log}", cause.path if cause else "", None, hint or (cause.edit if cause else "")
    )


RULES = (
    Rule("starts", "the container starts and does not end by itself", starts, "the log above says why", runs=True),
    Rule(
        "listens", "the service answers on its port, from outside too", listens, "the log above may say why", runs=True
    ),
    Rule(
        "health-check",
        "there is a health check, and it passes",
        healthy,
        "`invoke up` starts the service, and `invoke shell` gives a place beside it to run the check by hand",
        runs=True,
    ),
    Rule(
        "hardened",
        "the service works read-only, with no capability or new privilege, as user 65532",
        hardened,
        "give the folders that it writes a volume in production, and name them in trial-tmpfs of [tool.dockyard]",
        runs=True,
    ),
    Rule("stops", "the service ends within 10 s of SIGTERM, with status 0", stops, "handle SIGTERM", runs=True),
    Rule(
        "size-budget",
        "a pull is not larger than the budget",
        small,
        "`invoke inspect` shows which layer has what",
        severity=Severity.WARNING,
        scope=Scope.MINIMAL,
    ),
    Rule(
        "start-budget",
        "the first answer comes within the budget",
        quick,
        "look at what is imported and connected at start",
        severity=Severity.WARNING,
        runs=True,
    ),
    Rule(
        "memory-budget",
        "the healthy service uses no more memory than the budget",
        light,
        "fewer workers, or fewer imports",
        severity=Severity.WARNING,
        runs=True,
    ),
)
