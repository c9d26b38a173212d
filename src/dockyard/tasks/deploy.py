"""`invoke deploy` with its `status`, `logs` and `history`, `rollback`, `manifests`: a service at its destinations."""

import re
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import ChangesPending
from dockyard.tasks.boundary import parse_number, print_lines, settings, task

if TYPE_CHECKING:
    from dockyard.deploy.cluster import Cluster
    from dockyard.deploy.steps import Planned

TO = "the destination, by its name in [tool.dockyard.deploy.NAME] (default: the only one)"
STYLES = {"create": "green", "change": "yellow", "remove": "red", "runs": "green", "failed": "red"}
IMAGE = "the image by its digest: sha256:… or repository@sha256:… (default: the one pushed for this commit)"


@task(
    default=True,
    help={"to": TO, "image": IMAGE, "dry_run": "show what would change; ends with 1 where that is anything"},
)
def deploy(to: str = "", image: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Deploy an image: show what differs from what runs, then do only that; a failure returns to what ran before."""
    from dockyard.deploy import steps

    planned = steps.plan_deploy(settings(), to, image)
    if not json:
        show(planned)
    if dry_run:
        if json:
            console.as_json(as_json(planned))
        if planned.changes:
            raise ChangesPending(f"{planned.destination.name} differs from what is wanted", "run it without --dry-run")
        return
    made = steps.run_deploy(planned)
    if json:
        console.as_json({**as_json(planned), "version": made or None})
    else:
        if made:
            console.log.info(f"{planned.destination.name} runs version {made}")
        print(planned.image)


@task(
    help={"to": TO, "number": "the version to return to, of those that deploy.history lists (default: the one before)"}
)
def rollback(to: str = "", number: str = "", json: bool = False) -> None:
    """Return a destination to a version that ran there before; migrations stay."""
    from dockyard.deploy import steps

    image = steps.run_rollback(settings(), to, parse_number(number, "--number", 999_999) or 0)
    if json:
        console.as_json({"image": image})
    else:
        print(image)


@task(help={"to": TO})
def status(to: str = "", json: bool = False) -> None:
    """Show every copy of every service at a destination, and why those that failed did."""
    found = _cluster(to).status()
    columns = ("service", "copy", "state", "health", "node", "image", "says")
    rows = [(one.service, one.name, one.state, one.health, one.node, shorten(one.image), one.said) for one in found]
    console.tell(found, columns, rows, json=json)


@task(help={"to": TO})
def logs(to: str = "", service: str = "", follow: bool = False, tail: str = "") -> None:
    """Show what a service has logged at a destination, all its copies together."""
    from dockyard import process

    past = parse_number(tail, "--tail", 1_000_000_000, lowest=0)
    print_lines(process.lines(_cluster(to).logs(service, follow=follow, tail=past)))


@task(help={"to": TO})
def history(to: str = "", json: bool = False) -> None:
    """List the deploys that a destination remembers, the newest first."""
    found = _cluster(to).read_live().versions
    rows = [(str(one.number), one.outcome, one.at, one.by, shorten(one.image)) for one in found]
    columns = ("version", "outcome", "at", "by", "image")
    console.tell(found, columns, rows, json=json, right=("version",), styles=STYLES)


@task(
    help={
        "to": TO,
        "image": IMAGE,
        "folder": "where the files go, a folder of the destination's name in it (default: deploy)",
        "check": "write nothing; ends with 1 where files are not as they should be",
    }
)
def manifests(to: str = "", image: str = "", folder: str = "deploy", check: bool = False) -> None:
    """Write what a cluster is given: a kustomize base for Kubernetes, a stack file for a Swarm; prints the files."""
    from dockyard.deploy import kustomize, steps
    from dockyard.deploy.destination import select_destination

    project = settings()
    place = select_destination(project, to)
    pinned = steps.pin_image(project, image) if image else steps.find_image(project)
    layout, into = kustomize.lay_out(project, place, pinned), project.root / folder / place.name
    if check:
        kustomize.check_files(into, layout.files)
        return
    for note in layout.notes:
        console.log.info(note)
    for name in kustomize.write_files(into, layout.files, layout.once):
        print((into / name).relative_to(project.root))


def shorten(text: str) -> str:
    """Return a text with digests as people compare them: by their first twelve digits."""
    return re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1", text)


def show(planned: "Planned") -> None:
    """Print what differs."""
    title = f"{planned.destination.name} ({planned.destination.kind}): {shorten(planned.image)}"
    rows = [(one.verb, one.thing, one.key, shorten(one.before), shorten(one.after)) for one in planned.changes]
    if not rows:
        console.log.info(f"{title} runs already")
        return
    console.table(("", "what", "of it", "now", "then"), rows, title=title, styles=STYLES)


def as_json(planned: "Planned") -> dict[str, Any]:
    """Return a plan as machines read it."""
    return {
        "destination": planned.destination.name,
        "kind": planned.destination.kind,
        "image": planned.image,
        "changes": [{"verb": one.verb, **vars(one)} for one in planned.changes],
    }


def _cluster(to: str) -> "Cluster":
    from dockyard.deploy.destination import select_destination
    from dockyard.deploy.steps import open_cluster

    chosen = settings()
    return open_cluster(chosen, select_destination(chosen, to))
