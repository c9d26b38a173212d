"""Decide what a release still needs, which names it may take, and when it must not be made at all (pure)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError
from dockyard.git import VERSION_TAG
from dockyard.image import names as images


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
class State:
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
    own, sha = images.require_tag(version.replace("+", "-")), commit[:12]
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


def select_versions(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the versions among tags, without their v."""
    found = (VERSION_TAG.fullmatch(tag) for tag in tags)
    return tuple(match[1] for match in found if match)


def plan_steps(state: State) -> tuple[Step, ...]:
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


def find_next_step(state: State) -> Step | None:
    """Return the next step, or None when the release is complete."""
    return next((step for step in plan_steps(state) if step.status is Status.DUE), None)


def refuse_overwriting(repository: str, state: State) -> None:
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
