"""What a deploy would change: what is wanted held against what runs (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

Objects = Mapping[str, Mapping[str, str]]
"""What a destination has or should have: by "service web" or "secret token", the facts that can differ, as text."""

KEPT = ("service front", "image")
"""What differs and stays: a front runs on with the image that it was made of."""


@dataclass(frozen=True)
class Change:
    """One difference: `key` is what differs of an object, empty where the whole object comes or goes."""

    thing: str
    key: str
    before: str
    after: str

    @property
    def verb(self) -> str:
        """What is done about it."""
        if self.key:
            return "change"
        return "remove" if self.before else "create"


@dataclass(frozen=True)
class Version:
    """One deploy that a destination remembers: `image` has its digest, `at` is in UTC, `outcome` is one word."""

    number: int
    image: str
    at: str
    by: str
    outcome: str


@dataclass(frozen=True)
class Live:
    """What runs at a destination; `versions` has the newest deploy first."""

    objects: Objects
    versions: tuple[Version, ...] = ()


def compare_objects(live: Objects, wanted: Objects) -> tuple[Change, ...]:
    """Return what has to change so that what runs is what is wanted."""
    changes: list[Change] = []
    for thing in sorted({*live, *wanted}):
        before, after = live.get(thing), wanted.get(thing)
        if before is None or after is None:
            changes.append(Change(thing, "", _summary(before), _summary(after)))
            continue
        keys = [key for key in sorted({*before, *after}) if before.get(key, "") != after.get(key, "")]
        keys = [key for key in keys if (thing, key) != KEPT]
        changes += [Change(thing, key, before.get(key, ""), after.get(key, "")) for key in keys]
    return tuple(changes)


def _summary(facts: Mapping[str, str] | None) -> str:
    return "" if facts is None else facts.get("image") or "present"
