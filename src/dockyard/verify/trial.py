"""Run an image as hard as production would, and note how it does: start, answer, health, memory, stop.

What looks into the container is Python run in the container itself, so that a remote engine, an unpublished
port and an image without a shell are all no matter. Times are taken from the start of process 1, by the
kernel's own clock: neither the engine's work before it nor a clock set differently comes into them.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dockyard.engine.client import Engine
from dockyard.engine.inside import ENGINE_SECONDS, ask_python, choose_options, hide_values, parse_json, probe
from dockyard.errors import CommandError, DockyardError, SettingsError
from dockyard.files import write_atomically
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack import prepare, stack
from dockyard.stack.compose import Model
from dockyard.stack.prepare import substitute_services
from dockyard.stack.stack import Stack
from dockyard.verify.model import Trial

LOG_LINES = 40
RELEASE_SECONDS = 300.0
START_SECONDS = 120.0
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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for the first answer, for health (looking every `pause`), for the end."""

    start: float = 30.0
    health: float = 20.0
    stop: float = 10.0
    pause: float = 0.1


@dataclass(frozen=True)
class Setup:
    """How to run an image: its port, what production gives it, how long to wait, and its own configuration.

    `network` is that of the services beside it, empty where there are none. `answered` is called when the first answer
    is there, or is given up: other work may disturb no time from then on.
    """

    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ()
    patience: Patience = Patience()
    config: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    hardened: bool = True
    answered: Callable[[], object] = lambda: None


def try_image(engine: Engine, image: str, setup: Setup) -> Trial:
    """Try an image hardened; where that fails, try it once more as it is, so that the cause can be told."""
    first = try_once(engine, image, setup)
    if first.serves:
        return first
    return replace(first, plain=try_once(engine, image, replace(setup, hardened=False, answered=lambda: None)))


def try_once(engine: Engine, image: str, setup: Setup) -> Trial:
    """Run a container from start to end, and return what was seen of it."""
    trial = Trial(setup.port, waited=setup.patience.start)
    with _own_container(engine) as name:
        started = _run(engine, setup, f"--name={name}", "--detach", image)
        if started.ok:
            trial = _await_answer(engine, name, setup, trial)
            setup.answered()
        else:
            trial = replace(trial, refused=started.stderr.strip())
        if trial.answer is not None and trial.exit_code is None:
            trial = _check_health(engine, name, setup, trial)
            trial = _stop(engine, name, setup, trial) if trial.serves else trial
        return replace(trial, log=_log(engine, name))


def run_release_step(engine: Engine, image: str, setup: Setup, words: Sequence[str]) -> None:
    """Run a project's release step in an image as its service would run; raise DockyardError where it fails."""
    log.info(f"running the release step: {' '.join(words)}")
    with _own_container(engine) as name:
        options = (f"--name={name}", f"--entrypoint={words[0]}")
        done = _run(engine, setup, *options, image, *words[1:], timeout=RELEASE_SECONDS)
    if not done.ok:
        said = "".join(f"\n  | {line}" for line in (done.stdout + done.stderr).splitlines()[-8:])
        raise DockyardError(
            f"the release step `{' '.join(words)}` ended with status {done.returncode}{said}",
            "does it reach the services in trial-services, by the addresses in trial-environment?",
        )


def find_uncompilable(engine: Engine, image: str, paths: tuple[str, ...]) -> Mapping[str, str]:
    """Return which of an image's files its own Python cannot compile, templates or another Python's, and why."""
    found = ask_python(engine, image, "uncompilable", said=paths) or {}
    return {path: str(found[path]) for path in paths if path in found}


def _run(engine: Engine, setup: Setup, *words: str, timeout: float = ENGINE_SECONDS) -> Completed:
    """Run a container with what production gives it, after which `words` come: more options, the image, its command."""
    joined = (f"--network={setup.network}",) if setup.network else ()
    given = choose_options(setup.environment, setup.tmpfs, hardened=setup.hardened)
    words = ("--no-healthcheck", *given, *joined, *words)
    return engine.attempt("run", *words, timeout=timeout, secrets=hide_values(setup.environment))


@contextmanager
def _own_container(engine: Engine) -> Iterator[str]:
    """Yield a name for a container, and leave nothing of it, whatever happens."""
    name = f"dockyard-trial-{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        engine.attempt("rm", "--force", "--volumes", name, timeout=ENGINE_SECONDS)


