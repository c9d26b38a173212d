"""Push what was built: choose the references, push and check them, record the run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import UsageError
from dockyard.git import read_git
from dockyard.image import names as images
from dockyard.image import records
from dockyard.image.build import Built, Request, build_images, require_targets
from dockyard.image.dockerfile import read_dockerfile
from dockyard.image.names import Variant
from dockyard.image.record_types import ImageRecord, Kind
from dockyard.registry.push import Pushed, preflight, push_images, refuse_dirty, verify_pushed
from dockyard.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushActions:
    """What a push has the rest of the pipeline do; a test hands in its own and patches nothing."""

    find_engine: Callable[[Settings], Engine] = find_engine
    preflight: Callable[[Engine, Sequence[str]], None] = preflight
    build_images: Callable[..., tuple[tuple[Built, ...], tuple[Missing, ...]]] = build_images
    verify_pushed: Callable[[Engine, str, str], int] = verify_pushed
    push_images: Callable[..., tuple[Pushed, ...]] = push_images
    record_run: Callable[[Settings, Kind], AbstractContextManager[records.Recording]] = records.record_run


PUSH_ACTIONS = PushActions()


def choose_references(settings: Settings, request: Request) -> dict[Variant, tuple[str, ...]]:
    """Return the names under which each image is pushed; raise UsageError where nothing says what they are.

    A target that the Dockerfile has not is told here too, before anybody looks for an engine or a registry.
    """
    require_targets(request.targets, read_dockerfile(settings.root, settings.dockerfile))
    git = read_git(settings.root)
    chosen = {
        variant: images.choose_tags(settings, git, variant, request.tags) for variant in request.variants(settings)
    }
    if not all(chosen.values()):
        raise UsageError("there is no git commit to take a tag from", "name one: `invoke push --tag 1.2.3`")
    return chosen


def build_and_push(
    settings: Settings, request: Request, *, force: bool, actions: PushActions = PUSH_ACTIONS
) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
    """Let BuildKit push what it builds; ask the registry before, and check that it has the images after."""
    names = [name for named in choose_references(settings, request).values() for name in named]
    refuse_dirty(names, force)
    engine = actions.find_engine(settings)
    actions.preflight(engine, names)
    built, missing = actions.build_images(settings, request, engine=engine)
    sizes = [[actions.verify_pushed(engine, name, image.digest) for name in image.references] for image in built]
    log.info(f"the registry has {'it' if len(names) == 1 else 'all of them'}")
    return tuple(replace(image, size=size[0]) for image, size in zip(built, sizes, strict=True)), missing


def push_variants(
    settings: Settings, wanted: Mapping[Variant, Sequence[str]], *, force: bool, actions: PushActions = PUSH_ACTIONS
) -> tuple[Pushed, ...]:
    """Push every image under all its names and record how each ended; uncommitted changes need `force`."""
    names = [name for named in wanted.values() for name in named]
    refuse_dirty(names, force)
    engine = actions.find_engine(settings)
    arrived: dict[str, Pushed] = {}
    with actions.record_run(settings, "push") as recording:

        def note(image: Pushed) -> None:
            arrived[image.reference] = image
            recording.steps.append({
                "name": image.reference, "started_seconds": round(max(0.0, recording.seconds() - image.seconds), 3),
                "duration_seconds": round(image.seconds, 3), "cached": not image.pushed, "outcome": "passed",
            })  # fmt: skip

        recording.details["engine"] = records.describe_engine(engine)
        try:
            return actions.push_images(engine, names, arrived=note)
        finally:
            recording.parts = [
                {
                    "target": variant.target,
                    "python": variant.python,
                    "image": _describe_image(arrived[named[0]]) if arrived.keys() >= set(named) else None,
                }
                for variant, named in wanted.items()
            ]


def _describe_image(image: Pushed) -> ImageRecord:
    return {"reference": image.reference, "digest": image.digest, "pull_bytes": image.size}
