"""Read what git knows of a project: its commit, its branch, its version tag and whether it has changes."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dockyard.errors import CommandError
from dockyard.process import Command, capture

VERSION_TAG = re.compile(r"v?(\d+(?:\.\d+)+(?:[a-z0-9.+-]*)?)")


@dataclass(frozen=True)
class Git:
    """The commit that is checked out: `time` is its committer date in seconds since the epoch."""

    commit: str
    time: int
    branch: str | None = None
    tag: str | None = None
    dirty: bool = False

    @property
    def version(self) -> str | None:
        """The version that the commit is tagged with, without its v, or None."""
        found = VERSION_TAG.fullmatch(self.tag or "")
        return found.group(1) if found else None


def read_git(root: Path) -> Git | None:
    """Return the state of the repository that `root` is in; None where there is none, or no commit yet."""
    questions = (
        ("log", "-1", "--no-show-signature", "--format=%H %ct"),
        ("tag", "--points-at", "HEAD"),
        ("symbolic-ref", "--quiet", "--short", "HEAD"),
        ("status", "--porcelain", "--untracked-files=normal"),
    )
    with ThreadPoolExecutor(len(questions)) as pool:
        said, tags, branch, changes = pool.map(lambda question: _git(root, *question), questions)
    if said is None:
        return None
    commit, time = said.split()
    return Git(commit, int(time), branch, newest((tags or "").split()), bool(changes))


def newest(tags: Iterable[str]) -> str | None:
    """Return the tag of the highest version among `tags`, or None; a release is higher than its candidates (pure)."""
    versions = [tag for tag in tags if VERSION_TAG.fullmatch(tag)]
    return max(versions, key=_height, default=None)


def _height(tag: str) -> tuple[list[int], bool, str]:
    numbers, rest = re.fullmatch(r"v?(\d+(?:\.\d+)*)(.*)", tag).groups()  # type: ignore[union-attr]
    return [int(number) for number in numbers.split(".")], not re.search(r"a|b|rc|dev|pre", rest.partition("+")[0]), tag


def _git(root: Path, *arguments: str) -> str | None:
    command = Command(("git", *arguments), cwd=root, env={"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"})
    try:
        done = capture(command, check=False)
    except CommandError:  # git is not installed
        return None
    return done.stdout.strip() if done.ok else None
