"""What a release asks of the project at its start: git, locks, changelog, targets, room on the disk, base images.

What would end a release later is known before it begins. A changelog is read in the form of Keep a Changelog; the
section of the version becomes the release notes.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockyard import files
from dockyard.bases.resolve import Missing, ensure_bases
from dockyard.doctor import FAIL, Row, measure_disk
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.git import VERSION_TAG, Git, read_git
from dockyard.image import build
from dockyard.image.dockerfile import read_dockerfile
from dockyard.image.names import PRODUCTION
from dockyard.locks.check import check_project
from dockyard.locks.pins import equal_versions
from dockyard.process import Command, capture
from dockyard.settings import Settings
from dockyard.verify import matrix

FILE = "CHANGELOG.md"
UNRELEASED = "unreleased"
HEADING = re.compile(
    r"^##[ \t]+\[?v?(?P<version>\d[^\]\s(]*|unreleased)\]?(?:\([^)]*\))?(?P<rest>.*)$", re.MULTILINE | re.IGNORECASE
)
"""A version's own heading: another one of the second level, as in a block of code, belongs to the text."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
DEFINITION = re.compile(r"^ {0,3}(\[[^\]\n]+\]):[ \t]*\S.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """What a changelog says of one version: `date` as it is written, `body` without the heading."""

    version: str
    date: str
    body: str

    @property
    def empty(self) -> bool:
        """Whether nothing stands below the heading but further headings."""
        return not any(line.strip() and not line.startswith("#") for line in self.body.splitlines())


def parse_sections(text: str) -> tuple[Section, ...]:
    """Return a changelog's sections in their order.

    The link definitions that a section uses come with it, wherever they stand in the file.
    """
    definitions = {found[1].casefold(): found[0].strip() for found in DEFINITION.finditer(text)}
    text = DEFINITION.sub("", text)
    headings = list(HEADING.finditer(text))
    sections = []
    for heading, end in zip(headings, [*(one.start() for one in headings[1:]), len(text)], strict=False):
        body, date = text[heading.end() : end].strip("\n"), DATE.search(heading["rest"])
        links = "\n".join(link for label, link in definitions.items() if label in body.casefold())
        sections.append(Section(heading["version"], date[0] if date else "", "\n\n".join(filter(None, (body, links)))))
    return tuple(sections)


def find_section(every: Sequence[Section], version: str) -> Section:
    """Return the section of a version; raise DockyardError where there is none, several, or nothing in it."""
    its = [one for one in every if equal_versions(one.version, version)]
    if not its:
        write = f"## [{version}] - YYYY-MM-DD"
        hint = f"write a section `{write}` and commit it, then move the tag"
        if any(one.version.casefold() == UNRELEASED and not one.empty for one in every):
            hint = f"put `{write}` between [Unreleased] and its entries and commit it, then move the tag"
        raise DockyardError(f"{FILE} has no section for {version}", hint)
    if len(its) > 1:
        raise DockyardError(f"{FILE} has {len(its)} sections for {version}", "make one of them")
    if its[0].empty:
        raise DockyardError(f"{FILE} says nothing about {version}", f"write what changed below its heading in {FILE}")
    return its[0]


def find_newest(every: Sequence[Section]) -> str:
    """Return the topmost version, or an empty string where there is none yet."""
    return next((one.version for one in every if one.version[0].isdigit()), "")


def format_notes(name: str, found: Section, pinned: str, tags: Iterable[str]) -> str:
    """Return the release notes: what changed, and the image by the name that never means another one."""
    date = f" ({found.date})" if found.date else ""
    named = ", ".join(f"`{tag}`" for tag in tags)
    return f"# {name} {found.version}{date}\n\n{found.body}\n\n## Image\n\n```text\n{pinned}\n```\n\nTags: {named}\n"


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
        sections = parse_sections((root / FILE).read_text(encoding="utf-8-sig"))
        section = find_section(sections, git.version) if git.version else None
    except DockyardError as error:
        wrong = error
    except (OSError, UnicodeDecodeError) as error:
        hint = "keepachangelog.com shows how to write one: it becomes the notes"
        wrong = DockyardError(f"{FILE} cannot be read: {error}", hint)
    tags = (VERSION_TAG.fullmatch(tag) for tag in _git(root, "tag", "--list").split())
    tagged = tuple(match[1] for match in tags if match)
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


def require_releasable(local: Local) -> tuple[str, str, Section]:
    """Return version, commit and section of the changelog to release; raise DockyardError with every reason against it.

    All reasons are told at once, each with its hint: nobody mends one to meet the next.
    """
    git = local.git
    if git is None:
        raise DockyardError("there is no git commit to release", "commit first")
    found = []
    if local.shallow:
        text = "this clone is shallow: it does not have every tag, so nobody can tell which version is the highest"
        found.append((text, "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"))
    if git.dirty:
        own = any(change.endswith(".dockyard/") for change in local.changes)
        hint = "write /.dockyard/ into .gitignore and commit that" if own else "commit or stash them first"
        found.append((f"there are uncommitted changes: {_some(local.changes)}", hint))
    if git.version is None:
        make = f"`git tag v{local.next or '1.2.3'}` makes one"
        found.append((f"the commit {git.commit[:12]} has no version tag", f"{make}; then run this again"))
    if not local.registry:
        found.append(("there is no registry to release to", "set registry in [tool.dockyard], or DOCKYARD_REGISTRY"))
    if local.stale:
        found.append((f"the locks are stale: {_some(local.stale)}", "run `invoke lock` and commit what it writes"))
    if local.changelog:
        found.append((local.changelog.message, local.changelog.hint))
    if not found and git.version and local.section:
        return git.version, git.commit, local.section
    if len(found) == 1:
        raise DockyardError(*found[0])
    reasons = "".join(f"\n- {message}\n  {hint}" for message, hint in found)
    raise DockyardError(f"this commit cannot be released, for {len(found)} reasons:{reasons}")


def require_ready(
    settings: Settings,
    engine: Engine,
    *,
    ensure: Callable[..., object] = ensure_bases,
    look: Callable[[str, Path], Row] = measure_disk,
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
    for row in (look("the cache", files.folder()), look("temporary files", Path(tempfile.gettempdir()))):
        if row.state == FAIL:
            raise DockyardError(f"there is no room for a release: {row.found}", row.fix)
    if settings.platforms:
        ensure(settings, engine, (settings.python,), run=False, heed=heed)
    ensure(build.for_here(settings), engine, settings.pythons, run=False, heed=heed)


def _git(root: Path, *arguments: str) -> str:
    return capture(Command(("git", *arguments), cwd=root, env={"GIT_OPTIONAL_LOCKS": "0"})).stdout.rstrip("\n")


def _some(items: tuple[str, ...]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
