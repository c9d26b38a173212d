"""What a trial shows, in words: which of the ways to fail it was, why as far as can be told, and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from dockyard.verify.model import Case, Finding, Trial
from dockyard.verify.rules import judge
from dockyard.verify.rules.runtime import diagnose
from tests import small_images
from tests.small_images import worked


def found(trial: Trial, **budgets: Any) -> list[Finding]:
    """Return what the rules say of a good image with this trial."""
    return list(judge.judge_image(small_images.case(trial=trial, **budgets)).violations)


def as_it_is(trial: Trial) -> Trial:
    """Return a trial with the same outcome where nothing is hardened."""
    return replace(trial, plain=trial)


def failed(**changes: Any) -> Trial:
    """Return a trial that fails alike hardened and not."""
    return as_it_is(replace(worked(answer=None, healthy=None, stop=None, waited=30.0), **{"listening": (), **changes}))


def test_an_engine_that_cannot_start_the_container() -> None:
    """The engine's words, or what they mean."""
    (one,) = found(failed(refused='exec: "gunicorn": executable file not found in $PATH: unknown'))
    assert one.rule == "starts"
    assert "there is no program gunicorn on PATH" in one.message
    (one,) = found(failed(refused="no space left on device"))
    assert "no space left on device" in one.message


def test_a_service_that_exits_at_once() -> None:
    """With its status and the last lines of its log."""
    (one,) = found(failed(exit_code=3, log=("first", "Worker failed to boot.")))
    assert one.rule == "starts"
    assert one.message == "the service exits by itself, with status 3\n  | first\n  | Worker failed to boot."


def test_a_service_that_does_not_import() -> None:
    """Told by the module that is not there."""
    (one,) = found(failed(exit_code=3, log=("ModuleNotFoundError: No module named 'shop.prices'",)))
    assert "with status 3: it does not import: there is no module shop.prices" in one.message
    assert "requirements/production.in" in one.hint


def test_a_service_that_the_kernel_ended() -> None:
    """Memory is told apart from a crash."""
    (one,) = found(failed(exit_code=137, out_of_memory=True))
    assert "for lack of memory" in one.message


def test_a_service_that_listens_elsewhere() -> None:
    """Where it listens, where it should, and what to change."""
    (one,) = found(failed(listening=("0.0.0.0:5000", "[::]:5001")))
    assert one.rule == "listens"
    assert "on 0.0.0.0:5000, [::]:5001, not on port 8000" in one.message
    assert "0.0.0.0:8000" in one.hint


def test_a_service_that_listens_nowhere() -> None:
    """It runs, and does something else."""
    (one,) = found(failed())
    assert (one.rule, "listens nowhere after 30 s" in one.message) == ("listens", True)


def test_a_service_that_takes_connections_and_never_answers() -> None:
    """The port is open, the application is not there."""
    (one,) = found(failed(listening=("0.0.0.0:8000",)))
    assert "takes connections on port 8000, but gives no answer for 30 s" in one.message


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "[::1]:8000"])
def test_a_service_that_nobody_outside_can_reach(address: str) -> None:
    """Its health check passes, inside."""
    (one,) = found(worked(listening=(address,)))
    assert (one.rule, "nobody outside" in one.message) == ("listens", True)


def test_a_service_that_never_gets_healthy() -> None:
    """It answers, and the check says what it does not like."""
    trial = worked(healthy=False, health_output="503: database is locked\n", stop=None)
    (one,) = found(as_it_is(trial))
    assert one.rule == "health-check"
    assert "never gets healthy, it says: 503: database is locked" in one.message


def test_a_health_check_that_crashes() -> None:
    """The last line of a traceback is the telling one."""
    trial = worked(
        healthy=False, health_output="Traceback (most recent call last):\n  x\nValueError: port\n", stop=None
    )
    (one,) = found(as_it_is(trial))
    assert "it says: ValueError: port" in one.message


def test_a_service_that_works_unhardened_only() -> None:
    """The cause is told once: by the rule on hardening, not as a service that is broken."""
    log = ("OSError: [Errno 30] Read-only file system: '/app/cache/x'",)
    trial = worked(answer=None, exit_code=1, healthy=None, log=log, plain=worked())
    (one,) = found(trial)
    assert (one.rule, one.path) == ("hardened", "/app/cache/x")
    assert "works, but not on a read-only root without capabilities: it writes /app/cache/x" in one.message
    assert "trial-tmpfs" in one.hint


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (None, "has no health check"),
        ({"Test": ["NONE"]}, "has no health check"),
        ({"Test": ["CMD-SHELL", "x"]}, "needs a shell"),
    ],
)  # fmt: skip
def test_health_checks_that_cannot_work(check: dict[str, object] | None, words: str) -> None:
    """Seen in the configuration alone."""
    facts = small_images.facts(small_images.good(), Healthcheck=check)
    (one,) = judge.judge_image(Case(facts, small_images.expected(), worked(healthy=None))).violations
    assert (one.rule, words in one.message) == ("health-check", True)


