"""Read what git knows of a project: its commit, its branch, its version and whether it has changes."""

import os
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
    described: str | None = None
    """The last version tag before it and how far behind that it is, as `git describe --long` has it."""

    @property
    def version(self) -> str | None:
        """The version that the commit is tagged with, without its v, or None."""
        found = VERSION_TAG.fullmatch(self.tag or "")
        return found.group(1) if found else None

    @property
    def project_version(self) -> str:
        """The version of what is made from this commit, by PEP 440: 1.2.3 on its tag, 1.2.3+4.g0123456789ab later."""
        if self.version and not self.dirty:
            return self.version
        last = re.fullmatch(r"(.+)-(\d+)-g[0-9a-f]+", self.described or "")
        found = VERSION_TAG.fullmatch(self.tag or (last[1] if last else ""))
        base = found[1] if found else "0.0.0"
        behind = [last[2]] if found and last and not self.tag else []
        local = [*behind, f"g{self.commit[:12]}", *(["dirty"] if self.dirty else [])]
        return base + ("." if "+" in base else "+") + ".".join(local)


def read_git(root: Path) -> Git | None:
    """Return the state of the repository that `root` is in; None where there is none, or no commit yet."""
    folders = (root.resolve(), *root.resolve().parents)
    if "GIT_DIR" not in os.environ and not any((folder / ".git").exists() for folder in folders):
        return None
    questions = (
        ("log", "-1", "--no-show-signature", "--format=%H %ct"),
        ("tag", "--points-at", "HEAD"),
        ("symbolic-ref", "--quiet", "--short", "HEAD"),
        ("status", "--porcelain", "--untracked-files=normal"),
        ("describe", "--tags", "--long", "--match=v[0-9]*", "--match=[0-9]*"),
    )
    with ThreadPoolExecutor(len(questions)) as pool:
        said, tags, branch, changes, described = pool.map(lambda question: _git(root, *question), questions)
    if said is None:
        return None
    commit, time = said.split()
    return Git(commit, int(time), branch, newest((tags or "").split()), bool(changes), described)


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
