"""Why a lock cannot be made, in a sentence."""

from dataclasses import replace
from typing import Any

import pytest

from dockyard.errors import DockyardError
from dockyard.locks.check import inspect_locks
from dockyard.locks.failures import Blame, Failure, TransientError, explain_failure, require_heard
from dockyard.locks.plan import Batch, Wish, plan_batches
from dockyard.settings import Settings
from tests.lock_project import write_inputs


@pytest.fixture
def batch(settings: Settings) -> Batch:
    """Return the batch of a project without locks."""
    write_inputs(settings.root)
    return plan_batches(inspect_locks(settings), Wish())[1]


def failed(said: str = "", doing: str = "test", **more: Any) -> Failure:
    """Return the answer of a compile that failed."""
    return Failure(doing, said, **more)


def asks(what: str, by: str = "", line: int = 2) -> Blame:
    """Return a requirement that pip blames."""
    return Blame(what=what, by=by, line="" if by else f"-r requirements/test.in (line {line})")


NO_TOOLS = "  x installing build dependencies for splice did not run successfully.\n  ╰─> [3 lines of output]\n"
SPLICE = "ERROR: Failed to build 'splice' when installing build dependencies for splice\n"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(
            failed(causes=(asks("click<8.2"),), agreed={"production": ["blinker==1.9", "click==8.5.1"]}),
            "requirements/test.in:2 asks for click<8.2, but the lock for production has click==8.5.1",
            id="with production",
        ),
        pytest.param(
            failed(causes=(asks("Click<8.2", by="old 1.0"),), agreed={"base": ["click==8.5.1"]}),
            "old 1.0 needs Click<8.2, but the lock for base has click==8.5.1",
            id="of a package with base",
        ),
        pytest.param(
            failed(
                causes=(
                    asks("click<8"),
                    asks("click>=8.1", by="flask 3.1"),
                    asks("click>=8.1", by="flask 3.0"),
                )
            ),
            "requirements/test.in:2 asks for click<8, but flask 3.1 needs click>=8.1",
            id="two packages",
        ),
        pytest.param(
            failed(causes=(asks("flask==99"),)),
            "requirements/test.in:2 asks for flask==99, and no index has that for Python 3.13",
            id="no such version",
        ),
        pytest.param(
            failed(f"{NO_TOOLS}      ERROR: No matching distribution found for setuptools\n{SPLICE}"),
            "does not build on Python 3.13; its builder says: ERROR: No matching distribution found for setuptools",
            id="the index has nothing that builds",
        ),
        pytest.param(
            failed(
                "error: No solution found\n  cause: Because you require a<1\n         and a>2, we can conclude x.\n"
            ),
            "Because you require a<1 and a>2, we can conclude x.",
            id="uv",
        ),
        pytest.param(
            failed(
                "x\nInvalid requirement: 'a b': Expected end\n    a b\n      ^ (from line 2 of requirements/test.in)\n"
            ),
            "requirements/test.in:2: not a requirement: 'a b': Expected end",
            id="syntax",
        ),
        pytest.param(
            failed("Traceback\nFailed to build 'PyTest' when getting requirements to build wheel\n"),
            "pytest would have to be built from source, and does not build on Python 3.13; requirements/test.in:2",
            id="build",
        ),
        pytest.param(
            failed(network="Could not fetch URL https://host/simple/a/: 401 Client Error: No - skipping"),
            "https://host/simple/a/ does not answer: 401 Client Error: No",
            id="refused",
        ),
        pytest.param(
            failed("error: x\n  cause: Failed to fetch: https://h/simple/a/\n  cause: refused (os error 111)\n"),
            "https://h/simple/a/ does not answer: refused (os error 111)",
            id="uv refused",
        ),
        pytest.param(
            failed(network="Unable to fetch x: h didn't respond"), "Unable to fetch x: h didn't respond", id="stall"
        ),
        pytest.param(
            failed("    a from https://h/a.whl#sha256=1 (from -r x):\n      Expected sha256 11\n      Got 22\n"),
            "https://h/a.whl is not what the index says: its SHA-256 is 22, and should be 11",
            id="corrupt",
        ),
        pytest.param(failed("one\ntwo\n"), "one\ntwo", id="anything else"),
    ],
)
def test_a_failure_is_told_in_a_sentence(batch: Batch, answer: Failure, sentence: str) -> None:
    """Each kind of failure names the lock, the two sides or the address, and what to do."""
    error = explain_failure(batch, answer)
    assert error.message.startswith("requirements/3.13/test.txt cannot be made: ")
    assert sentence in error.message
    assert error.hint


