"""The matrix: its commands, its counts, its verdict, and that no end of it leaves a container."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.bases.resolve import Missing
from dockyard.errors import CommandError, DockyardError
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.verify import matrix
from dockyard.verify.matrix import Outcome
from tests.conftest import kept_records
from tests.progress import LINES
from tests.scripted_docker import Docker, write_metadata

SCHEMA = Path(__file__).parents[1] / "docs" / "reference" / "run-record.schema.json"
PYTHONS = ("3.12", "3.13")
GOOD = Outcome("3.13", 10, 0, 0, 1.5, 0, "shop:test")
JUNIT = '<testsuites><testsuite tests="{}" errors="{}" failures="{}" skipped="{}"/></testsuites>'


class Yard(Docker):
    """An engine whose containers run tests: `results` are what each writes, `exits` how each ends."""

    def __init__(self, root: Path, cpus: int = 2) -> None:
        super().__init__(cpus=cpus)
        self.root = root
        self.registry = {f"python:{python}-slim": f"sha256:{python}" for python in PYTHONS}
        self.says = {
            "bake": self.bake,
            "history": "",
            "--entrypoint=python": self.look,
            "cp": self.copy,
            "rm": self.remove,
        }
        self.results = {python: JUNIT.format(3, 0, 0, 0) for python in PYTHONS}
        self.exits: dict[str, int] = {}
        self.removed = threading.Event()
        self.slow = ""
        self.accounts: list[str] = []
        self.interrupts = ""
        self.built: list[list[str]] = []

    def bake(self, command: Command) -> str:
        """Build the test images."""
        write_metadata(command)
        targets = json.loads(command.input or b"")["target"]
        assert not any("platforms" in target for target in targets.values()), "tests run on this machine"
        self.images |= {target["tags"][0]: {"Size": 1} for target in targets.values()}
        self.built.append(sorted(targets))
        return ""

    def look(self, command: Command) -> str:
        """Look into an image for its accounts."""
        assert {"--rm", "--read-only", "--network=none"} < set(command.argv)
        return self.accounts.pop(0) if self.accounts else "no JSON"

    def copy(self, command: Command) -> str | Completed:
        """Bring the results out of a container."""
        into = Path(command.argv[3])
        if into.name not in self.results:
            return Completed(1, "", "no such folder\n", 0.1)
        (into / "junit.xml").write_text(self.results[into.name])
        return ""

    def remove(self, _command: Command) -> str:
        """Remove containers."""
        self.removed.set()
        return ""

    def lines(self, command: Command) -> Iterator[str]:
        """Stand in for `docker run`."""
        self.asked.append(command)
        python = next(python for python in PYTHONS if f"-{python}".replace(".", "_") in command.argv[2])
        yield f"testing {python}"
        if python == self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        if python in (self.interrupts, self.slow):
            assert self.removed.wait(20), "its container was not ended"
            raise CommandError("killed", returncode=137)
        if self.exits.get(python):
            raise CommandError("failed", returncode=self.exits[python])

    @property
    def containers(self) -> list[tuple[str, ...]]:
        """What was asked of the containers that run tests."""
        asked = [command.argv for command in self.asked if command.argv[1] in ("run", "cp", "rm")]
        return [argv for argv in asked if "--entrypoint=python" not in argv]

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was recorded of tests; each record must have the documented form."""
        judge = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
        return [judge(record) for record in kept_records(self.root) if record["kind"] == "test"]

    def outcomes(self) -> list[tuple[str, str]]:
        """Return what was recorded of each Python."""
        return sorted((record["python"], record["outcome"]) for record in self.records)


@pytest.fixture
def docker(settings: Settings) -> Yard:
    """Return an engine beside a project with a test image."""
    (settings.root / "Dockerfile").write_text("FROM x AS test\n")
    return Yard(settings.root)


