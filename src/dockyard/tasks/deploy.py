"""`invoke deploy`: from an image's digest to a running service."""

from typing import TYPE_CHECKING, Any

from invoke.context import Context

from dockyard import console
from dockyard.errors import ChangesPending
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.deploy.steps import Planned

TO = "the destination, by its name in [tool.dockyard.deploy.NAME] (default: the only one)"
STYLES = {"create": "green", "change": "yellow", "remove": "red"}


@task(
    default=True,
    help={
        "to": TO,
        "image": "the image by its digest: sha256:… or repository@sha256:…",
        "dry_run": "show what would change; ends with 1 where that is anything",
        "json": "print the result as JSON",
    },
)
def deploy(_context: Context, to: str = "", image: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Deploy an image: show what differs from what runs, then do only that."""
    from dockyard.deploy import steps

    planned = steps.plan_deploy(settings(), to, image)
    if json:
        console.as_json(as_json(planned))
    else:
        show(planned)
    if dry_run and planned.changes:
        raise ChangesPending(f"{planned.destination.name} differs from what is wanted", "run it without --dry-run")
    planned.cluster.apply(planned.image, planned.changes)


def show(planned: "Planned") -> None:
    """Print what differs."""
    title = f"{planned.destination.name} ({planned.destination.kind}): {planned.image}"
    rows = [(one.verb, one.thing, one.key, one.before, one.after) for one in planned.changes]
    console.table(("", "what", "of it", "now", "then"), rows, title=title, styles=STYLES)


def as_json(planned: "Planned") -> dict[str, Any]:
    """Return a plan as machines read it."""
    return {
        "destination": planned.destination.name,
        "kind": planned.destination.kind,
        "image": planned.image,
        "changes": [{"verb": one.verb, **vars(one)} for one in planned.changes],
    }
