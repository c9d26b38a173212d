"""What Swarm and a single host share: the destination's engine, the project's Compose document, facts of images."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard.bases import lookup, services
from dockyard.bases.resolve import Known, choose_source
from dockyard.deploy import front
from dockyard.deploy.cluster import LostError
from dockyard.deploy.destination import Destination
from dockyard.deploy.goal import Document, Goal, ImageFacts, parse_size
from dockyard.deploy.stackfile import DEFINITION, hash_text
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import CommandError, DockyardError, SettingsError
from dockyard.process import Command, Completed, capture, which
from dockyard.settings import Settings
from dockyard.stack import compose, prepare
from dockyard.stack.stack import Stack, find_files

log = logging.getLogger(__name__)

OFFICIAL = "haproxy:lts"
SENSITIVE = ("pass", "secret", "token", "key", "credential", "dsn", "url")
PULL_SECONDS = 600.0
ANSWER_SECONDS = 60.0
LOG_SECONDS = 30.0
LOG_LINES = 20


UNREACHABLE = re.compile(
    r"(?im)^.*(cannot connect to the docker daemon|error during connect|swarm does not have a leader|command \[ssh .*"
    r"has exited).*$"
)


@dataclass(frozen=True)
class Docker:
    """The docker command for a destination's engine; `run` starts it, `name` is the destination's."""

    engine: Engine
    run: Callable[..., Completed] = capture
    name: str = "the destination"

    def attempt(self, *words: str, **options: Any) -> Completed:
        """Return how a command ended, well or not; raise LostError where the engine is out of reach.

        A command without a `timeout` of its own is a question that is answered soon: a connection may die silently.
        """
        command = self.engine.command(*words, **{"timeout": ANSWER_SECONDS, **options})
        try:
            done = self.run(command, check=False)
        except CommandError:
            if "timeout" in options:
                raise
            raise LostError(f"{self.name} does not answer within {ANSWER_SECONDS:g} s", "is the network up?") from None
        if not done.ok and (found := UNREACHABLE.search(done.stderr)):
            # Of a long line about a command it is ssh's own words that tell.
            said = done.stderr.partition("stderr=")[2].strip().splitlines() or [found[0].strip()]
            raise LostError(f"{self.name} does not answer: {said[-1]}", "`docker info` there may tell why")
        return done

    def inspect(self, kind: str, *names: str) -> list[dict[str, Any]]:
        """Return what there is of some things, those left out that are gone meanwhile."""
        return json.loads(self.attempt(kind, "inspect", *names).stdout or "[]") if names else []

    def read_log(self, copy: str, *words: str) -> str:
        """Return the last lines of a copy as `docker … logs` tells them, or nothing where it does not soon."""
        try:
            done = self.attempt(*words, "--tail", str(LOG_LINES), copy, timeout=LOG_SECONDS)
        except CommandError:
            return ""
        return done.stdout + done.stderr

    def read(self, *words: str, **options: Any) -> str:
        """Return what a command prints; raise DockyardError with its own words where it fails."""
        done = self.attempt(*words, **options)
        if done.ok:
            return done.stdout
        shown = " ".join(word for word in words[:2])
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise DockyardError(f"`docker {shown}` at the destination failed: {last}")


def open_engine(settings: Settings, destination: Destination) -> Engine:
    """Return the destination's engine, without asking it; with neither host nor context it is the one that builds."""
    if not destination.host and not destination.context:
        return find_engine(settings)
    # The embedded engine's CLI will do where this machine has none, or one without Compose.
    complete = which("docker") and capture(Command(("docker", "compose", "version")), check=False).ok
    near = {} if complete else find_engine(settings).environment
    environment = {key: near[key] for key in ("DOCKER_CONFIG", "PATH") if key in near}
    if destination.context:
        # It is in the user's own folder, of which that CLI knows nothing: what it means is asked first.
        named = {"PATH": environment.get("PATH"), "DOCKER_HOST": "", "DOCKER_CONTEXT": destination.context}
        known = {key: text for key, text in named.items() if text is not None}
        environment |= Engine("host", "", True, environment=known).address()
    else:
        environment["DOCKER_HOST"] = destination.host
    return Engine("host", "", True, environment={**environment, "DOCKER_CONTEXT": ""})


def read_document(settings: Settings, destination: Destination, docker: Docker) -> Document:
    """Return what Compose makes of the production files; the destination's variables count there too."""
    files = find_files(settings.root, production=True)
    secrets = prepare.read_secrets(settings.root, frozenset(os.environ))
    stack = Stack(settings, docker.engine, files, secrets={**secrets, **destination.environment})
    done = docker.run(stack.by_files("config", "--format", "json"), check=False)
    if not done.ok:
        raise SettingsError(f"{' and '.join(files)}: {compose.complaint(done.stderr)}", "these are Compose's own words")
    document: Document = json.loads(done.stdout)
    services = {name: _named(settings, name, body) for name, body in document["services"].items()}
    if destination.kind != "swarm":
        return {**document, "services": services}
    # A Swarm holds the content of a config itself; a single host mounts its file.
    configs = {name: {"content": _read_config(name, body)} for name, body in (document.get("configs") or {}).items()}
    return {**document, "services": services, "configs": configs}


def _read_config(name: str, body: Document) -> str:
    """Return the content of a config of the Compose files."""
    try:
        return str(body.get("content") or Path(body["file"]).read_text("utf-8"))
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the config {name} of the Compose files cannot be read: {error}", "name a file of text"
        ) from None


