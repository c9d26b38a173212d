"""Decide what a release still needs, which names it may take, and when it must not be made at all (pure).

A release under way is here too: what it has the rest of the pipeline do, and what this machine remembers of it.
Checks leave nothing that a registry could be asked for: which image has passed them stands in .dockyard/release.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.version import InvalidVersion, Version

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build
from dockyard.image.build import Built
from dockyard.image.names import require_tag
from dockyard.registry import content, documents, push, sign
from dockyard.registry.content import Repository
from dockyard.registry.push import Pushed
from dockyard.registry.sign import Signer
from dockyard.release import preconditions
from dockyard.release.preconditions import Local
from dockyard.settings import Settings
from dockyard.verify import contents, matrix, reproduce, verify
from dockyard.verify.model import Facts
from dockyard.verify.output import Report


@dataclass(frozen=True)
class Names:
    """A release's tags: `own` and `sha` mean this image for ever, `moving` the newest of a series."""

    own: str
    sha: str
    moving: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """All of them, the most telling first."""
        return (self.own, *self.moving, self.sha)


class Status(StrEnum):
    """How it stands with a step."""

    DONE = "done"
    DUE = "to do"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Step:
    """One step of a release, what it does in words, and how it stands with it."""

    name: str
    what: str
    status: Status = Status.DUE


@dataclass(frozen=True)
class ReleaseState:
    """How far a release is: `digest` is empty until its image is built here, `registry` maps tags to digests.

    `passed` holds the steps that leave nothing a registry could be asked for and that this very image has
    behind it; `left_out` maps steps to the reason why they are not done.
    """

    names: Names
    digest: str = ""
    passed: frozenset[str] = frozenset()
    registry: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    noted: bool = False

    def has(self, *tags: str) -> bool:
        """Whether the registry has this release's image under all these tags."""
        return bool(self.digest) and all(self.registry.get(tag) == self.digest for tag in tags)


def choose_tags(version: str, commit: str, tagged: Iterable[str], published: Iterable[str] = ()) -> Names:
    """Return the tags that a version gets, when git has the versions `tagged` and the registry the tags `published`.

    A candidate gets its own only. A series (1.2, 1, latest) moves forward, never back, and never to a name
    that is a version of its own.
    """
    own, sha = require_tag(version.replace("+", "-")), commit[:12]
    this, tagged = parse_version(version), tuple(tagged)
    if this is None or this.is_prerelease:
        return Names(own, sha)
    finals = [one for one in map(parse_version, (*tagged, *published)) if one and not one.is_prerelease]
    series = {
        f"{this.major}.{this.minor}": [one for one in finals if one.release[:2] == this.release[:2]],
        str(this.major): [one for one in finals if one.major == this.major],
        "latest": finals,
    }
    versions = {own, *(text.replace("+", "-") for text in tagged)}
    moving = (tag for tag, rivals in series.items() if tag not in versions and all(one <= this for one in rivals))
    return Names(own, sha, tuple(moving))


