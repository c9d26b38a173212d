"""`invoke reproduce`: build an image anew and compare."""

import logging
from typing import Any

from invoke.context import Context

from dockyard import console
from dockyard.errors import DockyardError
from dockyard.tasks.boundary import settings, task

log = logging.getLogger(__name__)


ROWS = 40
"""So many differences are shown; `--json` has all of them."""


@task(
    help={
        "target": "the target whose newest image is meant (default: production)",
        "python": "the Python whose newest image is meant (default: the settings' python)",
        "image": "an image that the engine has, by its reference instead, such as one that was pulled",
        "json": "print the result as JSON",
    },
)
def reproduce(
    _context: Context, target: str = "production", python: str = "", image: str = "", json: bool = False
) -> None:
    """Build an image anew without cache and compare: exit 1 and name each file that differs, and how."""
    from dockyard.verify.compare import Verdict, suggest_hint
    from dockyard.verify.model import ImageQuery
    from dockyard.verify.reproduce import reproduce_image, summarize

    outcome = reproduce_image(settings(), ImageQuery(target, python, image))
    if json:
        console.as_json(as_json(outcome))
    else:
        show(outcome)
    if outcome.verdict is Verdict.DIFFERENT:
        advice = "build from the same inputs: see above" if outcome.notes else suggest_hint(outcome.findings)
        raise DockyardError(summarize(outcome), advice)
    log.info(f"built and compared in {console.duration(outcome.seconds)}")


def show(outcome: Any) -> None:
    """Print the one line of a good end, or the table of differences."""
    from dockyard.verify.compare import Verdict
    from dockyard.verify.reproduce import summarize

    if outcome.verdict is not Verdict.DIFFERENT:
        print(summarize(outcome))
        return
    rows = [_row(finding) for finding in outcome.findings]
    title = f"{outcome.image}: {len(rows)} difference{'s' if len(rows) > 1 else ''}"
    console.table(("layer", "file or setting", "differs in", "existing", "rebuilt"), rows[:ROWS], title=title)
    if len(rows) > ROWS:
        log.info(f"and {len(rows) - ROWS} more: --json shows them all")
    for finding in outcome.findings[:ROWS]:
        if finding.diff:
            print("\n".join((f"{finding.path}:", *(f"  {line}" for line in finding.diff))))


def as_json(outcome: Any) -> dict[str, Any]:
    """Return the outcome for machines."""
    return {
        **{name: getattr(outcome, name) for name in ("image", "verdict", "existing", "rebuilt", "notes", "seconds")},
        "differences": [
            {name: getattr(finding, name) for name in finding.__dataclass_fields__} for finding in outcome.findings
        ],
    }


def _row(finding: Any) -> tuple[str, ...]:
    where = f"{finding.layer}: {_short(finding.instruction)}" if finding.layer else "configuration"
    return where, finding.path or "-", finding.how, _short(finding.before) or "-", _short(finding.after) or "-"


def _short(text: str, longest: int = 60) -> str:
    text = text.replace(" # buildkit", "")
    return text if len(text) <= longest else f"{text[:longest]}…"
