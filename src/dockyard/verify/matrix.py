"""Run a project's tests inside its `test` image on every Python, hardened as in production."""

import logging
import secrets
import shutil
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dockyard import console, process
from dockyard.bases.parallel import run_each
from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine, find_engine
from dockyard.engine.inside import USER, ask_python, choose_options, hide_values
from dockyard.errors import CommandError, DockyardError
from dockyard.files import make_folder
from dockyard.image import build, names, records
from dockyard.image.names import Variant
from dockyard.image.record_types import TestsRecord
from dockyard.process import Command, Runner
from dockyard.settings import Settings

log = logging.getLogger(__name__)


TARGET = "test"
RESULTS = "/results"
"""Where the test image writes junit.xml and .coverage: an empty volume in every run."""
RESULTS_HERE = Path(".dockyard") / "tests"
"""Where the results of the newest run are kept in the project."""
NAME = "nonroot"
"""What the tests' user is called; an image may have no line for it in /etc/passwd: `pwd.getpwuid` fails without one."""
ACCOUNT = {"USER": NAME, "LOGNAME": NAME}
"""What `getpass.getuser` looks at first, and all there is where no line of /etc/passwd can be given."""
NO_START = (4, 125, 126, 127)
"""Exit codes of pytest for options that it does not know, and of `docker run` where the engine starts no program."""
NO_TESTS = 5
TROUBLES = {
    "start": (
        "the tests could not be started on Python",
        "the words above say why: the target test starts pytest, as ENTRYPOINT, and what stands behind -- is pytest's",
    ),
    "none": (
        "no test was run on Python",
        "does the target test have the folder of the tests, do -k, -m or a path leave any, and are not all skipped?",
    ),
    "failed": ("the tests failed on Python", "the output above says which; `nox -s tests -- -x -k NAME` runs one"),
}
"""What can be wrong with the tests on one Python, the worst first: what happened, and what to do."""

Look = Callable[[tuple[str, ...]], str | None]
"""Starts a container of an image with more options of `docker run`; returns its /etc/passwd, None where it cannot."""


@dataclass(frozen=True)
class Outcome:
    """How the tests went on one Python."""

    python: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    returncode: int
    image: str

    @property
    def trouble(self) -> str:
        """What is wrong, a key of TROUBLES, or '': the runner said that all went well, and at least one test passed."""
        counted = self.passed + self.failed
        if self.returncode in NO_START and not counted + self.skipped:
            return "start"
        if self.returncode in (0, NO_TESTS) and not counted:
            return "none"
        return "failed" if self.returncode or self.failed else ""


@dataclass(frozen=True)
class Run:
    """One run of the matrix: `name` begins that of each of its containers, `cut` is set when it ends before they do."""

    settings: Settings
    engine: Engine
    name: str
    arguments: tuple[str, ...]
    cut: threading.Event = field(default_factory=threading.Event)

    def container(self, variant: Variant) -> str:
        """Return the name of a variant's container."""
        return f"{self.name}-{variant.name}"

    def remove(self, variants: Sequence[Variant]) -> None:
        """Remove the containers of variants, running or not, with their volumes."""
        names = [self.container(variant) for variant in variants]
        self.engine.attempt("rm", "--force", "--volumes", *names)


def run_tests(settings: Settings, arguments: Sequence[str], *, forbid_skips: bool) -> None:
    """Test on every Python, print how it went as a table, and raise DockyardError where that will not do."""
    outcomes, missing = run_matrix(settings, arguments)
    coverage = combine_coverage(settings.root, outcomes)
    columns = ("Python", "tests", "passed", "failed", "skipped", "time")
    title = f"coverage of all Pythons together: {coverage:.1f} %" if coverage is not None else ""
    console.table(columns, format_rows(outcomes, missing), title=title, right=columns[2:])
    require_success(outcomes, forbid_skips=forbid_skips)


def run_matrix(
    settings: Settings, arguments: Sequence[str], engine: Engine | None = None
) -> tuple[tuple[Outcome, ...], tuple[Missing, ...]]:
    """Build every test image in one solve, then test in them side by side.

    A Python that cannot be tested here is told before anything is built, and ends it unless the settings allow it.
    """
    engine = engine or find_engine(settings)
    request = build.Request(targets=(TARGET,), pythons=settings.pythons)

    def heed(lost: Missing) -> None:
        require_testable(lost, settings.untested_pythons)
        log.info(f"Python {lost.python} stays untested, as allowed: {lost.reason}")

    built, missing = build.build_images(build.for_here(settings), request, engine=engine, heed=heed)
    shutil.rmtree(settings.root / RESULTS_HERE, ignore_errors=True)
    run = Run(settings, engine, f"{settings.stack}-test-{secrets.token_hex(4)}", tuple(arguments))
    variants = [image.variant for image in built]

    def cut(*_given: object) -> set[int]:
        """End the containers too, or an interrupt would last until their tests are over."""
        run.cut.set()
        run.remove(variants)
        return set()

    try:
        outcomes = run_each(lambda variant: run_one(run, variant), variants, run.engine.cpus, cut)
    finally:
        run.remove(variants)
    return tuple(outcomes.values()), missing


