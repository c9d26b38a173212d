"""Compile locks inside each Python's own base image, all Pythons side by side, and leave nothing behind."""

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib import resources

from dockyard import console
from dockyard.engine.client import Engine
from dockyard.engine.inside import archive
from dockyard.errors import CommandError, DockyardError
from dockyard.locks.failures import Failure, TransientError, explain_failure, find_yanked, require_heard
from dockyard.locks.indexes import Access, select_options
from dockyard.locks.markers import Environment, list_environments
from dockyard.locks.plan import Batch, JobAnswer, finish_locks
from dockyard.process import Command, redact

log = logging.getLogger(__name__)

LABEL = "dockyard.locks"
VOLUME = "dockyard-locks"
PROGRAM = """
import pathlib, sys
archive, given = pathlib.Path("/tmp/dockyard.zip"), sys.stdin.buffer
archive.write_bytes(given.read(int(given.readline())))
sys.path.insert(0, str(archive))
from payload.lock import main
main()
"""
"""What starts payload/lock.py: its package comes first on standard input, its length in a line before it."""
TIMEOUT = 15
RETRIES = 3
PAUSES = (3.0, 10.0)


@dataclass(frozen=True)
class Run:
    """All that the containers of one run share: the mark by which they are found again, and the way out."""

    engine: Engine
    access: Access
    mark: str


@dataclass(frozen=True)
class JobRequest:
    """One lock to compile, for environments by name, and for others where a package's own marker differs there.

    `options` are the lines that say where packages come from, None where all hashes count.
    """

    purpose: str
    input: str
    output: str
    agrees_with: tuple[str, ...]
    pins: tuple[str, ...]
    needed: tuple[str, ...]
    perhaps: tuple[str, ...]
    options: tuple[str, ...] | None


@dataclass(frozen=True)
class Request:
    """What goes to a container on its standard input, as JSON: the inputs, the compiler's own lock, the way out."""

    python: str
    resolver: str
    tools: str
    files: Mapping[str, str]
    agreed: Mapping[str, tuple[str, ...]]
    wanted: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    netrc: str = field(repr=False)
    ca: str
    retries: int
    timeout: int
    pauses: tuple[float, ...]
    """Seconds to wait before a lookup that the network spoilt is tried again, and again."""

    environments: Mapping[str, Environment]
    jobs: tuple[JobRequest, ...]


@dataclass(frozen=True)
class Compiled:
    """The text of every lock by its path, and the pins in them that are yanked, each with the reason.

    `failed` is set where the network ended it: what was compiled before that stays.
    """

    texts: Mapping[str, str]
    yanked: Mapping[str, str] = field(default_factory=dict)
    failed: DockyardError | None = None


def compile_all(engine: Engine, batches: Sequence[Batch], access: Access) -> Compiled:
    """Return the locks of every batch; raise for the first that cannot be made, unless the network is the reason.

    On any error or interrupt every container of the run is removed before this returns.
    """
    run = Run(engine, access, secrets.token_hex(6))
    names = ", ".join(dict.fromkeys(job.lock.purpose for batch in batches for job in batch.jobs))
    pythons = ", ".join(batch.python for batch in batches)
    pending: list[Future[Compiled]] = []
    with (
        console.status(f"making locks for Python {pythons}: {names}"),
        ThreadPoolExecutor(max_workers=max(len(batches), 1)) as pool,
    ):
        try:
            pending += [pool.submit(_compile, run, batch) for batch in batches]
            wait(pending, return_when=FIRST_EXCEPTION)
            made = [one.result() for one in sorted(pending, key=lambda one: not (one.done() and one.exception()))]
        except BaseException:
            for future in pending:
                future.cancel()
            while not all(future.done() for future in pending):
                remove_containers(run)
                wait(pending, timeout=0.2)
            remove_containers(run)
            raise
    texts = {path: text for one in made for path, text in one.texts.items()}
    yanked = {pin: reason for one in made for pin, reason in one.yanked.items()}
    return Compiled(texts, yanked, next((one.failed for one in made if one.failed), None))


def compile_command(run: Run, batch: Batch) -> Command:
    """Return the command that compiles a batch: everything it needs comes on its standard input."""
    package = archive()
    asked = json.dumps(asdict(build_request(run, batch))).encode()
    volume = f"{VOLUME}-{batch.python if batch.resolver == 'pip-tools' else 'uv'}"  # a compiler and its downloads
    return run.engine.command(
        *("run", "--rm", "--interactive", "--name", f"dockyard-lock-{batch.python}-{run.mark}"),
        *("--label", f"{LABEL}={run.mark}", "--network", "host" if run.access.loopback else "default"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp:exec"),  # noqa: S108 - the container's
        *("--mount", f"type=volume,src={volume},dst=/cache,volume-label={LABEL}"),
        *("--entrypoint", "python", batch.image, "-I", "-c", PROGRAM),
        input=b"%d\n%s%s" % (len(package), package, asked),
        secrets=run.access.secrets,
    )


def build_request(run: Run, batch: Batch) -> Request:
    """Return what the program in the container is asked to do, as payload/lock.py reads it."""
    jobs = tuple(
        JobRequest(
            purpose=job.lock.purpose,
            input=job.lock.inputs[0].path,
            output=job.lock.path,
            agrees_with=tuple(job.lock.agrees_with),
            pins=job.pins,
            needed=job.environments.needed,
            perhaps=job.environments.perhaps,
            options=tuple(select_options(job.lock.inputs)) if job.lock.hashes == "platform" else None,
        )
        for job in batch.jobs
    )
    return Request(
        python=batch.python,
        resolver=batch.resolver,
        tools=resources.files(__package__).joinpath("tools", f"{batch.resolver}.txt").read_text(encoding="utf-8"),
        files=batch.files,
        agreed=batch.agreed,
        wanted=batch.wanted,
        environment=run.access.variables,
        netrc=run.access.netrc,
        ca=run.access.ca,
        retries=RETRIES,
        timeout=TIMEOUT,
        pauses=PAUSES,
        environments=list_environments(batch.jobs[0].lock.platforms),
        jobs=jobs,
    )


def _compile(run: Run, batch: Batch) -> Compiled:
    started = time.monotonic()
    command = compile_command(run, batch)
    said = redact(run.engine.runner.capture(command).stdout, run.access.secrets)
    try:
        given = json.loads(said)
    except ValueError:
        raise CommandError(f"no answer from: {command.display()}", output=said) from None
    failed = explain_failure(batch, Failure(**given["failed"])) if "failed" in given else None
    if failed and not isinstance(failed, TransientError):
        raise failed
    answers = {purpose: JobAnswer(**answer) for purpose, answer in given["locks"].items()}
    words = "\n".join(answer.said for answer in answers.values())
    require_heard(words)
    if answers:
        took = time.monotonic() - started
        log.info(f"Python {batch.python}: {', '.join(answers)} in {took:.1f} s with {batch.compiler}")
    return Compiled(finish_locks(batch, answers, given["glibc"]), find_yanked(words), failed)


def remove_containers(run: Run) -> None:
    """Remove every container of a run, whatever it is doing."""
    listing = run.engine.attempt("ps", "--all", "--quiet", "--filter", f"label={LABEL}={run.mark}")
    if names := listing.stdout.split():
        run.engine.attempt("rm", "--force", "--volumes", *names)
