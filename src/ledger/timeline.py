"""Lay out the steps of a run along its time (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SHORTEST = 0.4
"""Percent of the width below which a bar could not be seen."""


@dataclass(frozen=True)
class Step:
    """One step: `start` and `width` are percent of the run's time, `state` is cached, failed, interrupted or ran."""

    name: str
    started: float
    seconds: float
    start: float
    width: float
    state: str


def lay_out(steps: Iterable[dict[str, Any]], duration: float) -> list[Step]:
    """Return the steps in the order of their starts; one that outlasts the run's own clock stretches it."""
    told = sorted(steps, key=lambda step: step["started_seconds"])
    whole = max([duration, *(step["started_seconds"] + step["duration_seconds"] for step in told)]) or 1.0
    return [
        Step(
            step["name"],
            step["started_seconds"],
            step["duration_seconds"],
            round(min(100 * step["started_seconds"] / whole, 100 - SHORTEST), 2),
            round(max(100 * step["duration_seconds"] / whole, SHORTEST), 2),
            _state(step),
        )
        for step in told
    ]


def _state(step: dict[str, Any]) -> str:
    outcome = step.get("outcome")
    if outcome in ("failed", "interrupted"):
        return str(outcome)
    return "cached" if step.get("cached") else "ran"
