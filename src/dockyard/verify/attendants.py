"""Start what a service needs beside it in its trial: services of its own stack, hardened, on their own network."""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, SettingsError
from dockyard.files import write_atomically
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.stack import environment, prepare, stack
from dockyard.stack.compose import Model
from dockyard.stack.services import substitute_services
from dockyard.stack.stack import Patience, Stack

log = logging.getLogger(__name__)

SECONDS = 120.0
OVERRIDE = Path(".dockyard") / "trial.yaml"
HARDENING = """\
  {name}:
    ports: !reset []
    restart: "no"
    security_opt: ["no-new-privileges:true"]
    cap_drop: [ALL]
    cap_add: [CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID]
"""
"""No port of this machine, no new privileges, and of capabilities what the official databases give up by themselves."""


@contextmanager
def start_attendants(settings: Settings, engine: Engine) -> Iterator[str]:
    """Yield the network of the services in `trial-services`, '' where there are none; take all of them away after."""
    if not settings.trial_services:
        yield ""
        return
    beside = replace(settings, stack=f"{settings.stack}-trial-{secrets.token_hex(3)}")
    files = find_trial_files(settings.root)
    write_atomically(settings.root / OVERRIDE, format_override(settings.trial_services))
    kept = environment.read_secrets(settings.root, frozenset(os.environ))
    own = Stack(beside, engine, (*files, str(OVERRIDE)), secrets=kept)
    own, model = substitute_services(own, stack.read_model(replace(own, files=files)))
    wanted = select_services(model, settings.trial_services)
    prepare.require_images(own, wanted, "absent")
    prepare.require_secrets(settings.root, wanted)
    log.info(f"starting {', '.join(settings.trial_services)} for the trial")
    try:
        capture(own.by_files("up", "--detach", "--no-color", *settings.trial_services, timeout=SECONDS))
        found = stack.wait(own, wanted.services, (), Patience(SECONDS, time.monotonic() + SECONDS))
        form = "{{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{end}}"
        networks = capture(engine.command("inspect", "--format", form, found[0].id)).stdout.split()
        yield networks[0]
    finally:
        with suppress(DockyardError):
            stack.down(Stack(beside, engine), volumes=True)


def find_trial_files(root: Path) -> tuple[str, ...]:
    """Return the Compose files as production lays them on top of each other, where there is such a file."""
    try:
        return stack.find_files(root, production=True)
    except SettingsError:
        return stack.find_files(root, production=False)


def format_override(names: tuple[str, ...]) -> str:
    """Return the Compose file that hardens services and publishes nothing (pure)."""
    return "services:\n" + "".join(HARDENING.format(name=name) for name in names)


def select_services(model: Model, names: tuple[str, ...]) -> Model:
    """Return a model of these services alone; raise SettingsError for one that the Compose files lack (pure)."""
    known = {service.name: service for service in model.services}
    for name in names:
        if name not in known:
            raise SettingsError(
                f"trial-services names {name}, which the Compose files have not", f"they have: {', '.join(known)}"
            )
    return replace(model, services=tuple(replace(known[name], ports=()) for name in names))
