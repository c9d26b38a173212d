"""Look at a project's folder before a release: git, locks and changelog, with no engine and no registry."""

from pathlib import Path

from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.locks import status
from dockyard.process import Command, capture
from dockyard.release import changelog, plan
from dockyard.release.plan import Local
from dockyard.settings import Settings


def look(settings: Settings) -> Local:
    """Return what the project's folder says."""
    root = settings.root
    git = read_git(root)
    if git is None:
        return Local(None)
    written, wrong = "", None
    try:
        written = text(root)
        if git.version:
            changelog.section(written, git.version)
    except DockyardError as error:
        wrong = error
    tagged = plan.versions(_git(root, "tag", "--list").split())
    newest = changelog.newest(written)
    return Local(
        git,
        shallow=_git(root, "rev-parse", "--is-shallow-repository") == "true",
        changes=tuple(line[3:] for line in _git(root, "status", "--porcelain").splitlines()) if git.dirty else (),
        versions=tagged,
        registry=bool(settings.registry) or "/" in settings.image,
        stale=tuple(f"{problem.path} {problem.message}" for problem in status.check(settings)),
        changelog=wrong,
        next="" if newest in tagged else newest,
    )


def text(root: Path) -> str:
    """Return the changelog; raise DockyardError where there is none."""
    file = root / changelog.FILE
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DockyardError(
            f"there is no {changelog.FILE} in {root}", "write one, keepachangelog.com shows how: it becomes the notes"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DockyardError(f"{changelog.FILE} cannot be read: {error}") from None


def _git(root: Path, *arguments: str) -> str:
    return capture(Command(("git", *arguments), cwd=root, env={"GIT_OPTIONAL_LOCKS": "0"})).stdout.rstrip("\n")
