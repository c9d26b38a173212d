"""Rules on a running container: it starts, answers, is healthy under hardening, stops in time, keeps its budgets."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dockyard import console
from dockyard.engine.inside import PAYLOAD
from dockyard.stack.compose import Lesson, find_lesson
from dockyard.verify.model import Case, Scope, Severity, Trial, Violation, rule

STOP_SECONDS = 10.0
LAST_LINES = 8
LOOPBACK = ("127.", "[::1]")


def diagnose(trial: Trial, in_base: Sequence[str] = ()) -> Lesson:
    """Return the cause that the log, the health check's output or the engine's refusal gives away, else an empty one.

    Where the base image has the file that is missing, at the paths `in_base`, the hint says how to keep it.
    """
    cause = find_lesson("\n".join((*trial.log, trial.health_output, trial.refused))) or Lesson()
    hint = cause.trial or cause.edit
    if cause.wanted and in_base:
        paths = ", ".join(f'"{path}"' for path in in_base)
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


@rule("starts", "the log above says why", runs=True)
def starts(case: Case) -> Iterator[Violation]:
    """The container starts and does not end by itself."""
    trial = case.trial.telling
    cause = diagnose(trial, case.expected.in_base)
    if trial.refused:
        yield _told(trial, "the container cannot be tried", replace(cause, cause=cause.cause or trial.refused))
    elif trial.exit_code is not None:
        if trial.out_of_memory:
            cause = replace(cause, cause="the kernel ended it for lack of memory")
        yield _told(trial, f"the service exits by itself, with status {trial.exit_code}", cause)


@rule("listens", "the log above may say why", runs=True)
def listens(case: Case) -> Iterator[Violation]:
    """The service answers on its port, from outside too."""
    trial = case.trial.telling
    if trial.refused or trial.exit_code is not None:
        return
    here = [address for address in trial.listening if address.rpartition(":")[2] == str(trial.port)]
    listen = f"make it listen on 0.0.0.0:{trial.port}"
    if trial.answer is None and here:
        said = f"takes connections on port {trial.port}, but gives no answer for {trial.waited:.0f} s"
        yield _told(trial, f"the service {said}")
    elif trial.answer is None and trial.listening:
        where = ", ".join(trial.listening)
        cause = Lesson(edit=f"{listen}, or name its port: ports in [tool.dockyard]")
        yield _told(trial, f"the service listens elsewhere: on {where}, not on port {trial.port}", cause)
    elif trial.answer is None:
        cause = diagnose(trial, case.expected.in_base)
        yield _told(trial, f"the service runs, but listens nowhere after {trial.waited:.0f} s", cause)
    elif here and all(address.startswith(LOOPBACK) for address in here):
        said = f"listens on {', '.join(here)} only: nobody outside the container can reach it"
        yield _told(trial, f"the service {said}", Lesson(edit=listen))


@rule(
    "health-check",
    "`invoke up` starts the service, and `invoke shell` gives a place beside it to run the check by hand",
    runs=True,
)
def healthy(case: Case) -> Iterator[Violation]:
    """There is a health check, and it passes."""
    test = tuple((case.facts.settings.get("Healthcheck") or {}).get("Test") or ())
    if not test or test[0] == "NONE":
        hint = "write a HEALTHCHECK in the final stage; it needs no curl: python -m PACKAGE.probe"
        yield Violation("the image has no health check", hint=hint)
        return
    if test[0] == "CMD-SHELL" and case.facts.resolve("/bin/sh") is None:
        hint = 'write it as a list: HEALTHCHECK CMD ["python", …]'
        yield Violation("the health check needs a shell, and the image has none", hint=hint)
    trial = case.trial.telling
    if trial.answer is not None and trial.healthy is False:
        said = trial.health_output.strip().splitlines()
        telling = said[-1 if "Traceback" in trial.health_output else 0][:200] if said else ""
        because = f", it says: {telling}" if telling else ""
        cause = diagnose(trial, case.expected.in_base)
        yield _told(trial, f"the service answers, but never gets healthy{because}", cause)


@rule(
    "hardened",
    "give the folders that it writes a volume in production, and name them in trial-tmpfs of [tool.dockyard]",
    runs=True,
)
def hardened(case: Case) -> Iterator[Violation]:
    """The service works read-only, with no capability or new privilege, as user 65532."""
    trial = case.trial
    if trial.plain and trial.plain.serves:
        yield _told(trial, "the service works, but not on a read-only root without capabilities", diagnose(trial))


@rule("stops", "handle SIGTERM", runs=True)
def stops(case: Case) -> Iterator[Violation]:
    """The service ends within 10 s of SIGTERM, with status 0."""
    trial = case.trial
    if trial.serves and trial.stop is None:
        hint = "run the server itself as process 1 (CMD as a list, or exec in a script), and shorten its grace time"
        yield Violation(f"the service is still there {STOP_SECONDS:g} s after SIGTERM", hint=hint)
    elif trial.serves and trial.stop_code:
        end = Lesson(edit="end with status 0 when told to stop: an orchestrator takes any other for a crash")
        yield _told(trial, f"the service ends on SIGTERM with status {trial.stop_code}", end)


@rule("size-budget", "`invoke inspect` shows which layer has what", Scope.MINIMAL, severity=Severity.WARNING)
def size_budget(case: Case) -> Iterator[Violation]:
    """A pull is not larger than the budget."""
    budget, size = case.expected.size_budget, case.facts.size
    if budget is not None and size > budget:
        largest = max(range(len(case.facts.layers)), key=lambda index: case.facts.layers[index].size)
        said = f"the budget is {console.size(budget)}; its largest layer has"
        said = f"the image has {console.size(size)} to pull, {said} {console.size(case.facts.layers[largest].size)}"
        yield Violation(said, layer=largest)


@rule("start-budget", "look at what is imported and connected at start", severity=Severity.WARNING, runs=True)
def start_budget(case: Case) -> Iterator[Violation]:
    """The first answer comes within the budget."""
    budget, trial = case.expected.start_budget, case.trial
    if budget is not None and trial.answer is not None and trial.answer > budget:
        yield Violation(f"the first answer took {trial.answer:.2f} s, the budget is {budget:g} s")


@rule("memory-budget", "fewer workers, or fewer imports", severity=Severity.WARNING, runs=True)
def memory_budget(case: Case) -> Iterator[Violation]:
    """The healthy service uses no more memory than the budget."""
    budget, trial = case.expected.memory_budget, case.trial
    if budget is None or not trial.serves:
        return
    if trial.memory is None:
        hint = "take memory-budget out of [tool.dockyard], or use an engine with cgroups"
        yield Violation("the memory could not be measured: this engine tells nothing of it", hint=hint)
    elif trial.memory > budget:
        used, allowed = console.size(trial.memory), console.size(budget)
        yield Violation(f"the service uses {used} of memory when it is healthy, the budget is {allowed}")


NO_LESSON = Lesson()


def _told(trial: Trial, message: str, cause: Lesson = NO_LESSON) -> Violation:
    """Return a violation with its cause, where that says more, and the last lines of the log below its message."""
    because = "" if cause.cause in message else f": {cause.cause}"
    log = "".join(f"\n  | {line}" for line in trial.log[-LAST_LINES:])
    return Violation(f"{message}{because}{log}", cause.path, hint=cause.edit)
