"""`invoke inspect`: what an image is."""

import json as encoding
import sys
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from dockyard import console
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.registry.inspection import Image, Inspected


@task(
    positional=["reference"],
    help={
        "reference": "an image, local or in a registry, by name, tag or digest, such as ledger:production",
        "sbom": "print the attached bill of materials, whole",
        "provenance": "print the attached provenance, whole",
        "json": "print the result as JSON",
    },
)
def inspect(
    _context: Context, reference: str, sbom: bool = False, provenance: bool = False, json: bool = False
) -> None:
    """Show an image: digest, layers, configuration, and what is attached to it in its registry."""
    from dockyard.registry import inspection

    found = inspection.inspect_image(settings(), reference)
    if sbom or provenance:
        for kind in (*(("SBOM",) if sbom else ()), *(("provenance",) if provenance else ())):
            for content in inspection.select_attached(found, kind):
                sys.stdout.write(content.decode("utf-8", "replace"))
    elif json:
        console.as_json(as_json(found))
    else:
        show(found)


def show(found: "Inspected") -> None:
    """Print an image, or each image of an index, as tables."""
    from dockyard.registry.inspection import describe_config, summarize

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
            attached = [(one.kind, one.digest[:19], summarize(one)) for one in image.attachments]
            console.table(("attached", "digest", "says"), attached)


def as_json(found: "Inspected") -> dict[str, Any]:
    """Return what was found, for machines."""
    return {
        "reference": found.reference,
        "where": found.where,
        "digest": found.digest,
        "images": [_image(image) for image in found.images],
    }


def _image(image: "Image") -> dict[str, Any]:
    return {
        "digest": image.digest,
        "platform": image.platform,
        "created": image.created,
        "size_bytes": image.size,
        "config": image.config,
        "layers": [
            {"diff_id": layer.diff_id, "size_bytes": layer.size, "created_by": layer.instruction}
            for layer in image.layers
        ],
        "attachments": [
            {"kind": one.kind, "media_type": one.media_type, "digest": one.digest, "content": _parsed(one.content)}
            for one in image.attachments
        ],
    }


def _parsed(content: bytes) -> Any:
    try:
        return encoding.loads(content)
    except ValueError:
        return None