def _named(settings: Settings, name: str, body: Document) -> Document:
    """Return a service with the image that it runs; one that is only built elsewhere has none that could be fetched."""
    if body.get("image"):
        return body
    built = body.get("build") or {}
    file = Path(built.get("context") or ".", built.get("dockerfile") or "Dockerfile").resolve()
    if file != (settings.root / settings.dockerfile).resolve():
        raise SettingsError(
            f"the service {name} is built from {file}, and no registry has what is built of it",
            "push it under a name, and give the service that image in compose.production.yaml",
        )
    return {**body, "image": settings.image}


def read_image_facts(docker: Docker, image: str) -> ImageFacts:
    """Have the destination's engine fetch an image by its digest, and return what its containers start from.

    An image that cannot be had is an error before anything has changed.
    """
    found = docker.inspect("image", image)
    if not found:
        log.info(f"fetching {image}")
        done = docker.attempt("pull", "--quiet", image, timeout=PULL_SECONDS)
        if not done.ok:
            said = done.stderr.strip().splitlines() or ["no answer"]
            raise DockyardError(
                f"the destination cannot fetch {image}: {said[-1]}",
                "nothing was changed; can it reach the registry, and was the image pushed?",
            )
        found = json.loads(docker.read("image", "inspect", image))
    config = found[0].get("Config") or {}
    entrypoint, command = (tuple(config.get(key) or ()) for key in ("Entrypoint", "Cmd"))
    return ImageFacts(entrypoint, command, config.get("StopSignal") or "SIGTERM")


def provide_front(settings: Settings, docker: Docker) -> str:
    """Return the image of a front in the destination's engine: the official one, or one made of Debian's packages."""
    answers = lookup.recall_answers()
    if settings.base == "auto" and OFFICIAL not in answers:
        answers |= lookup.ask_registry(docker.engine, [OFFICIAL])
    if choose_source(settings.base, Known(answer=answers.get(OFFICIAL))) != "debian":
        return f"{front.IMAGE}@{answers[OFFICIAL].digest}" if OFFICIAL in answers else OFFICIAL
    service = services.find_service(front.IMAGE)
    if service is None:
        raise AssertionError("unreachable: HAProxy is one of the services")
    name, _ = services.ensure_service(docker.engine, service, allow_expired=settings.allow_expired_release)
    return name


def push_front(settings: Settings, docker: Docker, local: str) -> str:
    """Bring a front's image that only one engine has to the project's repository, and return its pinned name there."""
    if not local.startswith("dockyard-service/"):
        return local
    if not settings.registry:
        raise SettingsError("[tool.dockyard] registry is empty", "the nodes fetch the front's image from there")
    name = f"{settings.repository}:front-{local.rpartition('/')[2].replace(':', '-')}"
    docker.read("tag", local, name)
    done = docker.attempt("push", "--quiet", name, timeout=PULL_SECONDS)
    if not done.ok:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise DockyardError(
            f"the image of the front could not be pushed as {name}: {said}",
            "nothing was changed; `invoke push` says more of a registry that refuses",
        )
    digests = json.loads(docker.read("image", "inspect", "--format={{json .RepoDigests}}", name))
    return next(str(digest) for digest in digests if digest.startswith(f"{settings.repository}@"))


def make_goal(settings: Settings, destination: Destination, docker: Docker, image: str) -> Goal:
    """Return what is to run at a destination."""
    return Goal(
        stack=settings.stack,
        own=settings.image,
        ports=settings.ports,
        destination=destination,
        image=image,
        document=read_document(settings, destination, docker),
        facts=read_image_facts(docker, image) if destination.drain else ImageFacts(),
    )


def describe_wanted(body: Document) -> dict[str, str]:
    """Return the facts of a service in a stack file, in the form in which those of a running one are read (pure)."""
    deploy = body["deploy"]
    limits = (deploy.get("resources") or {}).get("limits") or {}
    facts = {
        "image": _unpinned(str(body["image"])),
        "replicas": deploy.get("mode") or str(deploy.get("replicas", 1)),
        "cpus": f"{float(limits['cpus']):g}" if limits.get("cpus") else "",
        "memory": str(parse_size(str(limits["memory"]))) if limits.get("memory") else "",
        "definition": deploy["labels"][DEFINITION],
    }
    variables = {key: str(value or "").replace("$$", "$") for key, value in (body.get("environment") or {}).items()}
    return facts | dict(_variables(variables.items()))


def describe_live(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the same facts of the specification of a Swarm's service (pure)."""
    task = spec["TaskTemplate"]
    container = task["ContainerSpec"]
    limits = (task.get("Resources") or {}).get("Limits") or {}
    replicated = (spec.get("Mode") or {}).get("Replicated")
    facts = {
        "image": _unpinned(str(container["Image"])),
        "replicas": str(replicated["Replicas"]) if replicated else "global",
        "cpus": f"{limits['NanoCPUs'] / 1e9:g}" if limits.get("NanoCPUs") else "",
        "memory": str(limits["MemoryBytes"]) if limits.get("MemoryBytes") else "",
        "definition": (spec.get("Labels") or {}).get(DEFINITION, "unknown"),
    }
    pairs = [line.partition("=") for line in container.get("Env") or ()]
    return facts | dict(_variables((name, value) for name, _, value in pairs))


def _unpinned(image: str) -> str:
    """Return an image without the digest that Swarm adds to a tag: what was asked for is what counts."""
    name, _, digest = image.partition("@")
    return name if ":" in name.rpartition("/")[2] else f"{name}@{digest}" if digest else name


def _variables(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield variables as facts; of one that may hold a secret only whether it differs."""
    for name, text in pairs:
        hidden = text and any(word in name.lower() for word in SENSITIVE)
        yield f"environment {name}", f"(hidden, {hash_text(text)[:6]})" if hidden else text
