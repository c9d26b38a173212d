"""Run an image as hard as production would, and note how it does: start, answer, health, memory, stop.

What looks into the container is Python run in the container itself, so that a remote engine, an unpublished
port and an image without a shell are all no matter. Times are taken from the start of process 1, by the
kernel's own clock: neither the engine's work before it nor a clock set differently comes into them.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dockyard.engine.client import Engine
from dockyard.engine.inside import probe
from dockyard.errors import CommandError, DockyardError, SettingsError
from dockyard.files import write_atomically
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack import prepare, stack
from dockyard.stack.compose import Model
from dockyard.stack.prepare import substitute_services
from dockyard.stack.stack import Stack
from dockyard.verify.matrix import HARDENED, mount_writable
from dockyard.verify.model import Facts, Trial

ENGINE_SECONDS = 60.0
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
    """How to run an image: its port, what production gives it, and how long to wait.

    `answered` is called when the first answer is there, or is given up: other work may disturb no time from then on.
    """

    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ()
    patience: Patience = Patience()
    hardened: bool = True
    answered: Callable[[], None] = lambda: None
    stop_signal: str = "SIGTERM"
    """What tells it to stop: the image may name another signal."""
    network: str = ""
    """The network of the services beside it, empty where there are none."""


def try_image(engine: Engine, image: str, facts: Facts, setup: Setup) -> Trial:
    """Try an image hardened; where that fails, try it once more as it is, so that the cause can be told."""
    first = once(engine, image, facts, setup)
    if first.serves:
        return first
    as_it_is = replace(setup, hardened=False, answered=lambda: None)
    return replace(first, plain=once(engine, image, facts, as_it_is))


def once(engine: Engine, image: str, facts: Facts, setup: Setup) -> Trial:
    """Run a container from start to end, and return what was seen of it."""
    trial = Trial(setup.port, waited=setup.patience.start)
    with _container(engine, image, setup) as (name, started):
        if not started.ok:
            return replace(trial, refused=started.stderr.strip(), log=_log(engine, name))
        trial = _await_answer(engine, name, setup, trial)
        setup.answered()
        if trial.answer is not None and trial.exit_code is None:
            trial = _check_health(engine, name, facts, setup, trial)
            trial = _stop(engine, name, setup, trial)
        return replace(trial, log=_log(engine, name))


def choose_options(setup: Setup, name: str) -> tuple[str, ...]:
    """Return the options of `docker run` for a trial (pure)."""
    hardening = HARDENED if setup.hardened else ()
    mounts = mount_writable(setup.tmpfs)
    given = tuple(f"--env={key}={value}" for key, value in setup.environment.items())
    joined = (f"--network={setup.network}",) if setup.network else ()
    return ("--detach", f"--name={name}", "--no-healthcheck", *hardening, *mounts, *given, *joined)


def run_release_step(engine: Engine, image: str, setup: Setup, words: Sequence[str]) -> None:
    """Run a project's release step in an image as its service would run; raise DockyardError where it fails."""
    if not words:
        return
    log.info(f"running the release step: {' '.join(words)}")
    options = [word for word in choose_options(setup, f"dockyard-release-{secrets.token_hex(4)}") if word != "--detach"]
    given = ("run", "--rm", *options, f"--entrypoint={words[0]}", image, *words[1:])
    secret = tuple(value for value in setup.environment.values() if len(value) > 3)
    done = engine.attempt(*given, timeout=RELEASE_SECONDS, secrets=secret)
    if not done.ok:
        said = "".join(f"\n  | {line}" for line in (done.stdout + done.stderr).splitlines()[-8:])
        raise DockyardError(
            f"the release step `{' '.join(words)}` ended with status {done.returncode}{said}",
            "does it reach the services in trial-services, by the addresses in trial-environment?",
        )


def find_uncompilable(engine: Engine, image: str, paths: tuple[str, ...]) -> Mapping[str, str]:
    """Return which of an image's files its own Python cannot compile, templates or another Python's, and why."""
    found = _run_probe(engine, image, "python", "uncompilable", asked=json.dumps(paths).encode())
    return {path: str(found[path]) for path in paths if path in found} if isinstance(found, dict) else {}


def find_in_image(engine: Engine, image: str, wanted: str) -> tuple[str, ...]:
    """Return the paths under which an image with Python has a file: by its path, or by its name wherever it lies."""
    found = _run_probe(engine, image, "python3", "find", wanted)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _run_probe(engine: Engine, image: str, python: str, verb: str, *words: str, asked: bytes = b"") -> Any:
    """Let an image's Python look around, hardened; return what it answers, None where it cannot be run."""
    options = ("--rm", "--interactive", "--network=none", "--no-healthcheck", *HARDENED, f"--entrypoint={python}")
    done = engine.attempt("run", *options, image, *probe(verb, *words), input=asked, timeout=ENGINE_SECONDS)
    return _parse_json(done.stdout)


