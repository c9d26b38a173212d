"""Say in a sentence what a compiler tells on a page: why no lock can be made, and which pins are yanked (pure)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from packaging.utils import canonicalize_name

from dockyard.errors import CommandError, DockyardError, Sign, read_signs
from dockyard.locks.pins import read_name
from dockyard.locks.plan import Batch, Job

PLACE = re.compile(r"-r (\S+) \(line (\d+)\)")
FETCH = re.compile(
    r"(?:Could not fetch URL|Failed to fetch:?) `?(\w+://[^\s`]*[^\s`:])`?(?:: (.*?))?(?: - skipping)?$", re.MULTILINE
)
BUILD = re.compile(r"Failed to build [`'\"]?([A-Za-z0-9._-]+)")
OUTPUT = re.compile(r"─> \[\d+ lines? of output\]\n(.*?)\n\s*\[end of output\]", re.DOTALL)
REASON = re.compile(r"^[\s│]*((?:[A-Za-z_.]*Error|error|fatal error|fatal|ERROR): \S.*)$", re.MULTILINE)
PIPS_OWN = re.compile(
    r"subprocess-exited-with-error|metadata-generation-failed|Failed to build|command .* failed with exit"
)
INDEX_HINT = (
    "check the index's address, its certificate (SSL_CERT_FILE) and the password in ~/.netrc or the keyring; "
    "nothing was written"
)
BY_PIP = re.compile(
    r"is a yanked version: '([^']+)' candidate \(version (\S+) .*\n\s*Reason for being yanked: (.*)", re.MULTILINE
)
UV_OPTION = re.compile(r"gnoring unsupported option in `(.+?)`: `(-[^\s`]+)`")
BY_UV = re.compile(r"^warning: `([^`=]+)==([^`]+)` is yanked(?: \(reason: \"(.*)\"\))?", re.MULTILINE)
NO_REASON = "<none given>"
AGAIN_HINT = "the network or the index failed, several times: try again; locks that were made before that are kept"
BOTH_HINT = "loosen one of the two; no lock was changed"
SIGNS = (
    Sign(
        r"from (\S+?)(?:#\S*)?(?: \(from .*\))?:\s*\n\s*Expected sha256 (\w+)\s*\n\s*Got\s+(\w+)",
        "{0} is not what the index says: its SHA-256 is {2}, and should be {1}",
        "the file is corrupt or was replaced: tell whoever runs the index; no lock was changed",
    ),
    Sign(r"^\s*(?:cause:|╰─▶|hint:)\s*(Because [\s\S]*)", "{0}", BOTH_HINT),
    Sign(
        r"Invalid requirement: (.*?)(?:\n.*)*?\(from line (\d+) of (\S+)\)",
        "{2}:{1}: not a requirement: {0}",
        "write it as NAME, NAME>=VERSION or NAME @ ADDRESS",
    ),
)
"""What needs no more than the compiler's own words."""


class Blame(TypedDict):
    """A requirement that pip gave up on: what it is, the package that needs it, or the line of an input."""

    what: str
    by: str
    line: str


@dataclass(frozen=True)
class Failure:
    """How a compile failed: at which purpose or step, all that was said, what pip blames, trouble with the network.

    `agreed` holds the pins that were to be taken over, by purpose. A `transient` one is of the network, and was tried
    again and again. `environment` is where it failed, nothing for the first of several.
    """

    doing: str
    said: str
    causes: Sequence[Blame] = ()
    network: str = ""
    agreed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    transient: bool = False
    environment: str = ""


class TransientError(CommandError):
    """The network or an index failed for a while: what was made before that stays."""


def explain_failure(batch: Batch, failed: Failure) -> DockyardError:
    """Return the error for a compile that failed: two packages that exclude each other, an index, or a build."""
    said = failed.said
    job = next((job for job in batch.jobs if job.lock.purpose == failed.doing), None)
    place = f"{job.lock.path} cannot be made" if job else f"Python {batch.python}: {failed.doing} failed"
    if failed.environment:
        place += f" for {failed.environment}"
    trouble = _network(said, failed.network)
    if failed.transient:
        return TransientError(f"{place}: {trouble or _tail(said, 3)}", AGAIN_HINT, output=said)
    if job is None:
        return CommandError(f"{place}\n{_tail(said)}", INDEX_HINT, output=said)
    if sign := read_signs(SIGNS, said):
        message, hint = " ".join(sign.message.split()), sign.hint
    elif trouble:
        message, hint = trouble, INDEX_HINT
    else:
        own = (_tail(said), "the lines above are the compiler's own; no lock was changed")
        message, hint = _refused(batch, failed) or _unbuilt(job, said) or own
    if failed.environment in job.lock.platforms:
        hint += f"; or take {failed.environment} out of platforms in [tool.dockyard]"
    return CommandError(f"{place}: {message}", hint, output=said)


