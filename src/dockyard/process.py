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
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol, cast

from dockyard.errors import CommandError

TAIL_LINES = 25
ENDS = (signal.SIGTERM, signal.SIGHUP)
"""How a cancelled job and a closed window end a program."""
Handler = Callable[[int, FrameType | None], object]


@dataclass(frozen=True)
class Command:
    """One program call: `env` holds changes to the environment (None unsets), `secrets` are never shown.

    After `timeout` seconds the program and all that it started are ended, and CommandError is raised. To end it has
    `grace` seconds, and a fifth of that what it started, before it is killed.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    input: bytes | None = None
    timeout: float | None = None
    secrets: tuple[str, ...] = ()
    grace: float = 10.0

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
    arrivals: tuple[tuple[float, str], ...] = ()
    """What `tee` showed, piece by piece, each with the seconds after the start at which it came."""

    @property
    def ok(self) -> bool:
        """Whether the program said that it succeeded."""
        return self.returncode == 0


class Runner(Protocol):
    """What runs commands for others: this module itself, or in tests a script that answers in its place."""

    def which(self, program: str) -> str | None: ...  # noqa: D102 - see below
    def capture(self, command: Command, *, check: bool = True) -> Completed: ...  # noqa: D102 - see below
    def stream(self, command: Command, *, check: bool = True) -> Completed: ...  # noqa: D102 - see below
    def tee(self, command: Command, *, check: bool = True) -> Completed: ...  # noqa: D102 - see below
    def lines(self, command: Command) -> Iterator[str]: ...  # noqa: D102 - see below


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
    out = err = b""
    with _running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(command.input or b"", timeout=command.timeout)
    done = Completed(process.returncode, _text(out), _text(err), time.monotonic() - started)
    return checked(command, done) if check else done


def stream(command: Command, *, check: bool = True) -> Completed:
    """Run a command that talks to the terminal itself; nothing of its output is kept."""
    started = time.monotonic()
    with _running(command, stdin=None, group=False) as process:
        process.wait()
    done = Completed(process.returncode, "", "", time.monotonic() - started)
    return checked(command, done) if check else done


def lines(command: Command) -> Generator[str, None, None]:
    """Yield what a command prints, line by line as it comes, errors included; raise CommandError if it fails."""
    started = time.monotonic()
    kept: list[str] = []
    with _running(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for raw in cast("IO[bytes]", process.stdout):
            line = redact(_text(raw).rstrip("\r\n"), command.secrets)
            kept = [*kept[-TAIL_LINES:], line]
            yield line
    checked(command, Completed(process.returncode, "\n".join(kept), "", time.monotonic() - started))


def tee(command: Command, *, check: bool = True) -> Completed:
    """Run a command and show its output live on stderr while keeping it.

    On a terminal the child gets a pseudo-terminal that keeps to its size, so that it draws its own live
    progress; elsewhere it gets a pipe. What is kept is the raw stream, escape sequences included, without
    the command's secrets.
    """
    started = time.monotonic()
    pieces: list[tuple[float, bytes]] = []
    secrets = sorted((secret.encode() for secret in command.secrets if secret), key=len, reverse=True)
    held = b""

    def show(chunk: bytes, *, last: bool = False) -> None:
        nonlocal held
        shown, held = _split_shown(held + chunk, secrets, last=last)
        pieces.append((time.monotonic() - started, shown))
        sys.stderr.buffer.write(shown)
        sys.stderr.buffer.flush()

    feed = subprocess.DEVNULL if command.input is None else subprocess.PIPE
    terminal = sys.stderr.isatty()
    ours, theirs = pty.openpty() if terminal else os.pipe()

    def resize(*_: object) -> None:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetwinsize(ours, termios.tcgetwinsize(sys.stderr.fileno()))

    try:
        if terminal:
            resize()
        with (
            _handling({signal.SIGWINCH: resize} if terminal else {}),
            os.fdopen(theirs, "wb") as output,
            _running(command, stdin=feed, stdout=theirs, stderr=theirs) as process,
        ):
            output.close()  # when the program and all that it started have closed it too, reading ends
            if process.stdin:
                # A child that ends without reading has its own words for why.
                with contextlib.suppress(BrokenPipeError), process.stdin as end:
                    end.write(command.input or b"")
            _copy_until_exit(process, ours, show)
    finally:
        os.close(ours)
        show(b"", last=True)
    text = _text(b"".join(shown for _, shown in pieces))
    arrivals = tuple((moment, _text(shown)) for moment, shown in pieces)
    done = Completed(process.returncode, text, "", time.monotonic() - started, arrivals)
    return checked(command, done) if check else done


def detach(command: Command, log: Path) -> int:
    """Start a program that outlives this one, with its output in `log`; return its process id."""
    with log.open("ab") as output:
        process = _start(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    # Should it end before we do, nobody must take its remains for a running program.
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid


def replace(command: Command) -> None:
    """Become another program: this call returns only by raising."""
    sys.stdout.flush()
    sys.stderr.flush()
    with _explained(command):
        os.chdir(command.cwd or Path.cwd())
        os.execvpe(command.argv[0], command.argv, command.environment())  # noqa: S606 - no shell is the point


@contextlib.contextmanager
def _running(
    command: Command, *, stdin: int | None, stdout: int | None = None, stderr: int | None = None, group: bool = True
) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a child; end it, and its group, when its time is over or what we do with it is interrupted."""
    late = threading.Event()

    def over() -> None:
        late.set()
        _end(process, command.grace, group=group)

    timer = threading.Timer(command.timeout or 0, over)
    with contextlib.ExitStack() as held:
        held.enter_context(_holding_interrupts())
        process = _start(command, stdin=stdin, stdout=stdout, stderr=stderr, process_group=0 if group else None)
        with process:
            try:
                held.close()  # from here on there is a child to end
                if command.timeout is not None:
                    timer.start()
                yield process
                process.wait()
            except subprocess.TimeoutExpired:
                over()
            except BaseException:
                _end(process, command.grace, group=group)
                raise
            finally:
                timer.cancel()
    if late.is_set():
        raise CommandError(f"{command.argv[0]} did not finish within {command.timeout:g} s: {command.display()}")


