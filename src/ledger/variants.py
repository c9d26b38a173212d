"""The images that records are about, and how a page calls them (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One image of a project: a target of its Dockerfile on one Python."""

    target: str
    python: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return " on Python ".join(filter(None, (self.target, self.python))) or "image"


def list_variants(builds: Iterable[Record]) -> list[Variant]:
    """Return the variants among builds, those that ship first, then the newest Python."""
    found = {variant_of(build) for build in builds}
    return sorted(
        found, key=lambda one: (one.target != "production", one.target, [-part for part in numbers(one.python)])
    )


def variant_of(record: Record) -> Variant:
    """Return the variant that a record is about."""
    return Variant(record.get("target") or "", record.get("python") or "")


def numbers(version: str) -> list[int]:
    """Return a version's numbers, to sort by."""
    return [int(part) for part in version.split(".") if part.isdecimal()]


def label_of(record: Record) -> str:
    """Return the few letters by which a chart names a run: its tag, its commit, or its day."""
    git = record.get("git") or {}
    return git.get("tag") or (git.get("commit") or "")[:7] or record["started"][5:10]
