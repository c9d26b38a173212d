"""Programs run, fail, hang, are interrupted, and leave nothing behind."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dockyard import process
from dockyard.errors import CommandError
from dockyard.process import Command, capture, lines, redact, stream, tee

pytestmark = pytest.mark.processes
Run = Callable[[Command], object]

RUNS: dict[str, Run] = {
    "capture": capture,
    "stream": stream,
    "lines": lambda command: list(lines(command)),
    "tee": tee,
}
GRANDCHILD = "sleep 300 & echo $! > pid; echo ready; wait"
STUBBORN = "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $! > pid; echo ready; wait"


class Screen:
    """A stand-in for sys.stderr whose bytes can be read again."""

    def __init__(self, terminal: int | None = None) -> None:
        self.buffer = io.BytesIO()
        self.terminal = terminal

    def isatty(self) -> bool:
        """Say whether it is one."""
        return self.terminal is not None

    def fileno(self) -> int:
        """Return the terminal's number."""
        assert self.terminal is not None
        return self.terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Put a stand-in without a terminal in the place of stderr, for this module alone: pytest has it too."""
    made = Screen()
    monkeypatch.setattr(process, "sys", SimpleNamespace(stderr=made))
    return made


@pytest.fixture
def terminal(screen: Screen) -> Iterator[Screen]:
    """Put a stand-in with a terminal of 91 columns in the place of stderr."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 91))
    screen.terminal = theirs
    yield screen
    os.close(ours)
    os.close(theirs)


def shell(script: str, **options: object) -> Command:
    """Return the command that runs a small shell script, and is not waited for long when it does not want to end."""
    return Command(("sh", "-c", script), **{"grace": 1.5, **options})  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Say whether a process has ended, waiting a moment for it; one that nobody has reaped has ended too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def pid_in(folder: Path) -> int:
    """Return the process id that a script wrote, waiting for it."""
    for _ in range(200):
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((folder / "pid").read_text())
        time.sleep(0.02)
    raise AssertionError("the script did not start")


def test_capture_keeps_both_streams() -> None:
    """What a program prints is there, apart, with its status and time."""
    done = capture(shell("echo out; echo err >&2"))
    assert (done.stdout, done.stderr, done.returncode, done.ok) == ("out\n", "err\n", 0, True)
    assert done.seconds > 0


def test_capture_feeds_input_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input, folder and environment reach the child; None takes a variable away."""
    monkeypatch.setenv("GONE", "1")
    command = shell("cat; pwd; echo $NEW ${GONE-unset}", cwd=tmp_path, env={"NEW": "2", "GONE": None}, input=b"in\n")
    assert capture(command).stdout == f"in\n{tmp_path}\n2 unset\n"


def test_large_output_and_input_do_not_block() -> None:
    """More than a pipe holds, in both directions at once."""
    data = b"x" * 1_000_000
    assert len(capture(Command(("cat",), input=data)).stdout) == len(data)


def test_output_that_is_not_utf8() -> None:
    """Strange bytes are replaced, never an exception."""
    assert capture(shell(r"printf 'a\377b'")).stdout == "a\ufffdb"


@pytest.mark.parametrize("run", [capture, tee], ids=["capture", "tee"])
def test_a_failure_tells_status_command_and_last_words(run: Run, screen: Screen) -> None:
    """The error holds the end of what the program said; `output` holds all of it."""
    with pytest.raises(CommandError) as caught:
        run(shell("seq 1 100; exit 7"))
    assert caught.value.message.startswith("exit status 7 from: sh -c 'seq 1 100; exit 7'\n76\n")
    assert caught.value.returncode == 7
    assert caught.value.output.splitlines()[0] == "1"


@pytest.mark.parametrize("run", [capture, stream, tee], ids=["capture", "stream", "tee"])
def test_a_failure_that_is_expected(run: Callable[..., process.Completed], screen: Screen) -> None:
    """Without `check`, the status is a value."""
    assert run(shell("exit 3"), check=False).returncode == 3


def test_a_program_ended_by_a_signal() -> None:
    """A killed program is a failure."""
    with pytest.raises(CommandError, match=r"exit status -9 from"):
        capture(shell("kill -9 $$"))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_program_that_is_not_installed(run: Run) -> None:
    """The name and where to look for help, in place of a FileNotFoundError."""
    with pytest.raises(CommandError) as caught:
        run(Command(("no-such-program",)))
    assert "no-such-program is not installed" in caught.value.message
    assert "invoke doctor" in caught.value.hint
    assert caught.value.returncode == 127


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """The folder is blamed, not the program."""
    with pytest.raises(CommandError, match=r"the folder .*absent does not exist"):
        capture(Command(("true",), cwd=tmp_path / "absent"))


@pytest.mark.host
def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    """No permission and no executable format are told apart from a missing program."""
    (tmp_path / "plain").write_text("")
    with pytest.raises(CommandError, match="cannot be run: Permission denied"):
        capture(Command((str(tmp_path / "plain"),)))
    (tmp_path / "broken").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(CommandError, match="cannot be run: Exec format error"):
        capture(Command((str(tmp_path / "broken"),)))


@pytest.mark.host
def test_the_path_of_the_command_counts(tmp_path: Path) -> None:
    """A program is looked up on the PATH that the command brings: the embedded engine's tools are found so."""
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert capture(Command(("mine",), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})).stdout == "found\n"


