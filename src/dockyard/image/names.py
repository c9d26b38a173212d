"""Name and label images: tags from git, OCI annotation keys (pure)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dockyard.errors import UsageError
from dockyard.git import Git
from dockyard.settings import Settings

PRODUCTION = "production"
NO_COMMIT_TIME = 315_532_800
"""1980-01-01, the earliest date a zip archive can hold: the time of a build that no commit dates."""
DIRTY = "-dirty"
PREFIX = "org.opencontainers.image."
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Variant:
    """One image to build: a Dockerfile target on one Python."""

    target: str
    python: str

    @property
    def name(self) -> str:
        """A name for it that BuildKit's bake takes: production-3_13."""
        return f"{self.target}-{self.python}".replace(".", "_")


def describe_revision(git: Git | None) -> str:
    """Return what an image's labels say of its commit, empty without git."""
    return git.commit + (DIRTY if git.dirty else "") if git else ""


def epoch(git: Git | None) -> int:
    """Return the time that a build is dated with, in seconds: the commit's, or a fixed one without git."""
    return git.time if git else NO_COMMIT_TIME


def local_name(settings: Settings, variant: Variant) -> str:
    """Return the name by which stacks and tests find the newest build: it moves, and is never pushed."""
    python = "" if variant.python == settings.python else f"-py{variant.python}"
    return f"{settings.image}:{variant.target}{python}"


def choose_tags(settings: Settings, git: Git | None, variant: Variant, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the full references of a variant, most telling first; `chosen` replaces those from git.

    A version tag gives `1.2.3`, every commit its first twelve digits; uncommitted changes mark it `-dirty`. Raise
    UsageError where nothing says what they are.
    """
    # What tells a variant from the production image on the default Python:
    end = "" if variant.target == PRODUCTION else f"-{variant.target}"
    end += "" if variant.python == settings.python else f"-py{variant.python}"
    if chosen:
        words = list(chosen)
    elif git is None:
        raise UsageError("there is no git commit to take a tag from", "name one, such as `--tag 1.2.3`")
    else:
        sha = git.commit[:12]
        words = [f"{sha}{DIRTY}"] if git.dirty else [*([git.version.replace("+", "-")] if git.version else []), sha]
    return tuple(f"{settings.repository}:{require_tag(word + end)}" for word in words)


def require_tag(tag: str) -> str:
    """Return `tag` if it is one by the rules of the OCI Distribution Specification; raise UsageError if not."""
    if TAG.fullmatch(tag):
        return tag
    raise UsageError(
        f"{tag!r} cannot be an image tag",
        "use up to 128 letters, digits, _ . and -, beginning with a letter, digit or _",
    )


def make_labels(settings: Settings, git: Git | None, variant: Variant, base: str, digest: str) -> dict[str, str]:
    """Return the image's labels by their keys of the OCI Image Specification's annotations."""
    values = {
        "title": settings.image,
        "created": datetime.fromtimestamp(epoch(git), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "revision": describe_revision(git),
        "version": (git.version or "") if git and not git.dirty else "",
        "base.name": base,
        "base.digest": digest,
    }
    found = {PREFIX + key: value for key, value in values.items() if value}
    return {**found, "io.dockyard.target": variant.target, "io.dockyard.python": variant.python}
