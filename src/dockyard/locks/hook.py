# ruff: noqa: PTH109
# Importing pathlib would take a third of the hook's time.
"""The pre-commit hook: check the locks of the project around the current folder, and import almost nothing."""

import os
import sys

from dockyard.errors import DockyardError
from dockyard.locks.check import find_problems, read_lock_settings


def main() -> int:
    """Print each problem with file and line, and return the exit code."""
    try:
        problems = find_problems(read_lock_settings(os.getcwd(), os.environ))
    except DockyardError as error:
        sys.stderr.write(f"ERROR {error.message}\n" + (f"TIP   {error.hint}\n" if error.hint else ""))
        return int(error.code)
    for problem in problems:
        sys.stdout.write(f"{problem.path}:{problem.line}: {problem.message}\n")
    if problems:
        sys.stderr.write(f"TIP   to mend: {'; '.join(dict.fromkeys(problem.mend for problem in problems))}\n")
    return int(bool(problems))


def run() -> None:
    """Run the hook as a program; taking the interpreter apart in good order would take a tenth of its time."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
