"""Run a project's tests inside its `test` image on every Python, hardened as in production."""

import json
import logging
import secrets
import shutil
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dockyard import console, process
from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine, find_engine
from dockyard.engine.inside import probe
from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.files import make_folder
from dockyard.git import read_git
from dockyard.image import build, records
from dockyard.image import names as images
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
USER, NAME = "65532", "nonroot"
"""The user that tests run as; an image may have no line for it in /etc/passwd: `pwd.getpwuid` fails without one."""
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--user={USER}:{USER}",
    "--pids-limit=512",
)  # fmt: skip


BAD_OPTIONS, NO_TESTS = 4, 5
"""Exit codes of pytest."""
ENGINE_SECONDS = 60
"""How long a container may take that only looks around."""
NO_START = (125, 126, 127)
"""Exit codes of `docker run` where the engine could not start the container's program."""
TROUBLES = {
    "start": (
        "the tests could not be started on Python",
        "the engine's words are above: the target test starts pytest, as ENTRYPOINT",
    ),
    "options": ("pytest does not know these options, on Python", "its words are above; what stands behind -- is its"),
    "none": (
        "no test was found on Python",
        "does the target test have the folder of the tests, and do -k, -m or a path leave any?",
    ),
    "failed": ("the tests failed on Python", "the output above says which; `nox -s tests -- -x -k NAME` runs one"),
    "skipped": ("every test was skipped on Python", "the output above says why; an empty run proves nothing"),
}
"""What can be wrong with the tests on one Python, the worst first: what happened, and what to do."""

ACCOUNT = {"USER": NAME, "LOGNAME": NAME}
"""What `getpass.getuser` looks at first, and all there is where no line of /etc/passwd can be given."""


@dataclass(frozen=True)
class Accounts:
    """The texts of /etc/passwd and /etc/group in some container."""

    passwd: str
    group: str


Look = Callable[[tuple[str, ...]], Accounts | None]
"""Starts a container of an image with more options of `docker run`; returns its accounts, None where it cannot."""


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
        counted = self.passed + self.failed + self.skipped
        if self.returncode == BAD_OPTIONS and not counted:
            return "options"
        if self.returncode in NO_START and not counted:
            return "start"
        if self.returncode == NO_TESTS or (self.returncode == 0 and not counted):
            return "none"
        if self.returncode == 0 and self.passed == self.failed == 0:
            return "skipped"
        return "failed" if self.returncode or self.failed else ""


@dataclass(frozen=True)
class Run:
    """One run of the matrix: `name` begins the name of each of its containers, `folder` takes the results.

    `cut` is set when it ends before its tests do.
    """

    settings: Settings
    engine: Engine
    name: str
    folder: Path
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
    console.table(columns, rows(outcomes, missing), title=title, right=columns[2:])
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
    folder = settings.root / RESULTS_HERE
    shutil.rmtree(folder, ignore_errors=True)
    name = f"{settings.stack}-test-{secrets.token_hex(4)}"
    run = Run(settings, engine, name, folder, tuple(arguments))
    variants = [image.variant for image in built]
    try:
        outcomes = side_by_side(run, variants)
    finally:
        run.remove(variants)
    return outcomes, missing


def side_by_side(run: Run, variants: Sequence[Variant]) -> tuple[Outcome, ...]:
    """Test in every image; an interrupt ends the containers too, or it would last until their tests are over."""
    with ThreadPoolExecutor(max_workers=max(1, run.engine.cpus)) as pool:
        futures = [pool.submit(run_one, run, variant) for variant in variants]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            run.cut.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):  # one may be on its way to its container
                run.remove(variants)
            raise


def run_one(run: Run, variant: Variant) -> Outcome:
    """Run the tests of one image and bring its results to the run's folder, a subfolder per Python."""
    image = images.local_name(run.settings, variant)
    folder = run.folder / "accounts" / variant.name
    named = name_user(lambda options: read_accounts(run, image, options), folder)
    recording = records.Recording()
    container = run.container(variant)
    returncode = 0
    try:
        for line in run.engine.runner.lines(command(run, image, container, named)):
            log.info(f"{variant.python} | {line}")
    except CommandError as error:
        returncode = error.returncode
    into = run.folder / variant.python
    if not run.cut.is_set():
        make_folder(into)
        copied = run.engine.attempt("cp", f"{container}:{RESULTS}/.", str(into))
        if not copied.ok:
            log.info(f"{variant.python} | no results came out of the container: {copied.stderr.strip()}")
    outcome = Outcome(variant.python, *count(into / "junit.xml"), recording.seconds(), returncode, image)
    _record(run, outcome, recording)
    return outcome


def read_accounts(run: Run, image: str, options: tuple[str, ...]) -> Accounts | None:
    """Return what names the users in a container of an image, None where its Python cannot be asked."""
    hardened = ("--rm", "--network=none", "--no-healthcheck", *HARDENED, *options, "--entrypoint=python3")
    done = run.engine.attempt("run", *hardened, image, *probe("accounts"), timeout=ENGINE_SECONDS)
    return parse_accounts(done.stdout)


