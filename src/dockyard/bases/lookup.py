"""Ask a registry for the digest of a base image, briefly, and remember what it said.

The reference is written as in the Dockerfile: which registry answers is the engine's configuration, not ours.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dockyard import files, process
from dockyard.bases.model import Answer
from dockyard.bases.parallel import run_each
from dockyard.errors import CommandError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

PATIENCE = 5.0
"""Seconds that a registry gets to answer."""
ABSENT = re.compile(r"(?i)not found|manifest unknown|name unknown|no such manifest")
MEMORY = "answers.json"


def ask_registry(engine: "Engine", references: Sequence[str]) -> dict[str, Answer]:
    """Return what the registry says about each reference; all are asked at the same time, and remembered."""
    said = run_each(lambda reference: _ask(engine, reference), references)
    answers = {reference: answer for reference, answer in said.items() if isinstance(answer, Answer)}
    remember_answers(answers)
    return answers


def recall_answers(now: float | None = None) -> dict[str, Answer]:
    """Return the answers that still count."""
    now = time.time() if now is None else now
    try:
        stored = json.loads((files.folder() / MEMORY).read_text("utf-8"))
        answers = {reference: Answer(**fields) for reference, fields in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {reference: answer for reference, answer in answers.items() if answer.fresh(now)}


def remember_answers(answers: Mapping[str, Answer]) -> None:
    """Add answers to those that still count."""
    kept = {reference: asdict(answer) for reference, answer in {**recall_answers(), **answers}.items()}
    files.write_atomically(files.folder() / MEMORY, json.dumps(kept, indent=1) + "\n")


def read_answer(said: str, now: float) -> Answer:
    """Return the answer in what `docker buildx imagetools inspect` printed as JSON."""
    try:
        digest = str(json.loads(said)["digest"])
    except (ValueError, KeyError, TypeError):
        return Answer(reason=f"the registry's answer is not understood: {said.strip()[:80]!r}", at=now)
    return Answer(digest=digest, at=now)


def read_refusal(said: str, now: float) -> Answer:
    """Return the answer in an error of `docker buildx imagetools inspect`: unreachable, or without that image."""
    line = (said.strip().splitlines() or ["no answer"])[-1].removeprefix("ERROR: ")
    line = re.sub(r'failed to do request: \w+ "[^"]*": |dial tcp: ', "", line)
    return Answer(reason=line, at=now, absent=bool(ABSENT.search(line)) and "lookup" not in line)


def _ask(engine: "Engine", reference: str) -> Answer:
    command = engine.command(
        *("buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}"), timeout=PATIENCE
    )
    try:
        return read_answer(process.capture(command).stdout, time.time())
    except CommandError as error:
        silent = error.message if error.returncode == 127 else f"no answer within {PATIENCE:g} s"
        return read_refusal(error.output or silent, time.time())
