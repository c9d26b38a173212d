"""`invoke release`: from a version tag to images that others can pull."""

import getpass
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from dockyard import console
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.release.plan import State
    from dockyard.release.steps import Job, Shipped

log = logging.getLogger(__name__)


STYLES = {"done": "green", "to do": "yellow"}


@task(
    help={
        "key": "the private key that cosign signs with: a file, or an address such as env://NAME",
        "dry_run": "show every step, and which are done already",
        "json": "print the result as JSON",
    },
)
def release(_context: Context, key: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Release the tagged commit: check, push, attest, sign and name its image; run again, finish what is missing."""
    from dockyard.registry import sign
    from dockyard.release.steps import inspect_release, make_release

    chosen = settings()
    key = sign.select_key(key, os.environ)
    ask_password(key)
    if dry_run:
        job, state = inspect_release(chosen, key)
        show_plan(job, state, json)
        return
    shipped = make_release(chosen, key)
    if json:
        console.as_json(as_json(shipped))
    else:
        show(shipped)


def ask_password(key: str) -> None:
    """Ask for the key's password once, where somebody sits at the terminal and has not set it."""
    from dockyard.registry import sign

    waiting = sys.stdin.isatty() and sys.stderr.isatty() and sign.PASSWORD not in os.environ
    if key and waiting and not sign.explain_hindrance(key):
        os.environ[sign.PASSWORD] = getpass.getpass(f"password of {key}: ", sys.stderr)


def show_plan(job: "Job", state: "State", json: bool) -> None:
    """Print every step of a release without doing any of them."""
    from dockyard.release import plan

    steps = plan.plan_steps(state)
    if json:
        named = [{"name": step.name, "what": step.what, "status": str(step.status)} for step in steps]
        console.as_json({"version": job.version, "commit": job.commit, "registry": state.registry, "steps": named})
        return
    rows = [(step.name, step.what, str(step.status)) for step in steps]
    title = f"{job.settings.repository} {job.version}, commit {job.commit[:12]}"
    console.table(("step", "what", "status"), rows, title=title, styles=STYLES)


def show(shipped: "Shipped") -> None:
    """Print what was shipped, and last the name that means it for ever."""
    rows = [(tag, shipped.digest, console.size(shipped.size)) for tag in shipped.names.every]
    console.table(("tag", "digest", "size"), rows, title=f"{shipped.repository} {shipped.version}", right=("size",))
    log.info("released" if shipped.changed else "it was released already, and complete: nothing was done")
    log.info(f"release notes: {shipped.notes}")
    print(f"{shipped.repository}@{shipped.digest}")


def as_json(shipped: "Shipped") -> dict[str, Any]:
    """Return what was shipped as machines read it."""
    pinned = f"{shipped.repository}@{shipped.digest}"
    tags = [{"tag": tag, "reference": f"{shipped.repository}:{tag}"} for tag in shipped.names.every]
    return {
        "version": shipped.version,
        "commit": shipped.commit,
        "image": pinned,
        "digest": shipped.digest,
        "size_bytes": shipped.size,
        "tags": [{**tag, "digest": shipped.digest, "size_bytes": shipped.size} for tag in tags],
        "signed": not shipped.unsigned,
        "unsigned_because": shipped.unsigned or None,
        "notes": str(shipped.notes),
        "changed": shipped.changed,
    }