def _network(said: str, network: str) -> str:
    """Return which index does not answer and why, nothing where the network is not to blame."""
    if match := FETCH.search(network or said):
        reasons = [match[2] or "", *re.findall(r"cause: (.+)", said)[1:]]
        return f"{match[1]} does not answer: {'; '.join(filter(None, reasons)) or 'no reason given'}"
    return network


def _refused(batch: Batch, failed: Failure) -> tuple[str, str] | None:
    """Put in a sentence what pip blames: two requirements, or one and a lock that this one must agree with."""
    if not failed.causes:
        return None
    sides = []
    for cause in failed.causes:
        what, by, place = cause["what"], cause["by"], PLACE.search(cause["line"])
        asks = f"{place[1]}:{place[2]} asks for {what}" if place else f"{what} is asked for"
        sides.append(f"{by} needs {what}" if by else asks)
    sides = list(dict.fromkeys(sides))
    names = {read_name(cause["what"]) for cause in failed.causes}
    for purpose, pins in failed.agreed.items():
        for pin in (pin for pin in pins if read_name(pin) in names):
            return f"{sides[0]}, but the lock for {purpose} has {pin}", BOTH_HINT
    if len(sides) > 1:
        return f"{sides[0]}, but {sides[1]}", BOTH_HINT
    return f"{sides[0]}, and no index has that for Python {batch.python}", "correct the name or the version"


def _unbuilt(job: Job, said: str) -> tuple[str, str] | None:
    """Tell which package does not build, in its builder's words, and every way around it."""
    match = BUILD.search(said)
    if match is None:
        return None
    name = canonicalize_name(match[1])
    lines = [
        f"{file.path}:{line.number} asks for {line.text}"
        for file in job.lock.inputs
        for line in file.lines
        if read_name(line.text) == name
    ]
    wrong = f"{name} would have to be built from source, and does not build on Python {job.lock.python}"
    # The builder's own last word counts: not what pip says of it, nor a warning before it.
    output = (OUTPUT.findall(said) or [said])[-1]
    reasons = [match[1].strip() for match in REASON.finditer(output) if not PIPS_OWN.search(match[1])]
    because = [f"its builder says: {reasons[-1]}"] if reasons else []
    moves = any(read_name(pin) == name for pin in job.pins)
    ways = [
        *([f"`invoke lock --upgrade-package {name}` lets the locked version move"] if moves else []),
        f"ask for a version of {name} that has a wheel, or loosen what keeps newer ones out",
        "take a package that comes built (psycopg2-binary for psycopg2)",
        'resolver = "uv" in [tool.dockyard] may learn what it needs without building it',
        "for system packages that the base image lacks, build its wheel where they are, and name that file's address",
        "an old version may have wheels for an older Python: name that one in pythons",
    ]
    return "; ".join([wrong, *because, *lines]), "; or ".join(ways)


def _tail(said: str, lines: int = 15) -> str:
    return "\n".join(said.strip().splitlines()[-lines:])


def require_heard(said: str) -> None:
    """Raise DockyardError where uv went on without an option of an input."""
    for path, option in UV_OPTION.findall(said):
        if option != "--trusted-host":  # it is told of these hosts by a variable
            wrong = f"{path}: uv does not know {option}, and would make the lock without it"
            raise DockyardError(wrong, 'take the line out, or use resolver = "pip-tools"; no lock was changed')


def describe_yanked(said: str) -> list[str]:
    """Return a line for each pin that its index has yanked, with the reason that it gives."""
    lines = []
    for name, version, words in (found for pattern in (BY_PIP, BY_UV) for found in pattern.findall(said)):
        reason = " ".join(words.replace(NO_REASON, "").split())
        yanked = f"{canonicalize_name(name)}=={version} was yanked from its index"
        because = f"because: {reason}" if reason else "for no reason given"
        kept = f"the lock keeps it until `invoke lock --upgrade-package {canonicalize_name(name)}`"
        lines.append(f"{yanked}, {because}; {kept}, or while an input asks for this very version")
    return lines
