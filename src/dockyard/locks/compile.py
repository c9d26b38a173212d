"""Compile locks inside each Python's own base image, all Pythons side by side, and leave nothing behind."""

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from dockyard.engine.client import Engine
from dockyard.engine.inside import program
from dockyard.errors import CommandError
from dockyard.locks import check, yanked
from dockyard.locks import indexes as access
from dockyard.locks.failures import explain
from dockyard.locks.indexes import Access
from dockyard.locks.plan import Batch, Wish, finished
from dockyard.locks.wheels import Offer
from dockyard.process import Command, capture, redact

log = logging.getLogger(__name__)


LABEL = "dockyard.locks"
VOLUME = "dockyard-locks"
PROGRAM = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'dockyard','exec'))"
TIMEOUT = 15
RETRIES = 3


@dataclass(frozen=True)
class Place:
    """Where one batch is compiled: an image with some Python, and the compiler that runs there."""

    image: str
    resolver: str

    @property
    def compiler(self) -> str:
        """The compiler's name and version as a lock's header says it."""
        return check.UV if self.resolver == "uv" else check.PIP_TOOLS


@dataclass(frozen=True)
class Run:
    """All that the containers of one run share: the mark by which they are found again, and the way out."""

    engine: Engine
    access: Access
    wish: Wish
    mark: str


@dataclass(frozen=True)
class Compiled:
    """The text of every lock by its path, and the pins in them that are yanked, each with the reason."""

    texts: Mapping[str, str]
    yanked: Mapping[str, str] = field(default_factory=dict)


def compile_all(engine: Engine, work: Sequence[tuple[Batch, Place]], access: Access, wish: Wish) -> Compiled:
    """Return the locks of every batch; raise for the first that cannot be made.

    On any error or interrupt every container of the run is removed before this returns.
    """
    run = Run(engine, access, wish, secrets.token_hex(6))
    with ThreadPoolExecutor(max_workers=max(len(work), 1)) as pool, _swept(run) as pending:
        pending += [pool.submit(_compile, run, batch, place) for batch, place in work]
        wait(pending, return_when=FIRST_EXCEPTION)
        texts, pins = dict[str, str](), dict[str, str]()
        for future in sorted(pending, key=lambda future: not (future.done() and future.exception())):
            made = future.result()
            texts |= made.texts
            pins |= made.yanked
    return Compiled(texts, pins)


def container(run: Run, batch: Batch, place: Place) -> Command:
    """Return the command that compiles a batch: everything it needs comes on its standard input."""
    text = program("lock").encode()
    asked = json.dumps(request(run, batch, place)).encode()
    return run.engine.command(
        *("run", "--rm", "--interactive", "--name", f"dockyard-lock-{batch.python}-{run.mark}"),
        *("--label", f"{LABEL}={run.mark}", "--network", "host" if run.access.loopback else "default"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp:exec"),  # noqa: S108 - the container's
        *("--mount", f"type=volume,src={volume(place, batch)},dst=/cache,volume-label={LABEL}"),
        *("--entrypoint", "python", place.image, "-I", "-c", PROGRAM),
        input=b"%d\n%s%s" % (len(text), text, asked),
        secrets=run.access.secrets,
    )


def request(run: Run, batch: Batch, place: Place) -> dict[str, object]:
    """Return what the program in the container is asked to do, as payload/lock.py reads it."""
    index = {"PIP_INDEX_URL": run.access.index, "UV_DEFAULT_INDEX": run.access.index} if run.access.index else {}
    return {
        "python": batch.python,
        "resolver": place.resolver,
        "tools": resources.files(__package__).joinpath("tools", f"{place.resolver}.txt").read_text(encoding="utf-8"),
        "files": batch.files,
        "agreed": batch.agreed,
        "wanted": run.wish.wanted,
        "environment": {**run.access.environment, **index},
        "netrc": run.access.netrc,
        "ca": run.access.ca,
        "retries": RETRIES,
        "timeout": TIMEOUT,
        "jobs": [
            {
                "purpose": job.lock.purpose,
                "input": job.lock.made.inputs[0].path,
                "output": job.lock.path,
                "agrees_with": job.agrees_with,
                "pins": job.pins,
                "options": access.options(job.lock.made.inputs) if job.lock.platforms else None,
            }
            for job in batch.jobs
        ],
    }


def volume(place: Place, batch: Batch) -> str:
    """Return the name of the volume that keeps a compiler and its downloads: one for each Python and image."""
    python = batch.python if place.resolver == "pip-tools" else "uv"
    return f"{VOLUME}-{python}"


def _compile(run: Run, batch: Batch, place: Place) -> Compiled:
    started = time.monotonic()
    command = container(run, batch, place)
    answer = _answer(redact(capture(command).stdout, run.access.secrets), command)
    if "failed" in answer:
        raise explain(batch, answer["failed"])
    made, glibc = answer["locks"], answer.get("glibc", "")
    texts = {purpose: one["text"] for purpose, one in made.items()}
    offers = {purpose: Offer(one["files"], glibc) for purpose, one in made.items() if "files" in one}
    log.info(f"Python {batch.python}: {', '.join(texts)} in {time.monotonic() - started:.1f} s with {place.compiler}")
    pins = yanked.found("\n".join(one.get("said", "") for one in made.values()))
    return Compiled(finished(batch, texts, place.compiler, offers), pins)


def _answer(said: str, command: Command) -> dict[str, Any]:
    try:
        return dict(json.loads(said))
    except ValueError:
        raise CommandError(f"no answer from: {command.display()}", output=said) from None


@contextmanager
def _swept(run: Run) -> Iterator[list["Future[Compiled]"]]:
    """Give a list for the work that is under way; when its body fails, remove containers until none is left."""
    pending: list[Future[Compiled]] = []
    try:
        yield pending
    except BaseException:
        for future in pending:
            future.cancel()
        while not all(future.done() for future in pending):
            sweep(run.engine, run.mark)
            wait(pending, timeout=0.2)
        sweep(run.engine, run.mark)
        raise


def sweep(engine: Engine, mark: str) -> None:
    """Remove every container of a run, whatever it is doing."""
    listed = capture(engine.command("ps", "--all", "--quiet", "--filter", f"label={LABEL}={mark}"), check=False)
    if names := listed.stdout.split():
        capture(engine.command("rm", "--force", "--volumes", *names), check=False)