def test_the_command(settings: Settings) -> None:
    """As hard as production and with what it has, results in a volume of its own, arguments to the test runner last."""
    settings = settings._replace(trial_environment={"SHOP_KEY": "s3cret!"}, trial_tmpfs=("/app/uploads",))
    run = matrix.Run(settings, Docker().engine, "x", ("-k", "health"))
    made = matrix.make_command(run, "shop:test", "x-test")
    assert made.argv == (
        "docker", "run", "--name=x-test",
        "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532",
        "--pids-limit=512", "--tmpfs=/app/uploads:uid=65532,gid=65532,mode=0700",
        "--env=USER=nonroot", "--env=LOGNAME=nonroot", "--env=SHOP_KEY=s3cret!",
        "--mount=type=volume,destination=/results",
        "shop:test", "--junitxml=/results/junit.xml", "-k", "health",
    )  # fmt: skip
    assert "s3cret!" not in made.display()


def test_a_name_of_ones_own(settings: Settings) -> None:
    """The settings' variables are stronger."""
    run = matrix.Run(settings._replace(trial_environment={"USER": "shop"}), Docker().engine, "x", ())
    assert "--env=USER=shop" in matrix.make_command(run, "shop:test", "x").argv


def test_a_matrix(settings: Settings, docker: Yard, said: list[str]) -> None:
    """One solve, a container per Python, its results in a folder of its own, and all of it removed in the end."""
    supported = ("3.11", *PYTHONS)
    settings = settings._replace(
        pythons=supported,
        untested_pythons=("3.11",),
        platforms=("linux/amd64", "linux/arm64"),
        base="registry",
    )
    stale = settings.root / matrix.RESULTS_HERE / "3.9" / "junit.xml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    docker.results["3.12"] = JUNIT.format(5, 0, 0, 1)
    outcomes, missing = matrix.run_matrix(settings, ("-x",), docker.engine)
    assert docker.built == [["test-3_12", "test-3_13"]]
    assert [(one.python, one.passed, one.skipped, one.trouble, one.image) for one in outcomes] == [
        ("3.12", 4, 1, "", "shop:test-py3.12"),
        ("3.13", 3, 0, "", "shop:test"),
    ]
    assert missing == (Missing("3.11", "the registry has no python:3.11-slim"),)
    assert said[0] == "Python 3.11 stays untested, as allowed: the registry has no python:3.11-slim"
    assert set(said[2:]) == {"3.12 | testing 3.12", "3.13 | testing 3.13"}
    assert not stale.exists()
    names = sorted(words[2].removeprefix("--name=") for words in docker.containers if words[1] == "run")
    assert docker.containers[-1] == ("docker", "rm", "--force", "--volumes", *names)
    assert docker.outcomes() == [("3.12", "passed"), ("3.13", "passed")]
    assert docker.records[0]["tests"]["coverage_percent"] is None


def test_the_user_gets_a_name(settings: Settings, docker: Yard) -> None:
    """Where an image's containers show the line that was written for them, and not elsewhere."""
    matrix.run_matrix(settings, (), docker.engine)
    assert not [word for words in docker.containers for word in words if "/etc/" in word]
    line = "nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
    docker.accounts = [json.dumps(passwd) for passwd in ("", line)]
    docker.asked.clear()
    matrix.run_matrix(settings._replace(pythons=("3.13",)), (), docker.engine)
    (words,) = (words for words in docker.containers if words[1] == "run")
    file = settings.root / matrix.RESULTS_HERE / "accounts" / "test-3_13" / "passwd"
    assert f"--mount=type=bind,source={file},target=/etc/passwd,readonly" in words
    assert file.read_text() == line


