"""Choose where each Python's base image comes from (pure).

`registry` and `debian` are obeyed. `auto` prefers a registry that answers, and a choice once made is kept as
long as nothing new is learnt, so that one commit does not get one base today and another tomorrow:

- a pin in bases.lock and a registry that answers: the pinned image;
- a pin, and a registry that lately did not answer: Debian packages, without asking again for a while;
- no pin, and a base from Debian packages is at hand: that one, without asking;
- otherwise the registry is asked, once per run and briefly, then packages are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

ANSWER_SECONDS = 24 * 3600
"""How long a registry's answer counts."""
SILENCE_SECONDS = 15 * 60
"""How long a registry that did not answer is left alone."""


class Choice(StrEnum):
    """What to do for one Python."""

    REGISTRY = "registry"
    DEBIAN = "debian"
    ASK = "ask"


@dataclass(frozen=True)
class Answer:
    """What a registry said about a reference: a digest, or why not; `at` is in seconds since the epoch."""

    digest: str = ""
    reason: str = ""
    at: float = 0.0
    absent: bool = False

    def fresh(self, now: float) -> bool:
        """Tell whether it still counts."""
        return 0 <= now - self.at < (ANSWER_SECONDS if self.digest else SILENCE_SECONDS)


@dataclass(frozen=True)
class Known:
    """What is known about one Python's base images before anybody is asked."""

    pin: str = ""
    made: bool = False
    answer: Answer | None = None


def choose(mode: str, known: Known) -> Choice:
    """Return the choice for one Python under the setting `base`."""
    if mode == "debian":
        return Choice.DEBIAN
    if mode == "registry":
        return Choice.REGISTRY if known.pin or (known.answer and known.answer.digest) else Choice.ASK
    if not known.pin and known.made:
        return Choice.DEBIAN
    if known.answer is None:
        return Choice.ASK
    return Choice.REGISTRY if known.answer.digest else Choice.DEBIAN


def settle(mode: str, known: Known) -> Choice:
    """Return the choice for one Python once whoever had to be asked has been asked."""
    chosen = choose(mode, known)
    return Choice.REGISTRY if chosen is Choice.ASK else chosen


def summary(sources: Mapping[str, str], why: str = "") -> str:
    """Return the one line that says where the bases of some Pythons come from."""
    names = {"registry": "the registry", "debian": "Debian packages"}
    parts = []
    for source, name in names.items():
        pythons = [python for python, chosen in sources.items() if chosen == source]
        if pythons:
            parts.append(f"{', '.join(pythons)} from {name}")
    return f"base images: Python {'; '.join(parts)}" + (f" ({why})" if why else "")