def test_redact_replaces_the_longest_first() -> None:
    """A secret that holds another leaves no rest; an empty one replaces nothing."""
    assert redact("token=abcdef abc", ("abc", "abcdef", "")) == "token=*** ***"


def test_secrets_stay_out_of_display_and_errors() -> None:
    """Neither the command line nor what the program says of it shows a secret."""
    command = shell("echo the password is hunter2 >&2; exit 1", secrets=("hunter2",))
    assert "hunter2" not in command.display()
    with pytest.raises(CommandError) as caught:
        capture(command)
    assert "hunter2" not in caught.value.message + caught.value.output
    assert "the password is ***" in caught.value.output


def test_secrets_stay_out_of_a_timeout() -> None:
    """A message about time tells the command too."""
    with pytest.raises(CommandError) as caught:
        capture(Command(("sh", "-c", "sleep 300", "hunter2"), timeout=0.1, secrets=("hunter2",)), check=False)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("script", ["printf 'a hunter2 b'", "printf 'a hun'; sleep 0.2; printf 'ter2 b'"])
def test_secrets_stay_out_of_what_tee_shows(screen: Screen, script: str) -> None:
    """A secret is hidden although it comes in two pieces."""
    done = tee(shell(script, secrets=("hunter2",)))
    assert done.stdout == "a *** b"
    assert screen.buffer.getvalue() == b"a *** b"


def test_a_beginning_of_a_secret_is_shown_in_the_end(screen: Screen) -> None:
    """What only looked like a secret is not lost, even when the program fails."""
    with pytest.raises(CommandError):
        tee(shell("printf 'a hun'; exit 1", secrets=("hunter2",)))
    assert screen.buffer.getvalue() == b"a hun"


def test_secrets_stay_out_of_lines() -> None:
    """Line by line too."""
    assert list(lines(shell("echo hunter2", secrets=("hunter2",)))) == ["***"]


def test_display_can_be_typed() -> None:
    """A command is shown as a shell would take it."""
    assert Command(("echo", "a b", "$HOME")).display() == "echo 'a b' '$HOME'"


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_timeout_ends_grandchildren(run: Run, tmp_path: Path, screen: Screen) -> None:
    """When time is up, what the program had started is gone too, though it holds the output open."""
    started = time.monotonic()
    script = "exec sleep 300" if run is stream else GRANDCHILD
    with pytest.raises(CommandError, match=r"sh did not finish within 0\.3 s: sh -c"):
        run(shell(script, cwd=tmp_path, timeout=0.3))
    assert time.monotonic() - started < 5
    if run is not stream:
        assert gone(pid_in(tmp_path))


def test_a_timeout_while_output_flows(screen: Screen) -> None:
    """A program that never stops talking is ended as well."""
    with pytest.raises(CommandError, match="did not finish"):
        tee(shell("while :; do echo x; sleep 0.01; done", timeout=0.3))


