"""Know at the start of a release what would end it later: git, locks, changelog, targets, room, base images."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dockyard import files
from dockyard.bases.resolve import Missing, ensure_bases
from dockyard.doctor.machine import Disk, State, disk_rows, measure
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.git import Git, read_git
from dockyard.image import build
from dockyard.image.dockerfile import read_dockerfile
from dockyard.image.names import PRODUCTION
from dockyard.locks.check import check_project
from dockyard.process import Command, capture
from dockyard.release.changelog import FILE, Section, find_newest, find_section, parse_sections
from dockyard.release.plan import select_versions
from dockyard.settings import Settings
from dockyard.verify import matrix

SHOWN = 5
"""How many of many like complaints are shown."""


@dataclass(frozen=True)
class Local:
    """What the project says: the changelog's section or what is wrong with it, and the version to tag `next`."""

    git: Git | None
    shallow: bool = False
    changes: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    registry: bool = True
    stale: tuple[str, ...] = ()
    section: Section | None = None
    changelog: DockyardError | None = None
    next: str = ""


def read_project(settings: Settings) -> Local:
    """Return what the project's folder says."""
    root = settings.root
    git = read_git(root)
    if git is None:
        return Local(None)
    sections: tuple[Section, ...] = ()
    section, wrong = None, None
    try:
        sections = parse_sections(_read_changelog(root))
        section = find_section(sections, git.version) if git.version else None
    except DockyardError as error:
        wrong = error
    tagged = select_versions(_git(root, "tag", "--list").split())
    newest = find_newest(sections)
    return Local(
        git,
        shallow=_git(root, "rev-parse", "--is-shallow-repository") == "true",
        changes=tuple(line[3:] for line in _git(root, "status", "--porcelain").splitlines()) if git.dirty else (),
        versions=tagged,
        registry=bool(settings.registry) or "/" in settings.image,
        stale=tuple(f"{problem.path} {problem.message}" for problem in check_project(settings)),
        section=section,
        changelog=wrong,
        next="" if newest in tagged else newest,
    )


def find_refusals(local: Local) -> tuple[tuple[str, str], ...]:
    """Return why this commit must not be released, each reason with its hint."""
    if local.git is None:
        return (("there is no git commit to release", "commit first"),)
    found = []
    if local.shallow:
        text = "this clone is shallow: it does not have every tag, so nobody can tell which version is the highest"
        found.append((text, "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"))
    if local.git.dirty:
        own = any(change.endswith(".dockyard/") for change in local.changes)
        hint = "write /.dockyard/ into .gitignore and commit that" if own else "commit or stash them first"
        found.append((f"there are uncommitted changes: {_some(local.changes)}", hint))
    if local.git.version is None:
        make = f"`git tag v{local.next or '1.2.3'}` makes one"
        found.append((f"the commit {local.git.commit[:12]} has no version tag", f"{make}; then run this again"))
    if not local.registry:
        found.append(("there is no registry to release to", "set registry in [tool.dockyard], or DOCKYARD_REGISTRY"))
    if local.stale:
        found.append((f"the locks are stale: {_some(local.stale)}", "run `invoke lock` and commit what it writes"))
    if local.changelog:
        found.append((local.changelog.message, local.changelog.hint))
    return tuple(found)


def require_releasable(local: Local) -> tuple[str, str, Section]:
    """Return version, commit and section of the changelog to release; raise DockyardError with every reason against it.

    All reasons are told at once: nobody mends one to meet the next.
    """
    found = find_refusals(local)
    if not found and local.git and local.git.version and local.section:
        return local.git.version, local.git.commit, local.section
    if len(found) == 1:
        raise DockyardError(*found[0])
    reasons = "".join(f"\n- {message}\n  {hint}" for message, hint in found)
    raise DockyardError(f"this commit cannot be released, for {len(found)} reasons:{reasons}")


def require_ready(
    settings: Settings,
    engine: Engine,
    *,
    ensure: Callable[..., object] = ensure_bases,
    look: Callable[[str, Path], Disk] = measure,
) -> None:
    """Raise DockyardError for what a later step would lack: a target, room on the disk, a base image of some Python."""

    def heed(lost: Missing) -> None:
        if lost.python == settings.python:
            raise DockyardError(
                f"Python {lost.python}, which ships, cannot be built here: {lost.reason}",
                "release where its base image is to be had, or let another `python` ship",
            )
        matrix.require_testable(lost, settings.untested_pythons)

    build.require_targets((PRODUCTION, matrix.TARGET), read_dockerfile(settings.root, settings.dockerfile))
    disks = [look("the cache", files.folder()), look("temporary files", Path(tempfile.gettempdir()))]
    for row in disk_rows(disks):
        if row.state is State.FAIL:
            raise DockyardError(f"there is no room for a release: {row.found}", row.fix)
    if settings.platforms:
        ensure(settings, engine, (settings.python,), run=False, heed=heed)
    ensure(build.for_here(settings), engine, settings.pythons, run=False, heed=heed)


def _read_changelog(root: Path) -> str:
    """Return the changelog; raise DockyardError where there is none."""
    file = root / FILE
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DockyardError(
            f"there is no {FILE} in {root}", "write one, keepachangelog.com shows how: it becomes the notes"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DockyardError(f"{FILE} cannot be read: {error}") from None


def _git(root: Path, *arguments: str) -> str:
    return capture(Command(("git", *arguments), cwd=root, env={"GIT_OPTIONAL_LOCKS": "0"})).stdout.rstrip("\n")


def _some(items: tuple[str, ...]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
