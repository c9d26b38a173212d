"""A badge: what a project's newest run of a kind came to, for a README elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ledger import present, runs

HEIGHT, MARGIN, LETTER = 20, 8, 7
"""In pixels; a letter of the badge's 11 px font is 7 wide or less."""
MARKS = {"passed": "✓", "failed": "✗", "interrupted": "!"}
"""Read without colour too."""


@dataclass(frozen=True)
class Badge:
    """Two words beside each other."""

    label: str
    outcome: str
    message: str

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of both halves."""
        left, right = (2 * MARGIN + LETTER * len(text) for text in (self.label, self.message))
        return left, right


def make(session: Session, project: str, args: Mapping[str, str]) -> Badge:
    """Return the badge of a project's newest run; raises FilterError on a parameter that makes no sense."""
    unknown = sorted(args.keys() - {"kind", "target", "python"})
    if unknown:
        raise runs.FilterError(unknown[0], "is no part of a badge: use kind, target, python")
    filters = runs.Filters.parse({"kind": "build", **args, "project": project, "limit": "1"})
    found = runs.find(session, filters).records
    label = " ".join(word for word in (filters.kind, filters.target, filters.python) if word)
    if not found:
        return Badge(label, "unknown", "no run yet")
    (record,) = found
    told = f"{MARKS[record['outcome']]} {record['outcome']} · {present.duration(record['duration_seconds'])}"
    return Badge(label, record["outcome"], told)
