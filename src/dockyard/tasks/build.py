"""`invoke build`, `tag` and `report`: images from the Dockerfile's targets, and what the runs have cost."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import UsageError
from dockyard.tasks.boundary import parse_number, settings, task
from dockyard.tasks.lock import warn_of_stale_locks

if TYPE_CHECKING:
    from dockyard.image.build import Built, Request
    from dockyard.settings import Settings


@task(
    help={
        "platform": "a platform such as linux/arm64; may be given again",
        "no_cache": "build every step anew",
        "locked": "fail where a lock is stale, instead of a warning",
        "push": "push the images from the builder",
    },
)
def build(
    target: list[str],
    python: list[str],
    platform: list[str],
    tag: list[str],
    no_cache: bool = False,
    locked: bool = False,
    push: bool = False,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Build images for one or more targets and Pythons in one parallel solve."""
    from dockyard.image.build import build_images

    chosen = settings()
    request = replace(
        read_request(chosen, target, python, tag),
        platforms=tuple(platform),
        no_cache=no_cache,
        push=push,
        force=force,
    )
    if dry_run:
        print_plan(chosen, request, json=json)
        return
    warn_of_stale_locks(chosen, locked=locked)
    if push:
        from dockyard.registry.push import build_and_push

        built, missing = build_and_push(chosen, request)
    else:
        built, missing = build_images(chosen, request)
    if json:
        console.as_json({"images": [as_json(image) for image in built], "missing": missing})
    else:
        show(built)


def read_request(chosen: "Settings", targets: Sequence[str], pythons: Sequence[str], tags: Sequence[str]) -> "Request":
    """Return which images the options name: each once, and every Python where one of them is `all`."""
    from dockyard.image.build import Request

    wanted = chosen.pythons if "all" in pythons else tuple(dict.fromkeys(pythons))
    return Request(tuple(dict.fromkeys(targets)) or Request.targets, wanted, tags=tuple(tags))


def print_plan(chosen: "Settings", request: "Request", *, json: bool) -> None:
    """Print what would be built and by which command, without an engine or a registry."""
    from dockyard.bases.lookup import Base, reference
    from dockyard.image import bake
    from dockyard.image.build import plan_images, read_world

    pythons = request.pythons or (chosen.python,)
    bases = tuple(Base(python, reference(python), "registry", reference(python), "") for python in pythons)
    planned = plan_images(chosen, replace(read_world(chosen), bases=bases), request)
    options = bake.arguments(
        builder=chosen.builder, no_cache=request.no_cache, result=request.result, metadata="metadata.json"
    )
    command = " ".join(("docker", *options))
    variants = zip(request.variants(chosen), planned, strict=True)
    images = [{**vars(variant), "references": image.references} for variant, image in variants]
    rows = [(one["target"], one["python"], ", ".join(one["references"])) for one in images]
    columns = ("target", "Python", "would be built as")
    console.tell({"images": images, "command": command}, columns, rows, json=json, title=command)


def show(built: "Sequence[Built]") -> None:
    """Print what was built: a row per image, then what each layer adds."""
    columns = ("image", "digest", "size", "time", "cached")
    rows = [
        (
            image.references[0],
            image.digest[:19],
            console.size(image.size) if image.size else "-",
            console.duration(image.seconds),
            "{cached}/{steps}".format(**image.cache),
        )
        for image in built
    ]
    console.table(columns, rows, right=columns[2:])
    for image in built:
        if image.layers:
            layers = [
                (console.size(layer["size_bytes"]), layer["created_by"][:110] or "the base image")
                for layer in image.layers
            ]
            console.table(("adds", "layer, unpacked"), layers, title=image.references[0], right=("adds",))


def as_json(image: "Built") -> dict[str, Any]:
    """Return what `--json` prints of one image."""
    return {
        "references": image.references,
        **vars(image.variant),
        "digest": image.digest,
        "size_bytes": image.size,
        "seconds": image.seconds,
        "cache": image.cache,
        "layers": image.layers,
    }


@task(help={"tag": "a tag to give; may be given again (default: those from git)"})
def tag(tag: list[str], target: str = "production", python: str = "") -> None:
    """Give the newest image of a target more tags: those named, or those that git says."""
    from dockyard.engine.client import find_engine
    from dockyard.image.build import retag

    chosen = settings()
    for reference in retag(chosen, find_engine(chosen), target, python or chosen.python, tuple(tag)):
        print(reference)


@task(
    help={
        "static": "write the pages to this folder instead, for a CI to keep",
        "port": "the port of this machine to listen on (default: a free one)",
        "no_open": "open no browser",
        "send": "only send what a ledger has missed while it was down",
    },
)
def report(static: str = "", port: str = "", no_open: bool = False, send: bool = False) -> None:
    """Show the records of this project's runs as pages, until Ctrl-C: sizes, times, tests, vulnerabilities."""
    from dockyard.image.records import make_outbox
    from dockyard.image.report import ReportRequest, show_report

    chosen = settings()
    if send:
        if not chosen.ledger_url:
            raise UsageError("there is no ledger to send to", "name one: ledger-url in [tool.dockyard]")
        outbox = make_outbox(chosen)
        outbox.flush(seconds=60)
        console.log.info(f"{len(outbox.waiting())} run records are waiting to be sent")
        return
    screen = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    listen = parse_number(port, "--port", 65535) or 0
    try:
        show_report(chosen, ReportRequest(static, listen, browse=screen and not no_open))
    except KeyboardInterrupt:
        console.log.info("\nstopped")
