"""Run a project's Compose stack: read the files, have what they need, start, wait until it answers, or take it back.

Compose labels all that it makes with the project's name, so everything but a start works by that name
alone: a broken compose.yaml never keeps a running stack from being looked at or taken down.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dockyard import console
from dockyard.engine.client import Engine
from dockyard.errors import CommandError, DockyardError, SettingsError, UsageError
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.stack import compose, ports, prepare
from dockyard.stack.compose import Container, Model, Service

log = logging.getLogger(__name__)

LABEL = "label=com.docker.compose.project="
LOG_LINES = 20
POLL_SECONDS = 0.3
SETTLE_SECONDS = 1.0
"""How long a service without a health check must have run to count as up."""
SEEN_ENDING = 20
"""How often to look for the end of a service that is restarted again and again: only then its exit code shows."""
NEUTRAL = Path("/")
"""A folder without a compose.yaml: Compose then takes the stack from the engine's labels."""


@dataclass(frozen=True)
class StartRequest:
    """How a stack is to be started; `build` is "absent", "always" or "never", `timeout` is in seconds."""

    production: bool = False
    build: str = "absent"
    port: int | None = None
    timeout: float = 120.0


@dataclass(frozen=True)
class Up:
    """A stack that is up; `changed` is whether this call started anything."""

    containers: tuple[Container, ...]
    changed: bool
    seconds: float


@dataclass(frozen=True)
class Stack:
    """One project's stack on one engine; `files` are the Compose files, empty where only its name matters."""

    settings: Settings
    engine: Engine
    files: tuple[str, ...] = ()
    port: int | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    clock: Any = time

    def by_files(self, *arguments: str, **options: Any) -> Command:
        """Return the `docker compose` command that reads the files."""
        fixed = {"DOCKYARD_IMAGE": self.settings.image, "COMPOSE_FILE": None}
        chosen = {"PORT": str(self.port)} if self.port else {}
        files = [word for file in self.files for word in ("--file", file)]
        return self.engine.command(
            "compose", "--project-name", self.settings.stack, *files, *arguments,
            cwd=self.settings.root, env={**fixed, **chosen, **self.secrets}, **options,
        )  # fmt: skip

    def by_name(self, *arguments: str) -> Command:
        """Return the `docker compose` command that needs no file."""
        project = ("compose", "--project-name", self.settings.stack)
        return self.engine.command(*project, *arguments, cwd=NEUTRAL, env={"COMPOSE_FILE": None})

    def run(self, command: Command, *, check: bool = True) -> Completed:
        """Run one of these commands and keep what it prints."""
        return self.engine.runner.capture(command, check=check)

    def containers(self) -> tuple[Container, ...]:
        """Return the stack's containers, stopped ones too."""
        return compose.parse_containers(self.run(self.by_name("ps", "--all", "--format", "json")).stdout)

    def volumes(self) -> frozenset[str]:
        """Return the names of the stack's volumes."""
        listed = self.engine.run("volume", "ls", "--quiet", "--filter", LABEL + self.settings.stack)
        return frozenset(listed.stdout.split())


def find_files(root: Path, *, production: bool) -> tuple[str, ...]:
    """Return the names of the Compose files, in the order they are merged; raise SettingsError where one is missing.

    Without production a compose.override.yaml counts too, as it does for `docker compose up`.
    """
    base = next((name for name in compose.FILES if (root / name).is_file()), None)
    if base is None:
        raise SettingsError(f"there is no compose.yaml in {root}", "`dockyard init` writes one")
    stem, ending = base.rsplit(".", 1)
    layer = f"{stem}.{'production' if production else 'override'}"
    second = [f"{layer}.{each}" for each in ("yaml", "yml") if (root / f"{layer}.{each}").is_file()]
    if production and not second:
        raise SettingsError(
            f"there is no {layer}.{ending} beside {base} in {root}",
            "write what production changes into it (`dockyard init` writes one), or leave --production out",
        )
    return (base, *second[:1])