def test_a_grandchild_that_ignores_sigterm(tmp_path: Path) -> None:
    """What does not want to end is killed, though the child itself went at once."""
    with pytest.raises(CommandError, match="did not finish"):
        capture(shell(STUBBORN, cwd=tmp_path, timeout=0.3))
    assert gone(pid_in(tmp_path))


def test_a_grandchild_may_clean_up(tmp_path: Path) -> None:
    """What the child leaves behind gets a moment of its own, as a plugin of the docker command does."""
    loop = "while :; do sleep 0.02; done"
    helper = f"sh -c 'trap \"sleep 0.1; echo > clean; exit\" TERM; echo > up; {loop}' & echo $! > pid; wait"
    with pytest.raises(CommandError, match="did not finish"):
        capture(shell(helper, cwd=tmp_path, timeout=0.5))
    assert gone(pid_in(tmp_path))
    assert (tmp_path / "up").exists()
    assert (tmp_path / "clean").exists()


def test_a_grandchild_that_left_the_group(tmp_path: Path) -> None:
    """A daemon that holds the pipe open cannot keep us waiting past the timeout."""
    started = time.monotonic()
    with pytest.raises(CommandError, match="did not finish"):
        capture(shell("setsid sh -c 'echo $$ > pid; exec sleep 300' & wait", cwd=tmp_path, timeout=0.5))
    assert time.monotonic() - started < 5
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid_in(tmp_path), signal.SIGKILL)


