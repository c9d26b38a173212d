"""Have what a stack needs before it starts: images, locks, secrets, also those that compose.env names."""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from dockyard.bases import lookup, services
from dockyard.bases.lookup import Answer
from dockyard.bases.resolve import Known, choose_source, wanted
from dockyard.engine.client import Engine
from dockyard.errors import CommandError, DockyardError, SettingsError, UsageError
from dockyard.files import make_folder, write_atomically
from dockyard.git import read_git
from dockyard.image import build
from dockyard.image.dockerfile import read_dockerfile
from dockyard.image.names import PRODUCTION, Variant, local_name
from dockyard.locks.check import inspect_locks
from dockyard.locks.compile import make_locks, write_outcome
from dockyard.locks.plan import Wish
from dockyard.settings import Settings
from dockyard.stack.compose import FILES, Model, Service

if TYPE_CHECKING:
    from dockyard.stack.stack import Stack

log = logging.getLogger(__name__)


SECRETS = Path(".dockyard") / "secrets"
VARIABLES = "compose.env"
OVERRIDE = Path(".dockyard") / "services.json"
"""JSON is YAML, so Compose reads it; the folder is no part of a commit."""
REVISION = "org.opencontainers.image.revision"


def require_images(stack: "Stack", model: Model, mode: str) -> None:
    """Build or pull the images that are absent; `mode` "always" builds present ones anew, "never" builds none.

    Those named like a target of the Dockerfile (`ledger:production`) are Dockyard's to build.
    """
    settings, engine = stack.settings, stack.engine
    targets = local_targets(settings)
    first: dict[str, Service] = {}
    for service in model.services:
        first.setdefault(service.image, service)
    for service in first.values():
        absent = engine.inspect_image(service.image) is None
        buildable = service.image in targets or service.builds
        if mode == "never" and absent and buildable:
            raise UsageError(f"the image {service.image} is absent, and --no-build forbids to build it")
        wanted = absent or mode == "always"
        if service.image in targets and wanted:
            request = build.Request(targets=(targets[service.image],))
            build.build_images(build.for_here(settings), request, engine=engine)
        elif service.builds and wanted:
            _compose(stack, "build", service)
        elif absent:
            name, _, tag = service.image.rpartition(":")
            if name == settings.image and targets:  # no registry has it either
                raise SettingsError(
                    f"{service.name} wants the image {service.image}, and {settings.dockerfile} has no target {tag}",
                    f"add a stage `FROM … AS {tag}`, or name one that is there: {', '.join(targets)}",
                )
            _compose(stack, "pull", service)
        elif targets.get(service.image) == PRODUCTION:
            _say_if_stale(stack, service)


def list_official_images(model: Model) -> tuple[str, ...]:
    """Return the images of a stack that may be pinned in bases.lock, and that Debian packages can stand in for (pure).

    One that names a digest is pinned already.
    """
    images = dict.fromkeys(service.image for service in model.services)
    return tuple(image for image in images if services.find_service(image) and "@" not in image)


def substitute_services(
    stack: "Stack",
    model: Model,
    *,
    ask: Callable[[Engine, list[str]], Mapping[str, Answer]] = lookup.ask_registry,
    ensure: Callable[..., tuple[str, str]] = services.ensure_service,
) -> tuple["Stack", Model]:
    """Return the stack and its model with the pinned images of services, or ones from Debian packages.

    The setting `base` and the pins of bases.lock decide as for Pythons: `choose_source`. The Compose files stay as they
    are: one more file, laid on top by this program alone, names the other images. An image that the engine has already,
    by its digest where it is pinned, is used as it is. Each substitute from packages is told in one line.
    """
    mode = stack.settings.base
    pinned = {} if mode == "debian" else lookup.read_bases_lock(stack.settings.root)
    official = {image: wanted(image, pinned) for image in list_official_images(model)}
    absent = [image for image, held in official.items() if stack.engine.inspect_image(held) is None]
    answers = lookup.recall_answers()  # of a short time ago
    unknown = [official[image] for image in absent if official[image] not in answers]
    if unknown and mode == "auto":
        answers |= ask(stack.engine, unknown)
    images = {image: held for image, held in official.items() if held != image}
    for image in absent:
        known = Known(pinned.get(image, ""), answer=answers.get(official[image]))
        service = services.find_service(image)
        if service and choose_source(mode, known) == "debian":
            images[image], version = ensure(stack.engine, service, allow_expired=stack.settings.allow_expired_release)
            names = ", ".join(one.name for one in model.services if one.image == image)
            log.info(f"{names}: {services.describe_substitute(image, service, version)}")
    if not images:
        return stack, model
    replaced = tuple(replace(service, image=images.get(service.image, service.image)) for service in model.services)
    document = {"services": {one.name: {"image": images[one.image]} for one in model.services if one.image in images}}
    write_atomically(stack.settings.root / OVERRIDE, json.dumps(document, indent=1) + "\n")
    return replace(stack, files=(*stack.files, str(OVERRIDE))), replace(model, services=replaced, text="")