def up(settings: Settings, engine: Engine, request: StartRequest, clock: Any = time) -> Up:
    """Start the stack and wait until it is ready; on any failure nothing that this call started is left."""
    started = clock.monotonic()
    files = find_files(settings.root, production=request.production)
    secrets = prepare.read_secrets(settings.root, frozenset(os.environ))
    stack = Stack(settings, engine, files, request.port, secrets, clock)
    stack, model = prepare.substitute_services(stack, read_model(stack))
    before = stack.containers()
    ports.require_free_ports(engine, model, before)
    if request.build != "never":
        prepare.require_locks(settings, engine)
    prepare.require_images(stack, model, request.build)
    prepare.require_secrets(settings.root, model)
    began = stack.clock.monotonic()
    with undo_on_failure(stack, before):
        changes = _find_changes(stack, model, before)
        if changes is not None:
            _start(stack, model, changes, request.timeout)
        after = wait(stack, model.services, before, request.timeout, began)
    changed = {one.id for one in before if one.running} != {one.id for one in after if one.running}
    return Up(after, changed, clock.monotonic() - started)


def read_model(stack: Stack) -> Model:
    """Return what the Compose files want; raise SettingsError with Compose's own words where they are wrong."""
    done = stack.run(stack.by_files("config", "--format", "json"), check=False)
    names = " and ".join(stack.files)
    if not done.ok:
        raise SettingsError(f"{names}: {compose.complaint(done.stderr)}", "these are Compose's own words")
    for line in done.stderr.splitlines():
        log.info(line)
    model = compose.parse_model(done.stdout, stack.settings.stack, stack.settings.ports)
    if not model.services:
        raise SettingsError(f"{names}: there is no service to start")
    if stack.port and stack.port not in {port.published for port in model.ports}:
        raise UsageError(
            f"--port {stack.port} has no effect: {names} takes no port from ${{PORT}}",
            'write `ports: ["127.0.0.1:${PORT:-8000}:8000"]` in it',
        )
    return model


def _find_changes(stack: Stack, model: Model, before: tuple[Container, ...]) -> tuple[str, ...] | None:
    """Return the services to start, () for all of them, or None where Compose has nothing to do.

    Compose itself would run a job that has ended well once more at each start, whatever has changed.
    """
    if not before:
        return ()
    names = {service.name for service in model.services}
    # The hash of a file that names an env_file is not that of its containers, which have the file's variables: the
    # files as Compose resolves them have both alike.
    text = model.text or stack.run(stack.by_files("config", "--format", "json"), check=False).stdout
    hashing = replace(stack, files=("-",)).by_files("config", "--hash", "*", input=text.encode())
    lines = stack.run(hashing, check=False).stdout.splitlines()
    hashes = dict(line.split() for line in lines if len(line.split()) == 2)
    wanted = dict.fromkeys(service.image for service in model.services)
    images = {image: (stack.engine.inspect_image(image) or {}).get("Id", "") for image in wanted}
    changed = compose.find_changed(before, model.services, hashes, images)
    orphans = any(one.service not in names for one in before)
    if orphans or len(changed) == len(names):
        return ()
    return changed or None


def _start(stack: Stack, model: Model, names: tuple[str, ...], seconds: float) -> None:
    shown = ", ".join(names or [service.name for service in model.services])
    words = ("up", "--detach", "--no-color", "--remove-orphans", *names)
    with console.status(f"starting {stack.settings.stack}: {shown}"):
        try:
            stack.run(stack.by_files(*words, timeout=seconds))
        except CommandError as error:
            _, failed = compose.judge(_look(stack, model.services), model.services)
            if failed:
                raise _failure(stack, failed) from None
            complaint = compose.complaint(error.output or error.message)
            lesson = compose.find_lesson(complaint)
            hint = lesson.edit if lesson else ""
            raise DockyardError(f"Compose could not start the stack: {complaint}", hint) from None


