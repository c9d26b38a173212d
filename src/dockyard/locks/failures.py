"""Say in a sentence why no lock can be made (pure): what a compiler prints is a page."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dockyard.errors import CommandError, DockyardError
from dockyard.locks.lines import Line
from dockyard.locks.pins import canonical_name, split_name
from dockyard.locks.plan import Batch, Job

PLACE = re.compile(r"-r (\S+) \(line (\d+)\)")
FETCH = re.compile(
    r"(?:Could not fetch URL|Failed to fetch:?) `?(\w+://[^\s`]*[^\s`:])`?(?:: (.*?))?(?: - skipping)?$", re.MULTILINE
)
MISMATCH = re.compile(r"from (\S+?)(?:#\S*)?(?: \(from .*\))?:\s*\n\s*Expected sha256 (\w+)\s*\n\s*Got\s+(\w+)")
BUILD = re.compile(r"Failed to build [`'\"]?([A-Za-z0-9._-]+)")
NO_TOOLS = re.compile(r"installing (?:build|backend) dependencies\b.* did not run successfully")
BROKEN = re.compile(r"connection broken by '(.*)': /|No matching distribution found for (\S+)")
SYNTAX = re.compile(r"Invalid requirement: (.*?)(?:\n.*)*?\(from line (\d+) of (\S+)\)")
INDEX_HINT = (
    "check the index's address, its certificate (SSL_CERT_FILE) and the password in ~/.netrc or the keyring; "
    "nothing was written"
)
BOTH_HINT = "loosen one of the two; no lock was changed"


def explain(batch: Batch, failed: Mapping[str, Any]) -> DockyardError:
    """Return the error for a compile that failed: two packages that exclude each other, an index, or a build."""
    doing, said, causes = failed["doing"], failed["said"], failed["causes"]
    job = next((job for job in batch.jobs if job.lock.purpose == doing), None)
    if job is None:
        return CommandError(f"Python {batch.python}: {doing} failed\n{_tail(said)}", INDEX_HINT, output=said)
    wrong = (
        _index(said, failed["network"]) or _refused(batch, failed["agreed"], causes) or _uv(said) or _other(job, said)
    )
    message, hint = wrong or (_tail(said), "the lines above are the compiler's own; no lock was changed")
    return CommandError(f"{job.lock.path} cannot be made: {message}", hint, output=said)


def _index(said: str, network: str) -> tuple[str, str] | None:
    if match := MISMATCH.search(said):
        wrong = f"{match[1]} is not what the index says: its SHA-256 is {match[3]}, and should be {match[2]}"
        return wrong, "the file is corrupt or was replaced: tell whoever runs the index; no lock was changed"
    if match := FETCH.search(network or said):
        reasons = [match[2] or "", *re.findall(r"cause: (.+)", said)[1:]]
        return f"{match[1]} does not answer: {'; '.join(filter(None, reasons)) or 'no reason given'}", INDEX_HINT
    return (network, INDEX_HINT) if network else None


def _refused(
    batch: Batch, agreed: Mapping[str, Sequence[str]], causes: Sequence[Mapping[str, str]]
) -> tuple[str, str] | None:
    """Put in a sentence what pip blames: two requirements, or one and a lock that this one must agree with."""
    if not causes:
        return None
    sides = list(dict.fromkeys(_side(cause) for cause in causes))
    names = {canonical_name(split_name(cause["what"])) for cause in causes}
    pinned = [(purpose, pin) for purpose, pins in agreed.items() for pin in pins if split_name(pin) in names]
    for purpose, pin in pinned:
        return f"{sides[0]}, but the lock for {purpose} has {pin}", BOTH_HINT
    if len(sides) > 1:
        return f"{sides[0]}, but {sides[1]}", BOTH_HINT
    return f"{sides[0]}, and no index has that for Python {batch.python}", "correct the name or the version"


def _side(cause: Mapping[str, str]) -> str:
    place = PLACE.search(cause["line"])
    if cause["by"]:
        return f"{cause['by']} needs {cause['what']}"
    return f"{place[1]}:{place[2]} asks for {cause['what']}" if place else f"{cause['what']} is asked for"


def _uv(said: str) -> tuple[str, str] | None:
    match = re.search(r"^\s*(?:cause:|╰─▶|hint:)\s*(Because .*)", said, re.MULTILINE | re.DOTALL)
    return (" ".join(match[1].split()), BOTH_HINT) if match else None


def _other(job: Job, said: str) -> tuple[str, str] | None:
    if match := SYNTAX.search(said):
        return (
            f"{match[3]}:{match[2]}: not a requirement: {match[1]}",
            "write it as NAME, NAME>=VERSION or NAME @ ADDRESS",
        )
    if match := BUILD.search(said):
        name = canonical_name(match[1])
        if NO_TOOLS.search(said):
            broken = BROKEN.search(said)
            reason = broken[1] or f"no index has {broken[2]}" if broken else "the compiler does not say why"
            return f"{name} is a source archive, and what builds it cannot be installed: {reason}", INDEX_HINT
        lines = [f"{path}:{line.number} asks for {line.text}" for path, line in _asking(job, name)]
        wrong = f"{name} would have to be built from source, and does not build on Python {job.lock.python}"
        return "; ".join(
            [wrong, *lines]
        ), f"ask for a version of {name} that has a wheel, or loosen what keeps newer ones out"
    return None


def _asking(job: Job, name: str) -> Iterator[tuple[str, Line]]:
    for file in job.lock.made.inputs:
        yield from ((file.path, line) for line in file.lines if canonical_name(split_name(line.text)) == name)


def _tail(said: str, lines: int = 15) -> str:
    return "\n".join(said.strip().splitlines()[-lines:])
