"""Run a server that gets its end signal a little later: `python drain.py SECONDS SIGNAL COMMAND…`.

A cluster stops sending to a copy and signals it at the same moment; whoever sends needs a moment to notice. Other
signals pass at once, and so does a second end signal. As process 1 it takes the remains of orphans too.
"""

import os
import signal
import sys
import time
from contextlib import suppress

PASSED = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


def run(seconds: float, ending: signal.Signals, command: list[str]) -> int:
    """Run a command, and return its exit code, or 128 and the number of the signal that ended it."""
    watched = {*PASSED, ending, signal.SIGCHLD}
    # Blocked before the command starts, so that no signal is lost on the way; it starts with those that we had.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.posix_spawnp(command[0], command, os.environ, setsigmask=before)
    asked, due = False, float("inf")
    while True:
        left = due - time.monotonic()
        caught = signal.sigtimedwait(watched, max(0.0, min(left, 3600.0)))
        number = caught.si_signo if caught else 0
        if number == signal.SIGCHLD:
            if (code := reap(child)) is not None:
                return code
        elif number == ending and not asked:
            asked, due = True, time.monotonic() + seconds
        elif number or left <= 0:
            if number in {0, ending}:
                due = float("inf")
            with suppress(ProcessLookupError):
                os.kill(child, number or ending)


def reap(child: int) -> int | None:
    """Take the remains of all that has ended; return the child's exit code, or None where it goes on."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
    return code if code is None or code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), signal.Signals[sys.argv[2]], sys.argv[3:]))
