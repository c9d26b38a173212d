"""Run other programs: the only module that imports subprocess.

Commands are tuples of strings and never pass through a shell. A child runs in its own process group where
its output is captured, so that a timeout or an interrupt ends its grandchildren too.
"""

import contextlib
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dockyard.errors import CommandError

GRACE_SECONDS = 10.0
TAIL_LINES = 25


@dataclass(frozen=True)
class Command:
    """One program call: `env` holds changes to the environment (None unsets), `secrets` are never shown."""

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    input: bytes | None = None
    timeout: float | None = None
    secrets: tuple[str, ...] = ()

    def display(self) -> str:
        """Return the command as a person would type it, with every secret replaced."""
        return redact(shlex.join(self.argv), self.secrets)

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the command's changes applied."""
        merged: dict[str, str | None] = {**os.environ, **self.env}
        return {name: value for name, value in merged.items() if value is not None}


@dataclass(frozen=True)
class Completed:
    """How a command ended: its exit status, what it printed, and how long it took in seconds."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the program said that it succeeded."""
        return self.returncode == 0


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in `text` by three asterisks."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def which(program: str) -> str | None:
    """Return the path of `program`, or None where PATH has none."""
    return shutil.which(program)


def capture(command: Command, *, check: bool = True) -> Completed:
    """Run a command, keep what it prints, and raise CommandError when it fails and `check` is set."""
    started = time.monotonic()
    with _spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(command.input or b"", timeout=command.timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise CommandError(f"{command.argv[0]} did not finish within {command.timeout:g} s: {command.display()}") from None
        except BaseException:
            _end(process)
            raise
    done = Completed(process.returncode, _text(out), _text(err), time.monotonic() - started)
    return _checked(command, done) if check else done


def stream(command: Command, *, check: bool = True) -> Completed:
    """Run a command that talks to the terminal itself; nothing of its output is kept."""
    started = time.monotonic()
    stdin = subprocess.PIPE if command.input is not None else None
    with _spawn(command, stdin=stdin, group=False) as process:
        try:
            process.communicate(command.input, timeout=command.timeout)
        except BaseException:
            _end(process, group=False)
            raise
    done = Completed(process.returncode, "", "", time.monotonic() - started)
    return _checked(command, done) if check else done


def lines(command: Command) -> Iterator[str]:
    """Yield what a command prints, line by line as it comes, errors included; raise CommandError if it fails."""
    started = time.monotonic()
    kept: list[str] = []
    with _spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line = _text(raw).rstrip("\r\n")
                kept = [*kept[-TAIL_LINES:], line]
                yield line
            process.wait(command.timeout)
        except BaseException:
            _end(process)
            raise
    _checked(command, Completed(process.returncode, "\n".join(kept), "", time.monotonic() - started))


def tee(command: Command, *, check: bool = True) -> Completed:
    """Run a command and show its output live on stderr while keeping it.

    On a terminal the child gets a pseudo-terminal of the same size, so that it draws its own live
    progress; elsewhere it gets a pipe. What is kept is the raw stream, escape sequences included.
    """
    started = time.monotonic()
    chunks: list[bytes] = []

    def show(chunk: bytes) -> None:
        chunks.append(chunk)
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()

    returncode = _tee_terminal(command, show) if sys.stderr.isatty() else _tee_pipe(command, show)
    done = Completed(returncode, _text(b"".join(chunks)), "", time.monotonic() - started)
    return _checked(command, done) if check else done


def detach(command: Command, log: Path) -> int:
    """Start a program that outlives this one, with its output in `log`; return its process id."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=command.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ).pid


def replace(command: Command) -> None:
    """Become another program: this call returns only by raising."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(command.cwd or Path.cwd())
    os.execvpe(command.argv[0], command.argv, command.environment())


def _spawn(
    command: Command,
    *,
    stdin: int | None,
    stdout: int | None = None,
    stderr: int | None = None,
    group: bool = True,
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=command.environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            process_group=0 if group else None,
        )
    except FileNotFoundError:
        if command.cwd is not None and not command.cwd.is_dir():
            raise CommandError(f"the folder {command.cwd} does not exist") from None
        raise CommandError(
            f"{command.argv[0]} is not installed, or not on PATH", "`invoke doctor` shows what the pipeline needs", returncode=127
        ) from None
    except PermissionError:
        raise CommandError(f"{command.argv[0]} may not be executed by this user", returncode=126) from None


def _end(process: "subprocess.Popen[bytes]", *, group: bool = True) -> None:
    """Ask a child (and its group) to stop, wait, then kill what is left."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if group else process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _tee_pipe(command: Command, show: Callable[[bytes], None]) -> int:
    with _spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(command.input or b"")
                process.stdin.close()
            while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]
                show(chunk)
            return process.wait(command.timeout)
        except BaseException:
            _end(process)
            raise


def _tee_terminal(command: Command, show: Callable[[bytes], None]) -> int:
    ours, theirs = pty.openpty()
    with contextlib.suppress(termios.error, OSError):
        termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr.fileno()))
    feed = subprocess.PIPE if command.input is not None else subprocess.DEVNULL
    try:
        with _spawn(command, stdin=feed, stdout=theirs, stderr=theirs) as process, _resizing(theirs):
            try:
                if process.stdin is not None:
                    process.stdin.write(command.input or b"")
                    process.stdin.close()
                _copy_until_exit(process, ours, show)
                return process.wait(command.timeout)
            except BaseException:
                _end(process)
                raise
    finally:
        os.close(ours)
        os.close(theirs)


def _copy_until_exit(process: "subprocess.Popen[bytes]", source: int, show: Callable[[bytes], None]) -> None:
    while True:
        ready, _, _ = select.select([source], [], [], 0.1)
        if ready:
            show(os.read(source, 65536))
        elif process.poll() is not None:
            return


@contextlib.contextmanager
def _resizing(terminal: int) -> Iterator[None]:
    """Pass changes of the real terminal's size on to a pseudo-terminal."""

    def resize(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetwinsize(terminal, termios.tcgetwinsize(sys.stderr.fileno()))

    try:
        previous = signal.signal(signal.SIGWINCH, resize)
    except ValueError:  # not in the main thread: keep the size of the start
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)


def _checked(command: Command, done: Completed) -> Completed:
    if done.ok:
        return done
    said = redact((done.stderr.strip() or done.stdout.strip()), command.secrets)
    tail = "\n".join(said.splitlines()[-TAIL_LINES:])
    raise CommandError(
        f"exit status {done.returncode} from: {command.display()}" + (f"\n{tail}" if tail else ""),
        returncode=done.returncode,
        output=said,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