def wait(
    stack: Stack, services: tuple[Service, ...], before: tuple[Container, ...], seconds: float, began: float
) -> tuple[Container, ...]:
    """Return the containers once every service is ready; raise DockyardError when one fails or time is up.

    Time is up so many seconds after it `began`, on the monotonic clock.
    One that was not among those `before` and has no health check must still run a moment later; what is published
    must answer. `docker compose up --wait` knows neither, and takes a job that has ended for a failure.
    """
    seen = frozenset[tuple[str, int]]()
    with console.status(f"waiting for {', '.join(service.name for service in services)}"):
        while True:
            found = _look(stack, services)
            waiting, failed = compose.judge(found, services)
            if failed:
                raise _failure(stack, failed)
            unsettled = compose.unsettled(found, before)
            silent = None
            if not waiting and unsettled <= seen:
                silent = ports.find_silent(stack.engine, found, stack.settings.ports)
                if silent is None:
                    return found
            if stack.clock.monotonic() > began + seconds:
                late = next((one for one in found if waiting and one.service == waiting[0] and not one.ready), None)
                if late:
                    raise _failure(stack, late, f" after {seconds:g} s")
                if waiting:
                    raise DockyardError(f"{waiting[0]} was not started within {seconds:g} s")
                if silent:
                    raise _failure(stack, silent[0], f" after {seconds:g} s", silent[1])
            seen = frozenset() if waiting else unsettled
            stack.clock.sleep(POLL_SECONDS if waiting else SETTLE_SECONDS)


def _look(stack: Stack, services: tuple[Service, ...]) -> tuple[Container, ...]:
    """Return the stack's containers, their restarts counted where they may be in a loop of them.

    They come without the health that an image's check finds of a service it is not about.
    """
    foreign = {service.name for service in services if not service.own_check}
    found = tuple(replace(one, health="") if one.service in foreign else one for one in stack.containers())
    doubtful = [one.id for one in found if one.state == "restarting" or (one.running and not one.health)]
    if not doubtful:
        return found
    counted = stack.engine.attempt("inspect", "--format", "{{.RestartCount}}", *doubtful)
    counts = dict(zip(doubtful, counted.stdout.split(), strict=False))
    return tuple(replace(one, restarts=int(counts.get(one.id, "0"))) for one in found)


def _failure(stack: Stack, container: Container, when: str = "", port: int = 0) -> DockyardError:
    """Show a failing service's last log lines, and return the error that says why it failed."""
    said: list[str] = []
    with contextlib.suppress(CommandError):
        said = list(stack.engine.runner.lines(stack.engine.command("logs", "--tail", str(LOG_LINES), container.id)))
        log.info(f"the last lines of {container.service}:" if said else f"{container.service} has logged nothing")
        for line in said:
            log.info(f"{container.service} | {line}")
    silent = f"{container.service} runs, but does not answer at port {port}" if port else ""
    what = (silent or compose.explain(container.service, _state(stack, container))) + when
    lesson = compose.find_lesson("\n".join([*said, what]))
    empty = _empty_variables(stack, container)
    if empty:
        what = f"{what}; {prepare.VARIABLES} has no value for {', '.join(empty)}"
    if lesson:
        return DockyardError(f"{what}: {lesson.cause}", lesson.edit)
    if empty:
        given = " ".join(f"--env {name}=…" for name in empty)
        return DockyardError(what, f"its log is above; `dockyard init {given}` gives it one, which it may want")
    if port:
        return DockyardError(what, "does its program listen on 0.0.0.0 and on the port that is published?")
    return DockyardError(what, "its log is above; a longer wait is `--timeout SECONDS`" if when else "its log is above")


def _empty_variables(stack: Stack, container: Container) -> tuple[str, ...]:
    """Return the variables that compose.env gives a container no value for, and .env neither."""
    names = prepare.empty_variables(stack.settings.root)
    if not names:
        return ()
    done = stack.engine.attempt("inspect", "--format", "{{json .Config.Env}}", container.id)
    given = set(json.loads(done.stdout) or ()) if done.ok else set()
    return tuple(name for name in names if f"{name}=" in given)


