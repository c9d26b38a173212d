"""Put images made from Debian packages in place of official databases that no registry here has.

The Compose files stay as they are: one more file, laid on top by this program alone, names the other images.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard.bases import lookup, services
from dockyard.bases.resolve import Choice, Known, choose_source
from dockyard.files import write_atomically
from dockyard.process import capture
from dockyard.stack.compose import Model

if TYPE_CHECKING:
    from dockyard.bases.lookup import Answer
    from dockyard.engine.client import Engine
    from dockyard.settings import Settings
    from dockyard.stack.stack import Stack

log = logging.getLogger(__name__)

OVERRIDE = Path(".dockyard") / "services.json"
"""JSON is YAML, so Compose reads it; the folder is no part of a commit."""


def select_substitutes(
    images: Mapping[str, str], base: str, answers: Mapping[str, "Answer"]
) -> dict[str, services.Service]:
    """Return, by the service's name in the stack, which of its absent images Debian packages stand in for (pure).

    `base` is the setting: "registry" never, "debian" always, and "auto" where no registry has the image.
    """
    found: dict[str, services.Service] = {}
    for name, image in images.items():
        service = services.find_service(image)
        if service and choose_source(base, Known("", False, answers.get(image))) is Choice.DEBIAN:
            found[name] = service
    return found


def substitute_services(
    stack: "Stack",
    model: Model,
    *,
    ask: Callable[["Engine", list[str]], Mapping[str, "Answer"]] = lookup.ask_registry,
    ensure: Callable[..., tuple[str, str]] = services.ensure_service,
) -> tuple["Stack", Model]:
    """Return the stack and its model with images from Debian packages where a registry has none of the official ones.

    An image that the engine has already is used as it is. Each substitute is told in one line.
    """
    official = {service.name: service.image for service in model.services if services.find_service(service.image)}
    never = stack.settings.base == "registry"
    wanted = {name: image for name, image in official.items() if not (never or is_present(stack.engine, image))}
    if not wanted:
        return stack, model
    found = select_substitutes(wanted, stack.settings.base, _answers(stack.settings, stack.engine, wanted, ask))
    images: dict[str, str] = {}
    for name, service in found.items():
        images[name], version = ensure(stack.engine, service, allow_expired=stack.settings.allow_expired_release)
        log.info(f"{name}: {services.describe_substitute(wanted[name], service, version)}")
    if not images:
        return stack, model
    document = {"services": {name: {"image": image} for name, image in images.items()}}
    write_atomically(stack.settings.root / OVERRIDE, json.dumps(document, indent=1) + "\n")
    replaced = tuple(replace(service, image=images.get(service.name, service.image)) for service in model.services)
    return replace(stack, files=(*stack.files, str(OVERRIDE))), replace(model, services=replaced)


def is_present(engine: "Engine", image: str) -> bool:
    """Tell whether the engine has an image."""
    return capture(engine.command("image", "inspect", image), check=False).ok


def _answers(
    settings: "Settings",
    engine: "Engine",
    wanted: Mapping[str, str],
    ask: Callable[["Engine", list[str]], Mapping[str, "Answer"]],
) -> Mapping[str, "Answer"]:
    """Return what a registry says of the images: remembered where it was asked a short time ago, else asked now."""
    known = lookup.recall_answers()
    images = dict.fromkeys(wanted.values())
    if settings.base != "auto":
        return known
    asked = [image for image in images if choose_source("auto", Known("", False, known.get(image))) is Choice.ASK]
    return {**known, **ask(engine, asked)} if asked else known
