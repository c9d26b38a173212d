"""Why a build failed, from what real builds said: each log has an alarming word in it that is not the cause."""

from pathlib import Path

import pytest

from dockyard.errors import CommandError, DockyardError, EngineError
from dockyard.image.failures import explain_failure, is_race, read_failed_step

LOGS = Path(__file__).parent / "data" / "build_failures"
CAUSES = {
    "apt-mirror": (2, "the Debian mirror cannot be reached from inside the build"),
    "apt-package": (2, "Debian has no package libnothing-dev in this release"),
    "build-backend": (2, "BackendUnavailable: Cannot import 'shopbuild'"),
    "certificate": (2, "a certificate is not trusted inside the build"),
    "disk": (2, "no space is left where the build writes"),
    "foreign-shell": (6, "programs for another kind of processor do not run here"),
    "killed": (2, "it was killed, most often as memory ran out"),
    "no-base": (1, "the image python:0.1-slim is not here, and its registry does not answer"),
    "no-compiler": (2, "BackendUnavailable: Cannot import 'setuptools.build_meta'"),
    "no-file": (3, "there is no /assets to copy"),
    "no-index": (2, "a package index cannot be reached from inside the build"),
    "no-program": (2, "what it calls is not there"),
    "no-stage": (4, "the image assets is not here, and its registry does not answer"),
    "no-version": (2, "the index has no idna==99.9 for this Python"),
    "not-executable": (3, "what it calls may not be executed"),
    "on-a-terminal": (2, "no such table: harbours"),
    "other-python": (2, "the index has no numpy==1.21.0 for this Python"),
    "pg-config": (3, "a package is built from source, and what it is built with is missing"),
    "quiet": (2, "exit code 1"),
    "read-only": (2, "OSError: [Errno 30] Read-only file system: 'x'"),
    "side-by-side": (5, "b: no such table: harbours"),
    "tests-fail": (2, "AssertionError: 1 != 2"),
    "traceback": (2, "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes"),
    "unknown-instruction": (3, "line 3 of the Dockerfile cannot be read: unknown instruction: RUNN"),
    "user": (4, "the image has no user nobody-here"),
    "wrong-hash": (3, "idna==3.10 does not match the hash in its lock"),
    "wrong-wheel": (3, "shop-1.0-cp39-cp39-win_amd64.whl is not a supported wheel on this platform"),
}
OWN = '#9 [x 1/1] RUN y\n#9 1.2 {}\n#9 ERROR: process "y" did not complete successfully: exit code: 1'
ABSENT = "failed to resolve source metadata for r.example/shop:9: r.example/shop:9: not found"
SAID = {
    "the engine's disk": (
        "#9 ERROR: write /var/lib/x: no space left on device",
        "no space is left where the build writes",
    ),
    "no such tag": (f"ERROR: failed to solve: shop:9: {ABSENT}", "no registry has the image shop:9"),
    "keep": (OWN.format("keep: nothing in the base image matches /x"), "what the base image does not have"),
    "no compiler": (
        OWN.format("error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'"),
        "what it is built with is missing",
    ),
    "a race": ("ERROR: failed to solve: failed to get state for index 0 on x", "the engine got into its own way"),
    "silence": ("", "BuildKit ended with exit status 17 and said nothing"),
    "words of nobody": ("some other trouble", "some other trouble"),
}


def failure(log: str, returncode: int = 17) -> DockyardError:
    """Return the error that a build with this log becomes."""
    return explain_failure(CommandError("…", returncode=returncode, output=log))


def test_every_log_has_its_cause() -> None:
    """A log that is kept is also judged."""
    assert {file.stem for file in LOGS.glob("*.log")} == {*CAUSES, "engine-dies", "engine-dies-bake"}


@pytest.mark.parametrize("name", CAUSES)
def test_a_failure_is_told_by_the_step_that_failed(name: str) -> None:
    """Where it is, what it said last, and something to do; what others said, or what was got over, is no cause."""
    place, cause = CAUSES[name]
    log = (LOGS / f"{name}.log").read_text()
    error = failure(log)
    assert cause in error.message
    assert read_failed_step(log).place == place
    assert f"line {place} of the Dockerfile" in error.message
    assert error.hint
    assert max(map(len, error.message.splitlines())) < 320


@pytest.mark.parametrize("name", sorted(CAUSES.keys() - {"pg-config", "apt-mirror", "wrong-hash"}))
def test_a_terminal_shows_less_and_the_cause_is_the_same(name: str) -> None:
    """There, only BuildKit's summary at the end has the step's lines, and no more than the last ones."""
    log = (LOGS / f"{name}.log").read_text()
    drawn = "\r\n".join(line for line in log.splitlines() if not line.startswith("#"))
    assert CAUSES[name][1] in failure(drawn).message


@pytest.mark.parametrize("name", ["engine-dies", "engine-dies-bake"])
def test_an_engine_that_dies_is_told_as_that(name: str) -> None:
    """It is no fault of a step, whatever that had said before."""
    with pytest.raises(EngineError, match="stopped answering in the middle of the build"):
        raise failure((LOGS / f"{name}.log").read_text())


@pytest.mark.parametrize(("log", "cause"), SAID.values(), ids=SAID)
def test_other_failures(log: str, cause: str) -> None:
    """What could not be brought about here, as it has been seen."""
    error = failure(log)
    assert cause in error.message
    assert error.hint


def test_an_interrupt_is_no_failure_of_a_step() -> None:
    """The exit status says so."""
    assert failure("#9 [x 1/1] RUN y\n#9 0.1 no space left on device", 130).message == "the build was interrupted"


def test_a_race_is_known_by_the_engines_words_alone() -> None:
    """What a step prints may be anything."""
    said = "parent snapshot sha256:1 does not exist"
    assert is_race(CommandError("…", output=f"#1 [x 1/1] RUN y\n#1 ERROR: failed to prepare: {said}: not found"))
    assert is_race(CommandError("…", output="#1 exporting to image\n#1 DONE 3.7s\nERROR: failed to solve: not found\n"))
    said = "rpc error: code = NotFound desc = content sha256:6bfc6bf4a37d: not found"
    assert is_race(CommandError("…", output=f"ERROR: failed to solve: {said}\n"))
    assert not is_race(CommandError("…", output="ERROR: failed to solve: x:9: docker.io/library/x:9: not found\n"))
    printed = (
        f'#1 [x 1/1] RUN y\n#1 0.1 {said}\n#1 ERROR: process "y {said}" did not complete successfully: exit code: 1'
    )
    assert not is_race(CommandError("…", output=printed))