@contextlib.contextmanager
def _handling(handlers: Mapping[int, Handler]) -> Iterator[dict[int, Any]]:
    """Handle signals by these functions for a while, and hand out the former ones; other threads get no signals."""
    ours = handlers if threading.current_thread() is threading.main_thread() else {}
    former = {number: signal.signal(number, handler) for number, handler in ours.items()}
    try:
        yield former
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _holding_interrupts() -> Iterator[None]:
    """Hold interrupts back to the end: one that comes before Popen returns would leave a child that nobody knows."""
    heard: list[tuple[int, FrameType | None]] = []
    numbers = [number for number in (signal.SIGINT, *ENDS) if callable(signal.getsignal(number))]
    with _handling(dict.fromkeys(numbers, lambda *call: heard.append(call))) as former:
        yield
    for number, frame in heard:
        former[number](number, frame)


def _start(command: Command, **options: Any) -> "subprocess.Popen[bytes]":
    with _explained(command):
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command.argv, cwd=command.cwd, env=command.environment(), **options
        )
    return process


@contextlib.contextmanager
def _explained(command: Command) -> Iterator[None]:
    """Turn what the system says of a program that it cannot start into words."""
    try:
        yield
    except FileNotFoundError:
        if command.cwd is not None and not command.cwd.is_dir():
            raise CommandError(f"the folder {command.cwd} does not exist") from None
        raise CommandError(
            f"{command.argv[0]} is not installed, or not on PATH",
            "`invoke doctor` shows what the pipeline needs",
            returncode=127,
        ) from None
    except OSError as error:
        raise CommandError(f"{command.argv[0]} cannot be run: {error.strerror}", returncode=126) from None


def _end(process: "subprocess.Popen[bytes]", grace: float, *, group: bool) -> None:
    """Ask a child (and its group) to stop, wait, then kill what is left; a second interrupt ends the wait."""
    try:
        _signal(process, signal.SIGTERM, group=group)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        over = time.monotonic() + grace / 5
        while group and _signal(process, 0, group=True) and time.monotonic() < over:
            time.sleep(0.02)
    finally:
        _signal(process, signal.SIGKILL, group=group)
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: int, *, group: bool) -> bool:
    """Send a signal to a child or its group; return whether anyone was there to get it."""
    try:
        os.killpg(process.pid, number) if group else process.send_signal(number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _split_shown(text: bytes, secrets: Sequence[bytes], *, last: bool) -> tuple[bytes, bytes]:
    """Return what of a stream may be shown, without secrets, and what could be the beginning of one: more will tell."""
    for secret in secrets:
        text = text.replace(secret, b"***")
    beginnings = (end for end in range(len(text)) if any(secret.startswith(text[end:]) for secret in secrets))
    cut = len(text) if last else next(beginnings, len(text))
    return text[:cut], text[cut:]


def _copy_until_exit(process: "subprocess.Popen[bytes]", source: int, show: Callable[[bytes], None]) -> None:
    while True:
        over = process.poll() is not None  # asked before the last look, so that no last words are lost
        ready, _, _ = select.select([source], [], [], 0 if over else 0.1)
        chunk = b""
        with contextlib.suppress(OSError):  # a pseudo-terminal that nobody writes to any more
            chunk = os.read(source, 65536) if ready else b""
        if chunk:
            show(chunk)
        elif ready or over:
            return


def checked(command: Command, done: Completed) -> Completed:
    """Return how a command ended; raise CommandError with its last words where it failed (pure)."""
    if done.ok:
        return done
    said = redact((done.stderr.strip() or done.stdout.strip()), command.secrets)
    tail = "\n".join(said.splitlines()[-TAIL_LINES:])
    what = f"exit status {done.returncode} from: {command.display()}"
    raise CommandError(f"{what}\n{tail}" if tail else what, returncode=done.returncode, output=said)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@contextlib.contextmanager
def ending_as_interrupt() -> Iterator[None]:
    """Treat other ends like Ctrl-C, so that a cancelled job or a closed window leaves nothing behind either.

    A child of ours has a process group of its own: it would go on without anyone to end it.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling({number: interrupt for number in ENDS if signal.getsignal(number) == signal.SIG_DFL}):
        yield