def test_a_python_that_cannot_be_tested_ends_it_at_once(settings: Settings, docker: Yard) -> None:
    """Before any image is built: not after minutes, in the table's last line."""
    stale = settings.root / matrix.RESULTS_HERE / "3.13" / "junit.xml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    asked = settings._replace(pythons=("3.11", *PYTHONS), untested_pythons=("3.14",), base="registry")
    with pytest.raises(DockyardError, match=r"Python 3\.11 cannot be tested here: the registry has no") as caught:
        matrix.run_matrix(asked, (), docker.engine)
    assert 'untested-pythons = ["3.11"]' in caught.value.hint
    assert (docker.built, docker.containers) == ([], [])
    assert stale.exists(), "the newest results there are stay"


def test_two_matrices_have_different_containers(settings: Settings, docker: Yard) -> None:
    """Runs side by side, in two windows, do not remove each other's."""
    for _ in range(2):
        matrix.run_matrix(settings, (), docker.engine)
    assert len({words[2] for words in docker.containers if words[1] == "run"}) == 4


FAILURES: dict[str, tuple[str | None, int, tuple[int, int]]] = {
    "a failed test": (JUNIT.format(3, 0, 1, 0), 1, (2, 1)),
    "an error": (JUNIT.format(3, 1, 0, 0), 1, (2, 1)),
    "a runner that ends with an error after good tests": (JUNIT.format(3, 0, 0, 0), 3, (3, 0)),
    "no test at all": (JUNIT.format(0, 0, 0, 0), 0, (0, 0)),
    "only skipped tests": (JUNIT.format(2, 0, 0, 2), 0, (0, 0)),
    "results that are none": ("<testsuite", 0, (0, 0)),
    "no results": (None, 0, (0, 0)),
}


@pytest.mark.parametrize(("junit", "code", "counts"), FAILURES.values(), ids=FAILURES)
def test_what_fails_a_python(  # noqa: PLR0917 - a table and its fixtures
    settings: Settings, docker: Yard, junit: str | None, code: int, counts: tuple[int, int], said: list[str]
) -> None:
    """Whatever is not a good end of at least one test fails its Python; the other one is tested all the same."""
    docker.exits["3.12"] = code
    docker.results["3.12"] = junit or ""
    if junit is None:
        del docker.results["3.12"]
    (bad, good), _ = matrix.run_matrix(settings, (), docker.engine)
    assert (bool(bad.trouble), bad.passed, bad.failed, good.trouble) == (True, *counts, "")
    assert docker.outcomes() == [("3.12", "failed"), ("3.13", "passed")]
    assert ("3.12 | no results came out of the container: no such folder" in said) == (junit is None)


@pytest.mark.parametrize("cpus", [2, 1], ids=["side by side", "one after the other"])
def test_an_interrupt(settings: Settings, docker: Yard, cpus: int) -> None:
    """It ends the containers of the other Pythons at once, starts no more of them, and does not read their results."""
    docker.interrupts, docker.slow = "3.12", "3.13"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        matrix.run_matrix(settings, (), replace(docker.engine, cpus=cpus))
    assert time.monotonic() - started < 10
    verbs = [words[1] for words in docker.containers]
    assert verbs.count("run") <= 2
    assert (verbs[-1], "cp" in verbs) == ("rm", False)
    assert {outcome for _, outcome in docker.outcomes()} <= {"interrupted"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JUNIT.format(9, 1, 2, 3), (3, 3, 3)),
        ('<testsuite tests="2" errors="0" failures="0" skipped="1"/>', (1, 0, 1)),
        ('<testsuites><testsuite tests="2"/><testsuite tests="3" failures="1"/></testsuites>', (4, 1, 0)),
        ("", (0, 0, 0)),
    ],
    ids=["one suite", "a suite as the root", "two suites", "empty"],
)
def test_count(tmp_path: Path, text: str, expected: tuple[int, int, int]) -> None:
    """Passed, failed, skipped: errors are failures, and what is not written counts as nothing."""
    (tmp_path / "junit.xml").write_text(text)
    assert matrix.count_tests(tmp_path / "junit.xml") == expected


def test_count_without_a_file(tmp_path: Path) -> None:
    """A container that died has written none."""
    assert matrix.count_tests(tmp_path / "junit.xml") == (0, 0, 0)