@pytest.mark.parametrize("name", ["capture", "lines", "tee"])
def test_an_interrupt_ends_grandchildren(name: str, tmp_path: Path, screen: Screen) -> None:
    """Ctrl-C leaves no process."""
    interrupt_once_started(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        RUNS[name](shell(GRANDCHILD, cwd=tmp_path))
    assert gone(pid_in(tmp_path))


def interrupt_once_started(folder: Path) -> None:
    """Send this process what Ctrl-C sends, as soon as a script below `folder` has written its process id."""

    def interrupt() -> None:
        pid_in(folder)
        time.sleep(0.2)  # a script may be quicker than the Popen that starts it
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    """Who presses Ctrl-C twice is in a hurry, and still nothing is left."""
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"

    def interrupt() -> None:
        pid_in(tmp_path)
        time.sleep(0.5)  # a script may be quicker than the Popen that starts it
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    def run() -> None:
        pressing = threading.Thread(target=interrupt)
        pressing.start()
        try:
            capture(shell(script, cwd=tmp_path, grace=60))
        finally:
            pressing.join()  # a press that comes late belongs to this test, and not to the next one

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert time.monotonic() - started < 50
    assert gone(pid_in(tmp_path))


def test_lines_come_as_they_are_printed() -> None:
    """The first line is there long before the program ends; errors are among the lines."""
    started = time.monotonic()
    talk = lines(shell("echo one; sleep 0.5; echo two >&2"))
    assert next(talk) == "one"
    assert time.monotonic() - started < 0.4
    assert list(talk) == ["two"]


def test_lines_of_a_failure() -> None:
    """The error comes after the last line, with the last lines in it."""
    talk = lines(shell("echo why; exit 2"))
    assert next(talk) == "why"
    with pytest.raises(CommandError, match="exit status 2"):
        next(talk)


def test_lines_that_nobody_wants_any_more(tmp_path: Path) -> None:
    """Who stops listening ends the program."""
    talk = lines(shell(GRANDCHILD, cwd=tmp_path))
    assert next(talk) == "ready"
    talk.close()
    assert gone(pid_in(tmp_path))


def test_tee_shows_and_keeps(screen: Screen) -> None:
    """Both streams are shown as they come and kept."""
    assert tee(shell("printf a; printf b >&2")).stdout == "ab"
    assert screen.buffer.getvalue() == b"ab"


def test_tee_on_a_terminal(terminal: Screen) -> None:
    """The child has a terminal of the same size, and its last words are not lost."""
    done = tee(shell("test -t 1 && stty size <&1; echo last"))
    assert done.stdout == "33 91\r\nlast\r\n"
    assert terminal.buffer.getvalue() == b"33 91\r\nlast\r\n"


def test_a_terminal_that_changes_its_size(terminal: Screen) -> None:
    """The child, which looks for itself, sees the new size; the former handler of the signal is back afterwards."""
    before = signal.getsignal(signal.SIGWINCH)

    def pull() -> None:
        termios.tcsetwinsize(terminal.fileno(), (10, 40))
        os.kill(os.getpid(), signal.SIGWINCH)

    threading.Timer(0.2, pull).start()
    wait = 'until [ "$(stty size <&2)" = "10 40" ]; do sleep 0.02; done'
    assert tee(shell(f"stty size <&1; {wait}; echo seen", timeout=20)).stdout == "33 91\r\nseen\r\n"
    assert signal.getsignal(signal.SIGWINCH) is before


@pytest.mark.parametrize("fixture", ["screen", "terminal"])
def test_tee_of_a_program_that_reads_nothing(fixture: str, request: pytest.FixtureRequest) -> None:
    """A program that ends before it takes its input is told by its own status, not by a broken pipe."""
    request.getfixturevalue(fixture)
    with pytest.raises(CommandError, match="exit status 5"):
        tee(shell("exec <&-; echo no; exit 5", input=b"x" * 1_000_000))


@pytest.mark.parametrize("fixture", ["screen", "terminal"])
def test_tee_feeds_input(fixture: str, request: pytest.FixtureRequest) -> None:
    """Input reaches the child and ends."""
    request.getfixturevalue(fixture)
    assert tee(Command(("cat",), input=b"in")).stdout == "in"


def test_tee_does_not_wait_for_a_daemon(screen: Screen) -> None:
    """A program that leaves another one running with its output has ended all the same."""
    started = time.monotonic()
    assert tee(shell("sleep 3 & echo done")).stdout == "done\n"
    assert time.monotonic() - started < 2


def test_stream_writes_to_our_own_output(capfd: pytest.CaptureFixture[str]) -> None:
    """The child talks to the terminal itself."""
    done = stream(shell("echo hello"))
    assert (capfd.readouterr().out, done.stdout) == ("hello\n", "")


def test_detach_outlives_and_logs(tmp_path: Path) -> None:
    """The program runs in a session of its own, its words go to the log, and it is reaped when it ends."""
    pid = process.detach(shell("echo hello; sleep 0.2"), tmp_path / "log")
    assert os.getsid(pid) == pid
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists(), "a program that has ended is still listed: nobody reaped it"
    assert (tmp_path / "log").read_text() == "hello\n"


def test_detach_of_a_program_that_is_not_installed(tmp_path: Path) -> None:
    """The same words as anywhere else."""
    with pytest.raises(CommandError, match="not installed"):
        process.detach(Command(("no-such-program",)), tmp_path / "log")


def test_replace_of_a_program_that_is_not_installed() -> None:
    """The same words again: becoming another program fails like running one."""
    with pytest.raises(CommandError, match="not installed"):
        process.replace(Command(("no-such-program",)))


def test_replace_becomes_the_program() -> None:
    """The new program has our process id, its folder and its environment."""
    script = (
        "import os; from dockyard.process import Command, replace; from pathlib import Path; print(os.getpid());"
        "replace(Command(('sh', '-c', 'echo $$ $PWD $X'), cwd=Path('/'), env={'X': '1'}))"
    )
    done = capture(Command((sys.executable, "-c", script), env={"PYTHONPATH": os.pathsep.join(sys.path)}))
    first, second = done.stdout.splitlines()
    assert second == f"{first} / 1"


def test_which() -> None:
    """Programs are found on PATH, or not."""
    assert process.which("sh")
    assert process.which("no-such-program") is None


def test_only_one_module_imports_subprocess() -> None:
    """Whatever runs a program goes through it; what runs inside containers stands alone."""
    source = Path(process.__file__).parent
    users = {str(path.relative_to(source)) for path in source.rglob("*.py") if "import subprocess" in path.read_text()}
    assert {name for name in users if not name.startswith("payload/")} == {"process.py"}


def test_an_interrupt_while_a_child_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes before Popen has returned ends the child as any other does."""
    start = subprocess.Popen
    made: list[Any] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        made.append(start(*arguments, **options))
        os.kill(os.getpid(), signal.SIGINT)
        return made[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        capture(Command(("sleep", "60")))
    assert made[0].returncode == -signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