def test_a_compiler_that_cannot_be_installed_is_no_conflict(batch: Batch) -> None:
    """Trouble before the first lock names the Python and what was being done."""
    error = explain_failure(batch, failed("No matching distribution", doing="installing the compiler"))
    assert error.message.startswith("Python 3.13: installing the compiler failed\nNo matching")


def test_what_the_network_spoils_says_try_again(batch: Batch) -> None:
    """Certificates and passwords are for lasting trouble; a transient one keeps what was made, and has its own kind."""
    error = explain_failure(batch, failed(network="Could not fetch URL https://h/a/: timed out", transient=True))
    assert isinstance(error, TransientError)
    assert "https://h/a/ does not answer: timed out" in error.message
    assert "try again" in error.hint
    assert "certificate" not in error.hint
    lasting = explain_failure(batch, failed(network="Could not fetch URL https://h/a/: 401 Client Error"))
    assert not isinstance(lasting, TransientError)
    assert "password" in lasting.hint


def test_a_failure_elsewhere_names_the_environment(batch: Batch) -> None:
    """A lock that is resolved for several says for which one it cannot be made."""
    error = explain_failure(batch, failed("x", environment="linux/arm64"))
    assert error.message.startswith("requirements/3.13/test.txt cannot be made for linux/arm64: ")


def test_an_option_that_uv_ignores_ends_the_compile() -> None:
    """A warning of uv's is an error of ours: the lock would not be what the input asks for."""
    said = "warning: Ignoring unsupported option in `requirements/base.in`: `--pre` (hint: pass `--pre` instead)\n"
    with pytest.raises(DockyardError, match=r"requirements/base\.in: uv does not know --pre"):
        require_heard(said)
    require_heard("Resolved 3 packages\n")
    require_heard(said.replace("--pre", "--trusted-host"))  # a variable says it


PG_CONFIG = """\
WARNING: Retrying (Retry(total=2)) after connection broken by 'NameResolutionError("host")': /simple/psycopg2/
  error: subprocess-exited-with-error

  x Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [9 lines of output]
      warning: no previously-included files found
      SetuptoolsDeprecationWarning: error: no such thing as a license classifier
      running egg_info

      Error: pg_config executable not found.

      pg_config is required to build psycopg2 from source.
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
ERROR: Failed to build 'psycopg2' when getting requirements to build wheel
"""
NO_MODULE = """\
  ╰─> [4 lines of output]
      Traceback (most recent call last):
        File "setup.py", line 3, in <module>
      ModuleNotFoundError: No module named 'pkg_resources'
      [end of output]
ERROR: Failed to build 'old-thing' when getting requirements to build wheel
"""
BY_UV = """\
  x Failed to build `psycopg2==2.9.10`
  ├─▶ The build backend returned an error
  ╰─▶ Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

      [stderr]
      warning: a word
      Error: pg_config executable not found.
"""
COMPILER = """\
  ╰─> [3 lines of output]
      src/x.c:2:10: warning: unused
      error: command 'gcc' failed: No such file or directory
      [end of output]
ERROR: Failed to build 'quick' when getting requirements to build wheel
"""


@pytest.mark.parametrize(
    ("said", "reason", "way"),
    [
        (
            PG_CONFIG,
            "its builder says: Error: pg_config executable not found.",
            "take a package that comes built (psycopg2-binary for psycopg2)",
        ),
        (BY_UV, "its builder says: Error: pg_config executable not found.", "psycopg2-binary"),
        (NO_MODULE, "ModuleNotFoundError: No module named 'pkg_resources'", "older Python: name that one in pythons"),
        (COMPILER, "error: command 'gcc' failed: No such file or directory", "a version of quick that has a wheel"),
    ],
)
def test_a_build_that_fails_has_the_builders_own_reason(batch: Batch, said: str, reason: str, way: str) -> None:
    """The last error of the builder's own, after whatever warnings; and every way around it."""
    error = explain_failure(batch, failed(said))
    assert reason in error.message
    assert "does not build on Python 3.13" in error.message
    assert way in error.hint
    assert all(word in error.hint for word in ('resolver = "uv"', "system packages", "older Python"))
    assert "--upgrade-package" not in error.hint


def test_a_pin_that_is_only_kept_can_move(batch: Batch) -> None:
    """After a bound is loosened, an old version is kept that nothing asks for any more."""
    job = replace(batch.jobs[-1], pins=("old-thing==0.1",))
    error = explain_failure(replace(batch, jobs=(job,)), failed(NO_MODULE, doing=job.lock.purpose))
    assert error.hint.startswith("`invoke lock --upgrade-package old-thing` lets the locked version move")