def run_one(run: Run, variant: Variant) -> Outcome:
    """Run the tests of one image, bring its results to the run's folder, a subfolder per Python, and record them."""
    image, folder = names.local_name(run.settings, variant), run.settings.root / RESULTS_HERE

    def look(options: tuple[str, ...]) -> str | None:
        said: str | None = ask_python(run.engine, image, "accounts", options=options)
        return said

    named = name_user(look, folder / "accounts" / variant.name)
    container, into = run.container(variant), folder / variant.python
    with records.record_run(run.settings, "test") as recording:
        engine = records.describe_engine(run.engine)
        recording.details = {"python": variant.python, "target": TARGET, "engine": engine}
        returncode = 0
        try:
            for line in run.engine.runner.lines(make_command(run, image, container, named)):
                log.info(f"{variant.python} | {line}")
        except CommandError as error:
            returncode = error.returncode
        if run.cut.is_set():
            raise KeyboardInterrupt
        make_folder(into)
        copied = run.engine.attempt("cp", f"{container}:{RESULTS}/.", str(into))
        if not copied.ok:
            log.info(f"{variant.python} | no results came out of the container: {copied.stderr.strip()}")
        passed, failed, skipped = count_tests(into / "junit.xml")
        outcome = Outcome(variant.python, passed, failed, skipped, recording.seconds(), returncode, image)
        counts: TestsRecord = {"passed": passed, "failed": failed, "skipped": skipped, "coverage_percent": None}
        recording.details["tests"] = counts
        recording.failed = bool(outcome.trouble)
    return outcome


def name_user(look: Look, folder: Path) -> tuple[str, ...]:
    """Return the options of `docker run` that give the user of the tests a name; none where it has one already.

    None either where the mount does not show in a container: an engine elsewhere does not see this machine's files.
    """
    held = look(())
    if held is None or any(line.split(":")[2:3] == [USER] for line in held.splitlines()):
        return ()
    wanted = "".join(f"{line}\n" for line in (*held.splitlines(), f"{NAME}:x:{USER}:{USER}:{NAME}:/tmp:/sbin/nologin"))
    make_folder(folder)
    file = folder / "passwd"
    file.write_text(wanted, "utf-8")
    file.chmod(0o644)
    mount = (f"--mount=type=bind,source={file.absolute()},target=/etc/passwd,readonly",)
    return mount if look(mount) == wanted else ()


def make_command(run: Run, image: str, container: str, more: tuple[str, ...] = ()) -> Command:
    """Return the command that runs one image's tests with what production has; arguments go to its test runner."""
    given = run.settings.trial_environment
    options = (
        f"--name={container}",
        *choose_options({**ACCOUNT, **given}, run.settings.trial_tmpfs),
        *more,
        f"--mount=type=volume,destination={RESULTS}",
    )
    words = ("run", *options, image, f"--junitxml={RESULTS}/junit.xml", *run.arguments)
    return run.engine.command(*words, secrets=hide_values(given))


def count_tests(junit: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped, by a JUnit file; nothing where there is none."""
    try:
        suites = list(ET.parse(junit).getroot().iter("testsuite"))  # noqa: S314 - written by our own container
    except (OSError, ET.ParseError):
        return 0, 0, 0
    tests, errors, failures, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "errors", "failures", "skipped")
    )
    return tests - errors - failures - skipped, errors + failures, skipped


def combine_coverage(root: Path, outcomes: Sequence[Outcome], runner: Runner = process) -> float | None:
    """Combine the coverage of every Python on the host into .coverage; return the percentage, None without data."""
    files = [
        str(path) for outcome in outcomes if (path := root / RESULTS_HERE / outcome.python / ".coverage").is_file()
    ]
    if not files:
        return None
    coverage = (sys.executable, "-m", "coverage")
    combined = runner.capture(Command((*coverage, "combine", "--keep", "--quiet", *files), cwd=root), check=False)
    if not combined.ok:  # the tests count all the same: only the containers need to have it installed
        said = (combined.stderr or combined.stdout).strip().rpartition("\n")[2]
        log.warning(f"the coverage of the Pythons is not put together: {said}")
        return None
    total = runner.capture(Command((*coverage, "report", "--format=total", "--precision=1"), cwd=root), check=False)
    return float(total.stdout) if total.ok else None


def require_success(outcomes: Sequence[Outcome], *, forbid_skips: bool = False) -> None:
    """Raise DockyardError where the tests of a Python failed, or were skipped where none may be (pure)."""
    for trouble, (message, hint) in TROUBLES.items():
        pythons = [outcome.python for outcome in outcomes if outcome.trouble == trouble]
        if pythons:
            raise DockyardError(f"{message} {', '.join(pythons)}", hint)
    skipped = [outcome.python for outcome in outcomes if outcome.skipped]
    if forbid_skips and skipped:
        raise DockyardError(
            f"tests were skipped on Python {', '.join(skipped)}", "in CI a skipped test counts as a failed one"
        )


def require_testable(lost: Missing, untested: Sequence[str]) -> None:
    """Raise DockyardError for a Python without a base image, unless it is one of `untested`, the setting (pure)."""
    if lost.python not in untested:
        raise DockyardError(
            f"Python {lost.python} cannot be tested here: {lost.reason}",
            f'test where it can be, or allow this: untested-pythons = ["{lost.python}"] in [tool.dockyard]',
        )


def format_rows(outcomes: Sequence[Outcome], missing: Sequence[Missing]) -> list[tuple[str, ...]]:
    """Return the summary's table rows: every supported Python, those that could not be tested too (pure)."""
    told = [(lost.python, f"not tested, as allowed: {lost.reason}", "-", "-", "-", "-") for lost in missing]
    for one in outcomes:
        counts = str(one.passed), str(one.failed), str(one.skipped)
        told.append((one.python, "FAILED" if one.trouble else "passed", *counts, f"{one.seconds:.1f} s"))
    return sorted(told, key=lambda row: [int(part) for part in row[0].split(".")])