def _state(stack: Stack, container: Container) -> dict[str, Any]:
    """Return the engine's facts of a failed container; one that is restarted again and again must first end again."""
    state: dict[str, Any] = {}
    for _ in range(SEEN_ENDING):
        done = stack.engine.attempt("inspect", "--format", "{{json .State}}", container.id)
        state = json.loads(done.stdout) if done.ok else {}
        if container.state != "restarting" or state.get("Status") != "running":
            break
        stack.clock.sleep(POLL_SECONDS)
    return state


@contextlib.contextmanager
def undo_on_failure(stack: Stack, before: tuple[Container, ...]) -> Iterator[None]:
    """Do the block; where it ends with an error or an interrupt, bring back what was `before`: no more, no less.

    No container, network or volume stays that was not there, and none runs that did not.
    """
    volumes = stack.volumes()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            log.info("interrupted: taking down what was started")
        known, ran = {one.id for one in before}, {one.id for one in before if one.running}
        now = [one.id for one in stack.containers()]
        if started := [one for one in now if one not in ran]:
            _tidy(stack, stack.engine.command("stop", *started))
        if new := [one for one in now if one not in known]:
            # With the volumes that have no name: Compose leaves them, and nobody would find whose they were.
            _tidy(stack, stack.engine.command("rm", "--force", "--volumes", *new))
        if before:
            log.info("the stack was there before: what still runs of it was left as it is")
        else:
            _tidy(stack, stack.by_name("down", "--remove-orphans"))
        if added := sorted(stack.volumes() - volumes):
            _tidy(stack, stack.engine.command("volume", "rm", *added))
        raise


def _tidy(stack: Stack, command: Command) -> None:
    done = stack.run(command, check=False)
    if not done.ok:
        log.info(f"not all of it could be removed: {compose.complaint(done.stderr)}; `invoke down` tries again")


def down(stack: Stack, *, volumes: bool) -> tuple[list[str], list[str]]:
    """Stop and remove the stack's containers and networks, and with `volumes` its data; return the names of both."""
    found = stack.containers()
    data = sorted(stack.volumes()) if volumes else []
    with console.status(f"taking down {stack.settings.stack}") if found else contextlib.nullcontext():
        stack.run(stack.by_name("down", "--remove-orphans", *(("--volumes",) if volumes else ())))
    # Those that no container used are not in Compose's view.
    left = sorted(stack.volumes()) if data else []
    if left:
        stack.engine.run("volume", "rm", *left)
    return [one.name for one in found], data


def restart(stack: Stack, service: str, timeout: float) -> tuple[Container, ...]:
    """Restart the stack or one service of it, and wait until it is ready again."""
    # A job that has done its work is done: it would start before what it waits for.
    found = chosen(stack, service)
    found = tuple(one for one in found if one.running or one.failed) or found
    names = list(dict.fromkeys(one.service for one in found))
    known: dict[str, Service] = {}
    with contextlib.suppress(DockyardError):  # the files say more of services where they can be read
        files = find_files(stack.settings.root, production=False)
        known = {service.name: service for service in read_model(replace(stack, files=files)).services}
    services = tuple(replace(known.get(name, Service(name, "")), ports=()) for name in names)
    with console.status(f"restarting {', '.join(names)}"):
        stack.run(stack.by_name("restart", *names))
    return wait(stack, services, (), timeout, stack.clock.monotonic())


def chosen(stack: Stack, service: str) -> tuple[Container, ...]:
    """Return the containers of a service, or of all where none is named; raise where there are none."""
    found = stack.containers()
    if not found:
        find_files(stack.settings.root, production=False)
        raise DockyardError(f"the stack {stack.settings.stack} is not there", "`invoke up` starts it")
    its = tuple(one for one in found if service in {"", one.service})
    if not its:
        names = ", ".join(dict.fromkeys(one.service for one in found))
        raise UsageError(f"the stack {stack.settings.stack} has no service {service!r}", f"it has: {names}")
    return its


def logs(stack: Stack, service: str, tail: int | None, *, follow: bool) -> Command:
    """Return the command that shows the logs of the stack or of one service."""
    chosen(stack, service)
    tailed = ("--tail", str(tail)) if tail is not None else ()
    return stack.by_name("logs", *(("--follow",) if follow else ()), *tailed, *((service,) if service else ()))
