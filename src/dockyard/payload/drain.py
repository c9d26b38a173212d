"""Run a server that gets its end signal a little later: `python drain.py SECONDS SIGNAL COMMAND…`.

A cluster stops sending to a copy and signals it at the same moment; whoever sends needs a moment to notice. Other
signals pass at once, and so does a second end signal. As process 1 it takes the remains of orphans too.
"""

import os
import signal
import sys
from types import FrameType


def run(seconds: int, ending: signal.Signals, command: list[str]) -> int:
    """Run a command, and return its exit code, or 128 and the number of the signal that ended it."""
    child = os.posix_spawnp(command[0], command, os.environ, setsigdef=[ending])

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    def wait_first(_number: int, _frame: FrameType | None) -> None:
        signal.signal(ending, pass_on)
        signal.signal(signal.SIGALRM, lambda _number, _frame: os.kill(child, ending))
        signal.setitimer(signal.ITIMER_REAL, seconds or 0.001)

    for other in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(other, pass_on)
    signal.signal(ending, wait_first)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), signal.Signals[sys.argv[2]], sys.argv[3:]))