def parse_accounts(said: str) -> Accounts | None:
    """Return what the probe `accounts` says, None where that is no answer (pure)."""
    try:
        answer = json.loads(said)
        return Accounts(answer["passwd"] + "", answer["group"] + "")
    except (ValueError, TypeError, KeyError):
        return None


def name_user(look: Look, folder: Path) -> tuple[str, ...]:
    """Return the options of `docker run` that give the user of the tests a name; none where it has one already.

    None either where the mounts do not show in a container: an engine elsewhere does not see this machine's files.
    """
    held = look(())
    wanted = held and add_user(held)
    if not wanted:
        return ()
    make_folder(folder)
    mounts = []
    for name, text in (("passwd", wanted.passwd), ("group", wanted.group)):
        file = folder / name
        file.write_text(text, "utf-8")
        file.chmod(0o644)
        mounts.append(f"--mount=type=bind,source={file.absolute()},target=/etc/{name},readonly")
    return tuple(mounts) if look(tuple(mounts)) == wanted else ()


def add_user(held: Accounts) -> Accounts | None:
    """Return accounts with the user of the tests and its group, None where the user's number has a line (pure)."""

    def has_number(text: str) -> bool:
        return any(line.split(":")[2:3] == [USER] for line in text.splitlines())

    def append(text: str, line: str) -> str:
        return "".join(f"{each}\n" for each in (*text.splitlines(), line))

    if has_number(held.passwd):
        return None
    passwd = append(held.passwd, f"{NAME}:x:{USER}:{USER}:{NAME}:/tmp:/sbin/nologin")
    return Accounts(passwd, held.group if has_number(held.group) else append(held.group, f"{NAME}:x:{USER}:"))


def command(run: Run, image: str, container: str, more: tuple[str, ...] = ()) -> Command:
    """Return the command that runs one image's tests with what production has; arguments go to its test runner."""
    given = run.settings.trial_environment
    options = (
        f"--name={container}",
        *HARDENED,
        *more,
        *mount_writable(run.settings.trial_tmpfs),
        *(f"--env={key}={value}" for key, value in {**ACCOUNT, **given}.items()),
        f"--mount=type=volume,destination={RESULTS}",
    )
    secret = tuple(value for value in given.values() if len(value) > 3)
    words = ("run", *options, image, f"--junitxml={RESULTS}/junit.xml", *run.arguments)
    return run.engine.command(*words, secrets=secret)


def mount_writable(folders: Sequence[str]) -> tuple[str, ...]:
    """Return the options of `docker run` for folders in memory that the service may write, as volumes in production."""
    return tuple(f"--tmpfs={folder}:uid=65532,gid=65532,mode=0700" for folder in folders)


def count(junit: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped, by a JUnit file; nothing where there is none."""
    try:
        suites = ET.parse(junit).getroot().iter("testsuite")  # noqa: S314 - written by our own container
        totals = [
            {key: int(suite.get(key, 0)) for key in ("tests", "errors", "failures", "skipped")} for suite in suites
        ]
    except (OSError, ET.ParseError):
        return 0, 0, 0
    failed = sum(total["errors"] + total["failures"] for total in totals)
    skipped = sum(total["skipped"] for total in totals)
    return sum(total["tests"] for total in totals) - failed - skipped, failed, skipped


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
            raise (UsageError if trouble == "options" else DockyardError)(f"{message} {', '.join(pythons)}", hint)
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


def rows(outcomes: Sequence[Outcome], missing: Sequence[Missing]) -> list[tuple[str, ...]]:
    """Return the summary's table rows: every supported Python, those that could not be tested too (pure)."""
    tested = [
        (
            outcome.python,
            "FAILED" if outcome.trouble else "passed",
            str(outcome.passed),
            str(outcome.failed),
            str(outcome.skipped),
            f"{outcome.seconds:.1f} s",
        )
        for outcome in outcomes
    ]
    absent = [(lost.python, f"not tested, as allowed: {lost.reason}", "-", "-", "-", "-") for lost in missing]
    return sorted([*tested, *absent], key=lambda row: [int(part) for part in row[0].split(".")])


def _record(run: Run, outcome: Outcome, recording: records.Recording) -> None:
    tests: TestsRecord = {
        "passed": outcome.passed,
        "failed": outcome.failed,
        "skipped": outcome.skipped,
        "coverage_percent": None,
    }
    record = records.make_record(
        run.settings,
        read_git(run.settings.root),
        recording,
        "test",
        "interrupted" if run.cut.is_set() else "failed" if outcome.trouble else "passed",
        python=outcome.python,
        target=TARGET,
        tests=tests,
        engine=records.describe_engine(run.engine),
    )
    records.keep_record(run.settings, record)
