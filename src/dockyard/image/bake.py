"""Describe a build as a BuildKit bake file and read what BuildKit says of it (pure)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dockyard.image.failures import plain
from dockyard.image.record_types import CacheRecord, StepRecord

NUMBERED = re.compile(r"\[([^\]]*\d+/\d+)\]")
BEGUN = re.compile(r"^#(\d+) (\[[^\]]+\].*|(?:ex|im)porting (?!.* done$).*)$")
ENDED = re.compile(r"^#(\d+) (CACHED|CANCELED|ERROR|DONE)(?: (\d+(?:\.\d+)?)s)?")
DRAWN = re.compile(
    r"=> (?:(CACHED|ERROR|CANCELED) )?((?:\[[^\]]+\]|(?:ex|im)porting to).*?)\s+(\d+(?:\.\d+)?)s\s*$", re.MULTILINE
)
MISSING_LIBRARY = re.compile(r"missing shared library: ([^\n]+)")
LONGEST_STEP = 300
ENVIRONMENT = {"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}
"""From buildx 0.20 a bake may read nothing outside its folder unless a person says so; here no stranger wrote the file.

`--allow=fs.read=…` would be refused by older ones, and the host's certificates and base images do lie elsewhere.
"""


@dataclass(frozen=True)
class BakeTarget:
    """One image to build: where it comes from, what it is called, what goes into it.

    `contexts` replaces a FROM reference or a stage by another source; `secrets` are buildx secret
    specifications such as `id=ca,src=/path`, never their content. `output` is where it goes instead of an engine or a
    registry; that and the caches are as buildx's options of their names have them.
    """

    name: str
    target: str
    references: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    dockerfile: str = "Dockerfile"
    output: tuple[str, ...] = ()


KEYS = {
    "references": "tags",
    "arguments": "args",
    "secrets": "secret",
    "cache_from": "cache-from",
    "cache_to": "cache-to",
}
"""What bake calls the fields of an image; the others have its names."""


def document(images: Sequence[BakeTarget]) -> dict[str, Any]:
    """Return the bake file that builds all images in one solve."""
    return {
        "group": {"default": {"targets": [image.name for image in images]}},
        "target": {
            image.name: {
                "context": ".",
                **{KEYS.get(field, field): value for field, value in vars(image).items() if value and field != "name"},
            }
            for image in images
        },
    }


def arguments(*, builder: str = "", no_cache: bool = False, result: str = "--load", metadata: str) -> tuple[str, ...]:
    """Return the arguments of `docker` for a bake whose file comes on standard input.

    `result` says where images go: `--load`, `--push`, or nothing where the file says it.
    The default attestation carries times, so that it would give every build another digest: it is off.
    """
    return (
        "buildx",
        "bake",
        *(("--builder", builder) if builder else ()),
        "--file=-",
        "--provenance=false",
        f"--metadata-file={metadata}",
        *(("--no-cache",) if no_cache else ()),
        *((result,) if result else ()),
    )


def read_steps(arrivals: Iterable[tuple[float, str]], began: float = 0.0) -> list[StepRecord]:
    """Return what BuildKit did, in the order of the starts, from its progress and when each piece of it came.

    It was started `began` seconds after the run. Plain progress says when a step ends and how long it took; one that
    is drawn repeats the time beside each name.
    """
    steps: dict[str, StepRecord] = {}
    rest = ""
    for moment, piece in arrivals:
        *lines, rest = (rest + plain(piece)).split("\n")
        for line in lines:
            if begun := BEGUN.match(line):
                steps.setdefault(begun[1], _begin_step(begun[2], moment))
            elif (ended := ENDED.match(line)) and ended[1] in steps:
                step, how = steps[ended[1]], ended[2]
                if how == "DONE":
                    step["started_seconds"] = max(0.0, moment - float(ended[3] or 0))
                _end_step(step, how, 0.0 if how == "CACHED" else moment - step["started_seconds"])
            elif drawn := DRAWN.search(line):
                seconds = float(drawn[3])
                step = steps.setdefault(drawn[2], _begin_step(drawn[2], max(0.0, moment - seconds)))
                _end_step(step, drawn[1], seconds)
    for step in steps.values():
        step["started_seconds"] = round(began + step["started_seconds"], 3)
    return sorted(steps.values(), key=lambda step: step["started_seconds"])


def _begin_step(name: str, moment: float) -> StepRecord:
    return {"name": name[:LONGEST_STEP], "started_seconds": moment, "duration_seconds": 0.0, "cached": False}


def _end_step(step: StepRecord, how: str, seconds: float) -> None:
    step["duration_seconds"], step["cached"] = round(seconds, 3), how == "CACHED"
    if how == "ERROR":
        step["outcome"] = "failed"


def cache_use(steps: Iterable[StepRecord]) -> CacheRecord:
    """Count the steps of a Dockerfile among what BuildKit did, and those of them that came from its cache (pure).

    Such a step carries its number within its stage, `[test 3/7]`: what BuildKit does on its own account (loading the
    context, exporting) has none and does not count. A step that several images share counts once.
    """
    cached: dict[str, bool] = {}
    for step in steps:
        if numbered := NUMBERED.search(step["name"]):
            cached[numbered[1]] = step["cached"] or cached.get(numbered[1], False)
    return {"steps": len(cached), "cached": sum(cached.values())}


def missing_libraries(log: str) -> tuple[str, ...]:
    """Return what the steps of a build said of libraries that are nowhere, see payload/libraries.py, each once."""
    text = plain(log)
    told: dict[str, str] = {}
    for line in MISSING_LIBRARY.findall(text):
        library = line.partition(",")[0]
        told[library] = max(line.rstrip(), told.get(library, ""), key=len)  # a terminal cuts lines
    return tuple(told.values())
