"""`invoke push`, `release` and `inspect`: images on their way to a registry, and what is there."""

import contextlib
import getpass
import os
import sys
from json import loads
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import DockyardError
from dockyard.tasks.boundary import settings, task
from dockyard.tasks.build import read_request

if TYPE_CHECKING:
    from dockyard.registry.inspection import Image, Inspected
    from dockyard.release.plan import Job, ReleaseState, Shipped


@task(help={"dry_run": "show what would be pushed"})
def push(
    target: list[str],
    python: list[str],
    tag: list[str],
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Push images under their tags, and check that the registry has them."""
    from dockyard.image.build import choose_references
    from dockyard.registry.push import push_variants, refuse_dirty

    chosen = settings()
    wanted = choose_references(chosen, read_request(chosen, target, python, tag))
    if dry_run:
        planned = [{**vars(variant), "reference": name} for variant, names in wanted.items() for name in names]
        rows = [tuple(one.values()) for one in planned]
        console.tell(planned, ("target", "Python", "would be pushed as"), rows, json=json)
        try:
            refuse_dirty([one["reference"] for one in planned], force=force)
        except DockyardError as error:
            console.log.warning(error.message)
        return
    pushed = push_variants(chosen, wanted, force=force)
    if json:
        console.as_json([{**vars(image), "pinned": image.pinned} for image in pushed])
        return
    columns = ("pushed", "size", "new layers", "time")
    rows = [(one.reference, console.size(one.size), str(one.pushed), console.duration(one.seconds)) for one in pushed]
    console.table(columns, rows, right=columns[1:])
    for name in dict.fromkeys(image.pinned for image in pushed):
        print(name)


STYLES = {"done": "green", "to do": "yellow"}


@task(
    help={
        "key": "the private key that cosign signs with: a file, or an address such as env://NAME",
        "dry_run": "show every step, and which are done already",
    },
)
def release(key: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Release the tagged commit: check, push, attest, sign and name its image; run again, finish what is missing."""
    from dockyard.registry import sign
    from dockyard.release.steps import inspect_release, make_release

    chosen = settings()
    key = key or os.environ.get(sign.KEY, "")
    waiting = sys.stdin.isatty() and sys.stderr.isatty() and sign.PASSWORD not in os.environ
    if key and waiting and not sign.explain_hindrance(key):
        os.environ[sign.PASSWORD] = getpass.getpass(f"password of {key}: ", sys.stderr)
    if dry_run:
        show_plan(*inspect_release(chosen, key), json)
        return
    shipped = make_release(chosen, key)
    if json:
        console.as_json(describe_shipped(shipped))
    else:
        print_shipped(shipped)


def show_plan(job: "Job", state: "ReleaseState", json: bool) -> None:
    """Print every step of a release without doing any of them."""
    from dockyard.release import plan

    steps = plan.plan_steps(state)
    told = {"version": job.version, "commit": job.commit, "registry": state.registry, "steps": steps}
    rows = [(step.name, step.what, step.status) for step in steps]
    title = f"{job.settings.repository} {job.version}, commit {job.commit[:12]}"
    console.tell(told, ("step", "what", "status"), rows, json=json, title=title, styles=STYLES)


def print_shipped(shipped: "Shipped") -> None:
    """Print what was shipped, and last the name that means it for ever."""
    rows = [(tag, shipped.digest, console.size(shipped.size)) for tag in shipped.names.every]
    console.table(("tag", "digest", "size"), rows, title=f"{shipped.repository} {shipped.version}", right=("size",))
    console.log.info("released" if shipped.changed else "it was released already, and complete: nothing was done")
    console.log.info(f"release notes: {shipped.notes}")
    print(f"{shipped.repository}@{shipped.digest}")


def describe_shipped(shipped: "Shipped") -> dict[str, Any]:
    """Return what was shipped as machines read it."""
    same = {"digest": shipped.digest, "size_bytes": shipped.size}
    return {
        "version": shipped.version,
        "commit": shipped.commit,
        "image": f"{shipped.repository}@{shipped.digest}",
        **same,
        "tags": [{"tag": tag, "reference": f"{shipped.repository}:{tag}", **same} for tag in shipped.names.every],
        "signed": not shipped.unsigned,
        "unsigned_because": shipped.unsigned or None,
        "notes": str(shipped.notes),
        "changed": shipped.changed,
    }


@task(
    positional=["reference"],
    help={
        "reference": "an image, local or in a registry, by name, tag or digest, such as ledger:production",
        "sbom": "print the attached bill of materials, whole",
        "provenance": "print the attached provenance, whole",
    },
)
def inspect(reference: str, sbom: bool = False, provenance: bool = False, json: bool = False) -> None:
    """Show an image: digest, layers, configuration, and what is attached to it in its registry."""
    from dockyard.registry import inspection

    print_image(inspection.inspect_image(settings(), reference), sbom=sbom, provenance=provenance, json=json)


def print_image(found: "Inspected", *, sbom: bool = False, provenance: bool = False, json: bool = False) -> None:
    """Print what an image is, or documents that are attached to it."""
    from dockyard.registry import inspection

    kinds = [kind for kind, asked in (("SBOM", sbom), ("provenance", provenance)) if asked]
    if kinds:
        for content in (content for kind in kinds for content in inspection.select_attached(found, kind)):
            sys.stdout.write(content.decode("utf-8", "replace"))
    elif json:
        console.as_json({**vars(found), "images": [_describe_image(image) for image in found.images]})
    else:
        print_inspected(found)


def print_inspected(found: "Inspected") -> None:
    """Print an image, or each image of an index, as tables."""
    from dockyard.registry.inspection import describe_config

    for image in found.images:
        rows = [
            ("digest", image.digest if image.digest == found.digest else f"{image.digest}\nof {found.digest}"),
            ("platform", image.platform),
            ("created", image.created),
            ("size", f"{console.size(image.size)} in {len(image.layers)} layers"),
            *describe_config(image.config),
        ]
        console.table(("image", f"{found.reference} (in the {found.where})"), rows)
        layers = [(console.size(layer.size), layer.diff_id[:19], layer.instruction) for layer in image.layers]
        console.table(("size", "diff ID", "layer"), layers, right=("size",))
        if image.attachments:
            attached = [(one.kind, one.digest[:19], console.size(len(one.content))) for one in image.attachments]
            console.table(("attached", "digest", "size"), attached, right=("size",))


def _describe_image(image: "Image") -> dict[str, Any]:
    def parse(content: bytes) -> Any:
        with contextlib.suppress(ValueError):
            return loads(content)
        return None

    layers = [{"diff_id": one.diff_id, "size_bytes": one.size, "created_by": one.instruction} for one in image.layers]
    attached = [{**vars(one), "content": parse(one.content)} for one in image.attachments]
    return {**vars(image), "size_bytes": image.size, "layers": layers, "attachments": attached}