@contextmanager
def _container(engine: Engine, image: str, setup: Setup) -> Iterator[tuple[str, Completed]]:
    """Start a container, and leave nothing of it, whatever happens."""
    name = f"dockyard-trial-{secrets.token_hex(4)}"
    secret = tuple(value for value in setup.environment.values() if len(value) > 3)
    try:
        yield name, engine.attempt("run", *choose_options(setup, name), image, timeout=ENGINE_SECONDS, secrets=secret)
    finally:
        engine.attempt("rm", "--force", "--volumes", name, timeout=ENGINE_SECONDS)


def _await_answer(engine: Engine, name: str, setup: Setup, trial: Trial) -> Trial:
    """Wait for the first answer, or for the end of the container, or until patience is over."""
    limit = setup.patience.start
    watch = probe("watch", str(setup.port), f"{limit:g}")
    done = engine.attempt("exec", name, "python", *watch, timeout=limit + ENGINE_SECONDS)
    seen = _parse_json(done.stdout)
    state = _state(engine, name)
    if not isinstance(seen, dict):
        seen = {}
        trial = replace(trial, refused=done.stderr.strip() if state.get("Running") else "")
    listening = tuple(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in seen.get("listening", ())
    )
    ended = not state.get("Running", False)
    return replace(
        trial,
        answer=None if seen.get("answer") is None else round(seen["answer"], 3),
        listening=listening,
        exit_code=int(state.get("ExitCode", 1)) if ended else None,
        out_of_memory=bool(state.get("OOMKilled")),
    )


def _check_health(engine: Engine, name: str, facts: Facts, setup: Setup, trial: Trial) -> Trial:
    """Run the image's health check until it passes or patience is over, and read the memory of the service."""
    check = facts.settings.get("Healthcheck") or {}
    test = tuple(check.get("Test") or ())
    argv = ("/bin/sh", "-c", *test[1:]) if test[:1] == ("CMD-SHELL",) else test[1:]
    if test[:1] == ("NONE",) or not argv:
        return replace(trial, memory=_memory(engine, name))
    one = float(check.get("Timeout") or 30e9) / 1e9
    over = time.monotonic() + setup.patience.health
    while True:
        healthy, said = _run_check(engine, name, argv, one)
        if healthy or time.monotonic() > over:
            return replace(trial, healthy=healthy, health_output=said, memory=_memory(engine, name))
        time.sleep(setup.patience.pause)


def _run_check(engine: Engine, name: str, argv: tuple[str, ...], seconds: float) -> tuple[bool, str]:
    """Run a health check once, as the engine itself would; a check that outlives its timeout has failed."""
    try:
        done = engine.attempt("exec", name, *argv, timeout=seconds)
    except CommandError:
        return False, f"the check did not end within {seconds:g} s"
    return done.ok, done.stdout + done.stderr


def _stop(engine: Engine, name: str, setup: Setup, trial: Trial) -> Trial:
    """Tell the service to stop, and see when and how it does."""
    if trial.healthy is False:
        return trial
    started = time.monotonic()
    engine.attempt("kill", f"--signal={setup.stop_signal}", name, timeout=ENGINE_SECONDS)
    try:
        done = engine.attempt("wait", name, timeout=setup.patience.stop)
    except CommandError:
        return trial
    code = done.stdout.strip()
    return replace(trial, stop=round(time.monotonic() - started, 3), stop_code=int(code) if code.isdecimal() else 1)


def _memory(engine: Engine, name: str) -> int | None:
    """Return the bytes that a container uses without its cache of files; None where the engine cannot tell."""
    import docker.errors

    client = engine.client()
    try:
        said: Any = client.api.stats(name, decode=None, stream=False, one_shot=True)
    except docker.errors.APIError:
        return None
    finally:
        client.close()
    return measure_memory(said.get("memory_stats") or {})


def measure_memory(memory: Mapping[str, Any]) -> int | None:
    """Return the memory in use by the numbers of a control group, version 1 or 2 (pure)."""
    if "usage" not in memory:
        return None
    more = memory.get("stats") or {}
    return int(memory["usage"]) - int(more.get("inactive_file", more.get("total_inactive_file", 0)))


def _state(engine: Engine, name: str) -> Mapping[str, Any]:
    done = engine.attempt("inspect", "--format={{json .State}}", name, timeout=ENGINE_SECONDS)
    found = _parse_json(done.stdout)
    return found if isinstance(found, dict) else {}


def _log(engine: Engine, name: str) -> tuple[str, ...]:
    done = engine.attempt("logs", f"--tail={LOG_LINES}", name, timeout=ENGINE_SECONDS)
    return tuple(line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()) if done.ok else ()


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


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
        engine.runner.capture(
            own.by_files("up", "--detach", "--no-color", *settings.trial_services, timeout=START_SECONDS)
        )
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