def test_a_service_that_does_not_stop() -> None:
    """Process 1 ignores a signal that it does not handle."""
    (one,) = found(worked(stop=None, stop_code=None))
    assert (one.rule, "still there 10 s after SIGTERM" in one.message) == ("stops", True)


def test_a_service_that_stops_badly() -> None:
    """Any status but 0 looks like a crash."""
    (one,) = found(worked(stop_code=143))
    assert (one.rule, "status 143" in one.message) == ("stops", True)


def test_budgets() -> None:
    """Each is told with what was measured; the size with its largest layer."""
    (one,) = found(worked(), size_budget=10)
    assert (one.rule, one.severity) == ("size-budget", "warning")
    assert "the budget is 10 B; its largest layer has" in one.message
    (one,) = found(worked(answer=2.345), start_budget=1.5)
    assert (one.rule, one.message) == ("start-budget", "the first answer took 2.35 s, the budget is 1.5 s")
    (one,) = found(worked(memory=41_000_000), memory_budget=40_000_000)
    assert (one.rule, "41.0 MB" in one.message, "40.0 MB" in one.message) == ("memory-budget", True, True)
    (one,) = found(worked(memory=None), memory_budget=40_000_000)
    assert "could not be measured" in one.message


def test_budgets_that_are_kept_exactly() -> None:
    """The limit itself is within it."""
    size = small_images.case().facts.size
    assert found(worked(answer=1.0, memory=100), size_budget=size, start_budget=1.0, memory_budget=100) == []


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("ImportError: libpq.so.5: cannot open shared object file: No", "library libpq.so.5 is missing", "libpq5"),
        ("error while loading shared libraries: libGL.so.1: cannot open shared object file: x", "libGL.so.1", "libgl1"),
        ("ImportError: libodd.so: cannot open shared object file", "libodd.so is missing", "the package that holds it"),
        ('{"exc": "ModuleNotFoundError: No module named \'six\'\\n"}', "no module six", "invoke lock"),
        ("No module named shop.probe", "no module shop.probe", "invoke lock"),
        ("ModuleNotFoundError: No module named 'tkinter'", "tkinter, which the minimal image leaves out", "keep"),
        ("[Errno 2] No such file or directory: '/usr/share/prices.csv'", "/usr/share/prices.csv is missing", "copy"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'git'", "calls the program git", "no shell"),
        ("PermissionError: [Errno 13] Permission denied: '/app/x'", "its user may not use /app/x", "--chown"),
        ("KeyError: 'SECRET_KEY'", "variable SECRET_KEY is not set", "trial-environment"),
        ("Failed to find attribute 'app' in 'shop'.", "shop has no app", "CMD"),
        ("ImportError: cannot import name 'x' from 'y'", "cannot import name 'x' from 'y'", "versions"),
        ("SyntaxError: invalid syntax", "SyntaxError: invalid syntax", "this Python"),
        ("zoneinfo.ZoneInfoNotFoundError: 'No time zone found with key Europe/Berlin'", "Europe/Berlin", "tzdata"),
        ("locale.Error: unsupported locale setting", "locale", "C.UTF-8"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "a service that is not there", "trial-services"),
        ('could not translate host name "db" to address', "no service of the stack is called db", "trial-services"),
        ("nothing that is known", "", ""),
    ],
)  # fmt: skip
def test_causes_that_a_log_gives_away(line: str, what: str, hint: str) -> None:
    """What is missing, by name, and what to do about it."""
    cause = diagnose(Trial(8000, log=("Traceback:", line, "Shutting down")))
    assert what in cause.cause
    assert hint in cause.edit


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("OSError: libmagic.so.1: cannot open shared object file: No such file or directory", "libmagic.so.1"),
        ("ModuleNotFoundError: No module named 'ensurepip._bundled'", "ensurepip"),
        ("[Errno 2] No such file or directory: '/usr/share/misc/magic.mgc'", "/usr/share/misc/magic.mgc"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'file'", "file"),
        ("KeyError: 'SECRET_KEY'", ""),
    ],
)
def test_what_the_base_has_is_named(line: str, wanted: str) -> None:
    """The tip is the line for the settings, where the base has what is missing; else it stays what it was."""
    trial = Trial(8000, log=(line,))
    usual = diagnose(trial)
    assert usual.wanted == wanted
    told = diagnose(trial, ("/usr/lib/a", "/usr/lib/b"))
    assert told.cause == usual.cause
    assert (
        told.edit == usual.edit
        if not wanted
        else told.edit.endswith('keep = ["/usr/lib/a", "/usr/lib/b"] in [tool.dockyard]')
    )


def test_a_missing_file_is_the_path_of_the_finding() -> None:
    """So that the smoke test says which file would mend it."""
    log = ("FileNotFoundError: [Errno 2] No such file or directory: '/usr/share/shop/prices.csv'",)
    (one,) = found(failed(exit_code=1, log=log))
    assert one.path == "/usr/share/shop/prices.csv"
