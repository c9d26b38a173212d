"""Make the locks of a project: plan, compile inside each Python's own base image, compare, write.

All Pythons are compiled side by side, and no container is left behind.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from dockyard import console
from dockyard.engine.client import Engine, find_engine
from dockyard.engine.inside import archive
from dockyard.errors import CommandError, DockyardError
from dockyard.files import replace_files
from dockyard.host import ca_bundle, read_bundle
from dockyard.locks import failures, plan
from dockyard.locks.check import ProjectLocks, inspect_locks
from dockyard.locks.indexes import Access, read_access, select_options
from dockyard.locks.inputs import InputError
from dockyard.locks.markers import Environment, list_environments
from dockyard.locks.plan import Batch, JobAnswer, Wish, finish_locks, plan_batches
from dockyard.process import Command, redact

if TYPE_CHECKING:
    from dockyard.settings import Settings

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
    """The text of every lock by its path, and what is to be said of pins that their index has yanked.

    `failed` is set where the network ended it: what was compiled before that stays.
    """

    texts: Mapping[str, str]
    yanked: Sequence[str] = ()
    failed: DockyardError | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run made: the text of each file that differs by its path, None for one to remove; and the story."""

    files: Mapping[str, str | None]
    changes: tuple[plan.Change, ...]
    locks: int
    yanked: Sequence[str] = ()
    built: tuple[plan.Built, ...] = ()
    """What is built from source, in all locks of the project."""

    failed: DockyardError | None = None
    """Why some locks could not be made although those in `files` were: the network."""


def make_locks(settings: "Settings", wish: Wish, engine: Engine | None = None) -> Outcome:
    """Compile what is stale or asked for, and return what would change; nothing is written yet.

    No engine is looked for where nothing needs compiling. Raise InputError for the first broken input.
    """
    known = inspect_locks(settings)
    for problem in known.broken:
        raise InputError(problem.path, problem.line, problem.message, problem.mend)
    batches = plan_batches(known, wish)
    made = Compiled({})
    if batches:
        inputs = dict.fromkeys(file for batch in batches for job in batch.jobs for file in job.lock.inputs)
        access = read_access(inputs, settings.index_url, os.environ)
        access = replace(access, ca=read_bundle(ca_bundle()).decode("utf-8", "replace"))
        engine = engine or find_engine(settings)
        made = compile_all(engine, choose_images(settings, engine, batches), access)
    return compare_with_disk(settings.root, known, made)


def write_outcome(settings: "Settings", outcome: Outcome) -> None:
    """Write what a run made: every file of it or none."""
    replace_files({settings.root / path: new for path, new in outcome.files.items()})


def compare_with_disk(root: Path, known: ProjectLocks, made: Compiled) -> Outcome:
    """Compare locks as they were made with those on disk; locks of ours that nothing asks for are to go."""
    old = {lock.path: lock for lock in known.locks}
    new = {path: lock._replace(content=made.texts[path].encode()) for path, lock in old.items() if path in made.texts}
    stale = [path for path in new if new[path].content != old[path].content]
    gone = {one.path: None for one in known.strays if b"# Made by Dockyard" in (root / one.path).read_bytes()[:200]}
    return Outcome(
        files={**{path: made.texts[path] for path in stale}, **gone},
        changes=plan.compare_locks({path: old[path].pins for path in stale}, {path: new[path].pins for path in stale}),
        locks=len(made.texts),
        yanked=made.yanked,
        built=plan.collect_built({**old, **new}.values()),
        failed=made.failed,
    )


def choose_images(settings: "Settings", engine: Engine, batches: Sequence[Batch]) -> list[Batch]:
    """Say of each batch where it is compiled: in its own base, or by uv in another one where it has none here."""
    from dockyard.bases import resolve

    wanted = [batch.python for batch in batches]
    found, missing = resolve.ensure_bases(settings, engine, wanted)
    if not found and (others := [python for python in settings.pythons if python not in wanted]):
        found, _ = resolve.ensure_bases(settings, engine, others)
    if not found:
        wrong = f"there is no base image for Python {missing[0].python}: {missing[0].reason}"
        raise DockyardError(wrong, "`invoke doctor` shows why")
    here, placed = {base.python: base.image for base in found}, []
    newest = max(here, key=Version)
    for batch in batches:
        if batch.python in here:
            placed.append(replace(batch, image=here[batch.python], resolver=settings.resolver))
        else:
            said = f"no base image here; uv makes its locks from Python {newest}, with the same pins and hashes"
            log.info(f"Python {batch.python}: {said}")
            placed.append(replace(batch, image=here[newest], resolver="uv"))
    return placed


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
        ThreadPoolExecutor(len(batches)) as pool,
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
    yanked = sorted({line for one in made for line in one.yanked})
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
        files={file.path: file.text for job in batch.jobs for file in job.lock.inputs},
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
    failed = failures.explain_failure(batch, failures.Failure(**given["failed"])) if "failed" in given else None
    if failed and not isinstance(failed, failures.TransientError):
        raise failed
    answers = {purpose: JobAnswer(**answer) for purpose, answer in given["locks"].items()}
    words = "\n".join(answer.said for answer in answers.values())
    failures.require_heard(words)
    if answers:
        took = time.monotonic() - started
        log.info(f"Python {batch.python}: {', '.join(answers)} in {took:.1f} s with {batch.compiler}")
    return Compiled(finish_locks(batch, answers, given["glibc"]), failures.describe_yanked(words), failed)


def remove_containers(run: Run) -> None:
    """Remove every container of a run, whatever it is doing."""
    listing = run.engine.attempt("ps", "--all", "--quiet", "--filter", f"label={LABEL}={run.mark}")
    if names := listing.stdout.split():
        run.engine.attempt("rm", "--force", "--volumes", *names)