def parse_version(version: str) -> Version | None:
    """Return what a version is compared by, or None where it fits no order."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def plan_steps(state: ReleaseState) -> tuple[Step, ...]:
    """Return every step of a release in order: the names that people pull come last, when all behind them is there."""
    names = state.names
    there = "" if state.digest else state.registry.get(names.own, "")
    steps = (
        ("build", "the production image", bool(state.digest)),
        ("verify", "it keeps to the policy", "verify" in state.passed),
        ("reproduce", "a build without cache gives the same", "reproduce" in state.passed),
        ("test", "the tests pass on every Python", "test" in state.passed),
        ("push", f"its content, as {names.sha}", state.has(names.sha)),
        ("attest", "what is in it, and where it comes from", "attest" in state.passed),
        ("sign", "its digest", "sign" in state.passed),
        ("tag", f"{names.own}: in the registry as {there}" if there else names.own, state.has(names.own)),
        ("move", ", ".join(names.moving), state.has(*names.moving)),
        ("notes", "the changelog's section", state.noted),
    )
    left_out = {**state.left_out, **({} if names.moving else {"move": "no series ends with this version"})}
    return tuple(
        Step(name, f"{what}: {left_out[name]}" if what else left_out[name], Status.LEFT_OUT)
        if name in left_out
        else Step(name, what, Status.DONE if done else Status.DUE)
        for name, what, done in steps
    )


def refuse_overwriting(repository: str, state: ReleaseState) -> None:
    """Raise DockyardError where the registry has the version as another image."""
    there = state.registry.get(state.names.own, "")
    if there and state.digest and there != state.digest:
        raise DockyardError(
            f"{repository}:{state.names.own} is in the registry as {there}, and this commit gives {state.digest}: "
            "a version that is out is never overwritten",
            "release it as the next version; `invoke reproduce` shows in what the images differ",
        )


def refuse_platforms(described: str, builder: str, platforms: Iterable[str]) -> None:
    """Raise DockyardError for platforms that a builder lacks; `described` is what `docker buildx inspect` says."""
    rows = re.findall(r"^Platforms:(.*)$", described, re.MULTILINE)
    offered = {_plain(word.strip(" *")) for row in rows for word in row.split(",") if word.strip()}
    absent = [platform for platform in platforms if _plain(platform) not in offered]
    if absent:
        whose = f"the builder {builder}" if builder else "the engine's own builder"
        raise DockyardError(
            f"{', '.join(absent)} cannot be built here: {whose} has {', '.join(sorted(offered)) or 'no platform'}",
            "install emulation (the packages qemu-user-static and binfmt-support), "
            "or name a builder that has it with `builder` in [tool.dockyard]",
        )


def _plain(platform: str) -> str:
    """Return a platform without the variant that every such machine has."""
    return {"linux/arm64/v8": "linux/arm64", "linux/amd64/v1": "linux/amd64"}.get(platform, platform)


FOLDER = Path(".dockyard") / "release"


@dataclass(frozen=True)
class Journal:
    """What this machine remembers of a release: the image of a commit, and the steps that it has passed."""

    commit: str = ""
    digest: str = ""
    passed: tuple[str, ...] = ()


def read_journal(file: Path, commit: str) -> Journal:
    """Return what is remembered of a commit's release; a journal of another commit, or a broken one, is of no use."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        document = json.loads(file.read_bytes())
        found = Journal(str(document["commit"]), str(document["digest"]), tuple(map(str, document["passed"])))
        return found if found.commit == commit else Journal()
    return Journal()


@dataclass(frozen=True)
class Actions:
    """What looks, what builds and checks, what speaks with the registry, and what signs."""

    read_project: Callable[[Settings], Local] = preconditions.read_project
    require_ready: Callable[[Settings, Engine], None] = preconditions.require_ready
    build_images: Callable[..., tuple[tuple[Built, ...], tuple[Missing, ...]]] = build.build_images
    verify_image: Callable[..., Report] = verify.verify_image
    read_image: Callable[[Engine, str], Facts] = contents.read_image
    reproduce_image: Callable[..., reproduce.Comparison] = reproduce.reproduce_image
    run_matrix: Callable[..., tuple[tuple[matrix.Outcome, ...], tuple[Missing, ...]]] = matrix.run_matrix
    preflight: Callable[[Engine, list[str]], None] = push.preflight
    open_repository: Callable[[Engine, str], AbstractContextManager[Repository]] = content.open_repository
    push_variants: Callable[..., tuple[Pushed, ...]] = push.push_variants
    verify_pushed: Callable[[Engine, str, str], int] = push.verify_pushed
    attest_image: Callable[..., tuple[content.Document, ...]] = documents.attest_image
    explain_hindrance: Callable[[str], str] = sign.explain_hindrance
    unlock_key: Callable[[str, Mapping[str, str]], Signer] = sign.unlock_key
    has_signature: Callable[[Signer, str], bool] = sign.has_signature
    sign_digest: Callable[[Signer, str], None] = sign.sign_digest


PIPELINE = Actions()


@dataclass(frozen=True)
class Job:
    """A release that is under way: what is wanted, where, of which commit, and whom to tell."""

    settings: Settings
    engine: Engine
    version: str
    commit: str
    section: preconditions.Section
    signer: Signer | None = None
    journal: Journal = field(default_factory=Journal)
    actions: Actions = PIPELINE

    @property
    def file(self) -> Path:
        """Where the journal is; the release notes are beside it."""
        return self.settings.root / FOLDER / f"{self.version}.json"

    @property
    def notes(self) -> Path:
        """Where the release notes are."""
        return self.settings.root / FOLDER / f"{self.version}.md"

    def reference(self, tag: str) -> str:
        """Return the image's name with a tag."""
        return f"{self.settings.repository}:{tag}"

    def pinned(self, state: ReleaseState) -> str:
        """Return the name that means the released image for ever."""
        return f"{self.settings.repository}@{state.digest}"

    def text(self, state: ReleaseState) -> str:
        """Return what the release notes say."""
        name = self.settings.image.rsplit("/", 1)[-1]
        return preconditions.format_notes(name, self.section, self.pinned(state), state.names.every)


@dataclass(frozen=True)
class Shipped:
    """A complete release as the registry has it, `size` in bytes; `changed` is whether this run did anything for it."""

    version: str
    commit: str
    repository: str
    digest: str
    size: int
    names: Names
    unsigned: str
    notes: Path
    changed: bool