def _await_answer(engine: Engine, name: str, setup: Setup, trial: Trial) -> Trial:
    """Wait for the first answer, or for the end of the container, or until patience is over."""
    limit = setup.patience.start
    watch = probe("watch", str(setup.port), f"{limit:g}")
    done = engine.attempt("exec", name, "python", *watch, timeout=limit + ENGINE_SECONDS)
    seen = parse_json(done.stdout) or {}
    if not seen and not done.stderr:  # it broke off with its container, whose end the engine may not have noted yet
        with suppress(CommandError):
            engine.attempt("wait", name, timeout=setup.patience.stop)
    state = parse_json(engine.attempt("inspect", "--format={{json .State}}", name, timeout=ENGINE_SECONDS).stdout) or {}
    running = bool(state.get("Running"))
    return replace(
        trial,
        refused="" if seen or not running else done.stderr.strip(),
        answer=None if seen.get("answer") is None else round(seen["answer"], 3),
        listening=tuple(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in seen.get("listening", ())
        ),
        exit_code=None if running else int(state.get("ExitCode", 1)),
        out_of_memory=bool(state.get("OOMKilled")),
    )


def _check_health(engine: Engine, name: str, setup: Setup, trial: Trial) -> Trial:
    """Run the image's health check until it passes or patience is over, and read the memory of the service."""
    check = setup.config.get("Healthcheck") or {}
    test = tuple(check.get("Test") or ())
    argv = ("/bin/sh", "-c", *test[1:]) if test[:1] == ("CMD-SHELL",) else test[1:]
    if test[:1] == ("NONE",) or not argv:
        return replace(trial, memory=_memory(engine, name))
    seconds = float(check.get("Timeout") or 30e9) / 1e9
    over = time.monotonic() + setup.patience.health
    while True:
        try:
            done = engine.attempt("exec", name, *argv, timeout=seconds)
            healthy, said = done.ok, done.stdout + done.stderr
        except CommandError:  # as for the engine itself, a check that outlives its timeout has failed
            healthy, said = False, f"the check did not end within {seconds:g} s"
        if healthy or time.monotonic() > over:
            return replace(trial, healthy=healthy, health_output=said, memory=_memory(engine, name))
        time.sleep(setup.patience.pause)


def _stop(engine: Engine, name: str, setup: Setup, trial: Trial) -> Trial:
    """Tell the service to stop, by the signal that its image names, and see when and how it does."""
    started = time.monotonic()
    signal = setup.config.get("StopSignal") or "SIGTERM"
    engine.attempt("kill", f"--signal={signal}", name, timeout=ENGINE_SECONDS)
    try:
        done = engine.attempt("wait", name, timeout=setup.patience.stop)
    except CommandError:
        return trial
    code = done.stdout.strip()
    return replace(trial, stop=round(time.monotonic() - started, 3), stop_code=int(code) if code.isdecimal() else 1)


def _memory(engine: Engine, name: str) -> int | None:
    """Return the bytes that a container uses without its cache of files; None where the engine cannot tell."""
    import docker.errors

    with closing(engine.client()) as client, suppress(docker.errors.APIError):
        said: Any = client.api.stats(name, decode=None, stream=False, one_shot=True)
        return measure_memory(said.get("memory_stats") or {})
    return None


def measure_memory(memory: Mapping[str, Any]) -> int | None:
    """Return the memory in use by the numbers of a control group, version 1 or 2 (pure)."""
    if "usage" not in memory:
        return None
    more = memory.get("stats") or {}
    return int(memory["usage"]) - int(more.get("inactive_file", more.get("total_inactive_file", 0)))


def _log(engine: Engine, name: str) -> tuple[str, ...]:
    done = engine.attempt("logs", f"--tail={LOG_LINES}", name, timeout=ENGINE_SECONDS)
    return tuple(line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()) if done.ok else ()


@contextmanager
def start_attendants(settings: Settings, engine: Engine) -> Iterator[str]:
    """Yield the network of the services in `trial-services`, '' where there are none; take all of them away after."""
    if not settings.trial_services:
        yield ""
        return
    beside = settings._replace(stack=f"{settings.stack}-trial-{secrets.token_hex(3)}")
    files = find_trial_files(settings.root)
    write_atomically(settings.root / OVERRIDE, format_override(settings.trial_services))
    kept = prepare.read_secrets(settings.root, frozenset(os.environ))
    own = Stack(beside, engine, (*files, str(OVERRIDE)), secrets=kept)
    own, model = substitute_services(own, stack.read_model(replace(own, files=files)))
    wanted = select_services(model, settings.trial_services)
    prepare.require_images(own, wanted, "absent")
    prepare.require_secrets(settings.root, wanted)
    log.info(f"starting {', '.join(settings.trial_services)} for the trial")
    try:
        own.run(own.by_files("up", "--detach", "--no-color", *settings.trial_services, timeout=START_SECONDS))
        found = stack.wait(own, wanted.services, (), START_SECONDS, time.monotonic())
        form = "{{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{end}}"
        networks = engine.run("inspect", "--format", form, found[0].id).stdout.split()
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
