"""Run the base's pip for several locks at a time, by the Python of the environment that the packages are for.

    python pips.py PIP LOCK ...      # PIP: pip's own folder; FOLDER.txt is installed into FOLDER

pip is imported once, which takes as long as what it does for a few packages. Runs wait for the index side by side. What
each says is shown when all have ended, and what failed comes last.
"""

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

INSTALL = (
    "install", "--ignore-installed", "--no-compile", "--no-deps", "--no-warn-script-location", "--progress-bar=off",
    "--require-hashes",
)  # fmt: skip


def main(pip: str, *locks: str) -> int:
    """Install every lock; return the exit code of one that failed, or 0."""
    sys.path[0] = str(Path(pip).parent)
    run = import_module("pip._internal.cli.main").main  # as pip's own __main__ does
    import_module("pip._internal.commands.install")
    children = {lock: start(run, lock) for lock in locks}
    codes = {lock: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for lock, child in children.items()}
    for lock in sorted(locks, key=lambda lock: codes[lock] != 0):
        sys.stderr.write(Path(lock).with_suffix(".log").read_text("utf-8", "replace"))
    return max(codes.values(), key=abs, default=0)


def start(run: Callable[[list[str]], int], lock: str) -> int:
    """Start one run in a process of its own; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(Path(lock).with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        words = [*INSTALL, f"--prefix={Path(lock).with_suffix('')}", f"--requirement={lock}"]
        code = run(words)
    except BaseException:  # noqa: BLE001 - of pip, whose caller has a stack that nobody should come back to
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    ended = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(ended)  # to take pip's modules down one by one takes a third of the time of their import