BAD = replace(GOOD, python="3.11", failed=1, returncode=1)
VERDICTS: dict[str, tuple[tuple[Outcome, ...], str]] = {
    "good": ((GOOD,), ""),
    "failures of two": ((BAD, GOOD, replace(BAD, python="3.14")), "the tests failed on Python 3.11, 3.14"),
    "an error after good tests": ((replace(GOOD, returncode=3),), "the tests failed on Python 3.13"),
    "no test": ((replace(GOOD, passed=0, returncode=5),), "no test was run on Python 3.13"),
    "no results": ((replace(GOOD, passed=0),), "no test was run on Python 3.13"),
    "a wrong option": ((replace(GOOD, passed=0, returncode=4),), "the tests could not be started on Python 3.13"),
    "no program": ((replace(GOOD, passed=0, returncode=127),), "the tests could not be started on Python 3.13"),
    "all skipped": ((replace(GOOD, passed=0, skipped=3),), "no test was run on Python 3.13"),
}


@pytest.mark.parametrize(("outcomes", "message"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(outcomes: tuple[Outcome, ...], message: str) -> None:
    """What is wrong is told as what it is, with its Pythons."""
    if not message:
        matrix.require_success(outcomes)
        return
    with pytest.raises(DockyardError) as caught:
        matrix.require_success(outcomes)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_skips() -> None:
    """A skip is an error only where it is forbidden."""
    skipping = replace(GOOD, python="3.12", skipped=2)
    matrix.require_success((GOOD, skipping))
    matrix.require_success((GOOD,), forbid_skips=True)
    with pytest.raises(DockyardError, match=r"^tests were skipped on Python 3\.12$"):
        matrix.require_success((GOOD, skipping), forbid_skips=True)


def test_rows() -> None:
    """Every supported Python has its row in the order of versions, tested or not."""
    outcomes = (GOOD, replace(GOOD, python="3.9", failed=2, passed=8, returncode=1))
    missing = (Missing("3.11", "nobody ships it"),)
    assert matrix.format_rows(outcomes, missing) == [
        ("3.9", "FAILED", "8", "2", "0", "1.5 s"),
        ("3.11", "not tested, as allowed: nobody ships it", "-", "-", "-", "-"),
        ("3.13", "passed", "10", "0", "0", "1.5 s"),
    ]


def measure(root: Path, *outcomes: Outcome, **says: str | Completed) -> tuple[float | None, list[tuple[str, ...]]]:
    """Combine the coverage of Pythons; return it, and what the tool was asked."""
    tool = Docker()
    tool.says = {"combine": "", "report": "97.5\n", **says}
    return matrix.combine_coverage(root, outcomes, tool), [command.argv[3:] for command in tool.asked]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Return the data of coverage that Python 3.13 left in a project."""
    file = tmp_path / matrix.RESULTS_HERE / "3.13" / ".coverage"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_coverage_of_all_pythons(tmp_path: Path, measured: Path) -> None:
    """What each container measured is combined and kept; a Python without data is left out."""
    assert measure(tmp_path, GOOD, replace(GOOD, python="3.12")) == (
        97.5,
        [("combine", "--keep", "--quiet", str(measured)), ("report", "--format=total", "--precision=1")],
    )
    assert measure(tmp_path, GOOD, report=Completed(1, "", "No data to report.", 0.1))[0] is None


def test_coverage_that_cannot_be_combined(tmp_path: Path, measured: Path) -> None:
    """A project's own environment need not have the tool that its test image has: the tests count all the same."""
    assert measure(tmp_path, GOOD, combine=Completed(1, "", "python: No module named coverage\n", 0.1))[0] is None
    assert LINES == ["the coverage of the Pythons is not put together: python: No module named coverage"]


def test_no_coverage(tmp_path: Path) -> None:
    """A project that measures none asks no tool for it."""
    assert measure(tmp_path, GOOD) == (None, [])
