"""`invoke build` and `invoke tag`: images from the Dockerfile's targets."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from dockyard import console
from dockyard.tasks.boundary import settings, task
from dockyard.tasks.lock import warn_of_stale_locks

if TYPE_CHECKING:
    from dockyard.image.build import Built, Request
    from dockyard.settings import Settings


@task(
    iterable=["target", "python", "platform", "tag"],
    help={
        "target": "a target of the Dockerfile; may be given again (default: production)",
        "python": "a supported Python, or `all`; may be given again (default: the settings' python)",
        "platform": "a platform such as linux/arm64; may be given again",
        "tag": "a tag instead of those from git; may be given again",
        "no_cache": "build every step anew",
        "locked": "fail where a lock is stale, instead of a warning",
        "push": "push the images from the builder",
        "force": "push although there are uncommitted changes",
        "dry_run": "show what would be done",
        "json": "print the result as JSON",
    },
)
def build(
    _context: Context,
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
    from dockyard.image import build as building

    chosen = settings()
    pythons = chosen.pythons if "all" in python else tuple(dict.fromkeys(python))
    targets = tuple(dict.fromkeys(target)) or ("production",)
    request = building.Request(targets, pythons, tuple(platform), tuple(tag), no_cache, push)
    if dry_run:
        print_plan(chosen, request, json=json)
        return
    warn_of_stale_locks(chosen, locked=locked)
    if push:
        from dockyard.release.push import build_and_push

        built, missing = build_and_push(chosen, request, force=force)
    else:
        built, missing = building.build_images(chosen, request)
    if json:
        absent = [{"python": python.python, "reason": python.reason} for python in missing]
        console.as_json({"images": [as_json(image) for image in built], "missing": absent})
    else:
        show(built)


def print_plan(chosen: "Settings", request: "Request", *, json: bool) -> None:
    """Print what would be built and by which command, without an engine or a registry."""
    from dockyard.bases.lookup import Base, reference
    from dockyard.image import bake
    from dockyard.image import build as building

    pythons = request.pythons or (chosen.python,)
    bases = tuple(Base(python, reference(python), "registry", reference(python), "") for python in pythons)
    planned = building.plan_images(chosen, replace(building.read_world(chosen), bases=bases), request)
    options = bake.arguments(
        builder=chosen.builder, no_cache=request.no_cache, push=request.push, metadata="metadata.json"
    )
    command = " ".join(("docker", *options))
    images: list[dict[str, Any]] = [
        {"target": variant.target, "python": variant.python, "references": image.references}
        for variant, image in zip(request.variants(chosen), planned, strict=True)
    ]
    if json:
        console.as_json({"images": images, "command": command})
        return
    rows = [(one["target"], one["python"], ", ".join(one["references"])) for one in images]
    console.table(("target", "Python", "would be built as"), rows, title=command)


def show(built: "Sequence[Built]") -> None:
    """Print what was built: a row per image, then what each layer adds."""
    columns = ("image", "digest", "size", "time", "cached")
    rows = [
        (
            image.references[0],
            image.digest[:19],
            console.size(image.size) if image.size else "-",
            console.duration(image.seconds),
            f"{image.cache.cached}/{image.cache.steps}",
        )
        for image in built
    ]
    console.table(columns, rows, right=columns[2:])
    for image in built:
        if image.layers:
            layers = [(console.size(size), instruction[:110] or "the base image") for size, instruction in image.layers]
            console.table(("adds", "layer, unpacked"), layers, title=image.references[0], right=("adds",))


def as_json(image: "Built") -> dict[str, Any]:
    """Return what `--json` prints of one image."""
    return {
        "references": image.references,
        "target": image.variant.target,
        "python": image.variant.python,
        "digest": image.digest,
        "size_bytes": image.size,
        "seconds": image.seconds,
        "cache": {"steps": image.cache.steps, "cached": image.cache.cached},
        "layers": [{"size_bytes": size, "created_by": instruction} for size, instruction in image.layers],
    }


@task(
    iterable=["tag"],
    help={
        "tag": "a tag to give; may be given again (default: those from git)",
        "target": "the target whose newest image is meant (default: production)",
        "python": "the Python whose newest image is meant (default: the settings' python)",
    },
)
def tag(_context: Context, tag: list[str], target: str = "production", python: str = "") -> None:
    """Give the newest image of a target more tags: those named, or those that git says."""
    from dockyard.engine.client import find_engine
    from dockyard.image import build as building
    from dockyard.image.dockerfile import read_dockerfile

    chosen = settings()
    building.require_targets((target,), read_dockerfile(chosen.root, chosen.dockerfile))
    named = building.retag(chosen, find_engine(chosen), target, python or chosen.python, tuple(tag))
    for reference in named:
        print(reference)
