"""Divide a lock into parts that are installed, kept and pulled on their own: a new version leaves most as they are.

This one file runs inside a build stage, so it imports the standard library only and nothing of Dockyard:

    python parts.py LOCK FOLDER NUMBER   # writes FOLDER/1.txt to FOLDER/NUMBER.txt

Every requirement goes to one part, by its name alone; options of the whole lock go to each. Comments stay behind. So
a part changes only with what it installs, and BuildKit knows those that did not change again by their content.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:[\[(<>=!~;@]|$)")
EDITABLE = ("-e", "--editable")


def main(arguments: list[str]) -> int:
    """Write the parts; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("lock", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int)
    options = parser.parse_args(arguments)
    if options.number < 1:
        parser.error("there must be at least one part")
    options.folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(divided(options.lock.read_text("utf-8"), options.number), 1):
        (options.folder / f"{number}.txt").write_text(text, "utf-8")
    return 0


def divided(lock: str, number: int) -> list[str]:
    """Return the text of every part; what has no name to go by is in the first (pure)."""
    parts: list[list[str]] = [[] for _ in range(number)]
    for line in requirements(lock):
        named = NAMED.match(line)
        if line.startswith("-") and not line.startswith(EDITABLE):
            for part in parts:
                part.append(line)
        else:
            parts[place(named[1], number) if named else 0].append(line)
    return ["".join(f"{line}\n" for line in part) for part in parts]


def requirements(lock: str) -> list[str]:
    """Return what a lock says, each requirement in one line with its hashes, without comments (pure)."""
    said = "\n".join(line for line in lock.splitlines() if not line.lstrip().startswith("#"))
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in re.sub(r"\\\n\s*", "", said).splitlines())
    return [line for line in lines if line]


def place(name: str, number: int) -> int:
    """Return which part holds a distribution, from 0: by its name as indexes compare it, so that it never moves."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return hashlib.sha256(normal.encode()).digest()[0] % number


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