def local_targets(settings: Settings) -> dict[str, str]:
    """Return the Dockerfile's targets by the name that their newest image has on this machine."""
    if not (settings.root / settings.dockerfile).is_file():
        return {}
    stages = read_dockerfile(settings.root, settings.dockerfile).targets
    return {local_name(settings, Variant(stage, settings.python)): stage for stage in stages}


def _compose(stack: "Stack", verb: str, service: Service) -> None:
    try:
        stack.engine.runner.tee(stack.by_files(verb, service.name))
    except CommandError as error:
        raise DockyardError(
            f"`docker compose {verb} {service.name}` ended with exit status {error.returncode}: "
            f"there is no image {service.image} to start",
            "its last lines above say why",
        ) from None


def _say_if_stale(stack: "Stack", service: Service) -> None:
    found = stack.engine.inspect_image(service.image) or {}
    revision = ((found.get("Config") or {}).get("Labels") or {}).get(REVISION, "")
    git = read_git(stack.settings.root)
    if git and revision and (git.dirty or revision != git.commit):
        commit, _, dirty = revision.partition("-")
        what = commit[:12] + (" with uncommitted changes" if dirty else "")
        log.info(f"{service.image} was built from {what}, and the files may have changed: --build makes it anew")


def require_secrets(root: Path, model: Model) -> None:
    """Make the secret files that are absent below .dockyard/secrets, each with a random token of 256 bits.

    Compose mounts such a file with the host's owner and mode, and the user inside is another one: so the file is
    readable for all (0444), in a folder that only its owner may enter (0700). The mount does not go by the folder.
    """
    folder = root / SECRETS
    for name, written in model.secrets:
        path = Path(written)
        if path.is_dir():
            raise SettingsError(f"the secret {name} is a folder: {path}", "put a file there with the secret in it")
        if path.parent.resolve() == folder.resolve():
            if make_secret(path):
                log.info(f"made a random token for the secret {name}: {os.path.relpath(path, root)}")
        elif not path.exists():
            raise SettingsError(
                f"the file of the secret {name} is absent: {path}", f"make it, or name a file in {SECRETS}/"
            )


def make_secret(path: Path) -> bool:
    """Have a file with a random token in a folder that only its owner may enter; return whether it was absent."""
    make_folder(path.parent, 0o700)
    path.parent.chmod(0o700)
    absent = not path.exists()
    if absent:
        write_atomically(path, token_urlsafe(32) + "\n")
    path.chmod(0o444)
    return absent


def require_locks(settings: Settings, engine: Engine) -> None:
    """Make the locks of a project that has none yet: a stale one is for `invoke lock` to say and to mend."""
    if inspect_locks(settings).unmade:
        log.info("there is no lock yet: making all of them")
        made = make_locks(settings, Wish(), engine)
        write_outcome(settings, made)
        if made.failed:
            raise made.failed


def named_secrets(text: str) -> tuple[str, ...]:
    """Return the variables that the values of a compose.env are made of: `${NAME}`, without a default (pure)."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return tuple(dict.fromkeys(name for line in lines for name in re.findall(r"\$\{(\w+)\}", line)))


def empty_variables(root: Path) -> tuple[str, ...]:
    """Return the variables that compose.env names and gives no value."""
    lines = (line.strip() for line in _read(root / VARIABLES).splitlines())
    return tuple(line[:-1] for line in lines if line.endswith("=") and not line.startswith("#"))


def read_secrets(root: Path, known: frozenset[str]) -> dict[str, str]:
    """Return a value for each variable that compose.env is made of and that is not `known`; make what is absent.

    A .env may be made of those that are a secret of the Compose file too: others in it are a person's own.
    """
    files = "".join(_read(root / name) for name in FILES)
    own = (name for name in named_secrets(_read(root / ".env")) if str(SECRETS / name.lower()) in files)
    found: dict[str, str] = {}
    for name in dict.fromkeys((*named_secrets(_read(root / VARIABLES)), *own)):
        if name not in known:
            path = root / SECRETS / name.lower()
            if make_secret(path):
                log.info(f"made a random secret for {name}: {path.relative_to(root)}")
            found[name] = path.read_text("utf-8").strip()
    return found


def _read(path: Path) -> str:
    return path.read_text("utf-8-sig", errors="replace") if path.is_file() else ""
