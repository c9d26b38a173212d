"""Take every sample from clone to a healthy container in three commands, and write the table of them.

    python -m benchmarks.samples [NAME ...] [--json] [--write-docs]

Dockyard is installed from its wheel into an empty environment. No sample finds a step or a package of an earlier build:
only base images and the compilers of locks are at hand. The exit code is 1 where a sample fails or the median is above
the aim.
"""

import argparse
import os
import re
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.integration.checkout import ROOT
from tests.integration.sample_projects import Installation
from tests.integration.three_commands import ALL, Sample, Story, Walk

from dockyard import console, settings
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.process import Command, capture

PAGE = ROOT / "docs" / "explanation" / "sample-projects.md"
AIM = 60.0
"""Seconds from clone to healthy that the median sample may take."""
COLUMNS = {
    "sample": "name",
    "shape": "shape",
    "lines written": "lines",
    "Dockerfile": "dockerfile",
    "Compose": "compose",
    "to edit": "edits",
    "`init`": "init",
    "locks": "lock",
    "clone to healthy": "healthy",
    "up again": "again",
    "`verify`": "verify",
    "tests": "tests",
    "to pull": "size",
    "first answer": "answer",
}
SHOWN = {"sample": "sample", "lines written": "lines", "to edit": "edits", "`init`": "init", "locks": "locks",
         "clone to healthy": "healthy", "up again": "again", "`verify`": "verify", "tests": "tests",
         "to pull": "to pull", "first answer": "answer"}  # fmt: skip
"""The columns that a terminal has room for, and what they are called there."""
WORDS = 2
"""How many columns are words: the others hold numbers."""


def main(arguments: Sequence[str]) -> int:
    """Walk the samples, print what each took, and say which failed."""
    console.show_progress()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samples", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a sample (default: all)")
    parser.add_argument("--json", action="store_true", help="print every value as JSON")
    parser.add_argument("--write-docs", action="store_true", help=f"write the rows of {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    known = {sample.name: sample for sample in ALL}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"there is no sample {unknown[0]!r}: there are {', '.join(known)}")
    engine = find_engine(settings.load(ROOT, os.environ))
    chosen = [known[name] for name in options.names] or list(ALL)
    stories: dict[str, Story] = {}
    failed: dict[str, str] = {}
    for sample, story in walk_all(chosen, engine):
        if isinstance(story, str):
            failed[sample.name] = story
            continue
        stories[sample.name] = story
        if options.write_docs:  # each when it is known: a run that is ended early has not been for nothing
            row = {sample.name: describe(sample, story)}
            PAGE.write_text(write_rows(PAGE.read_text("utf-8"), row, about_machine(engine)), "utf-8")
    rows = {name: describe(known[name], story) for name, story in stories.items()}
    if options.json:
        told = {name: {**asdict(story), "healthy": healthy(story)} for name, story in stories.items()}
        console.as_json({"samples": told, "failed": failed})
    else:
        console.table(
            list(SHOWN.values()),
            [[row[name] for name in SHOWN] for row in rows.values()],
            right=list(SHOWN.values())[1:],
        )
    return judge(stories, failed)


def judge(stories: Mapping[str, Story], failed: Mapping[str, str]) -> int:
    """Say what failed and what the median is; return 1 where something failed or took too long."""
    for name, why in failed.items():
        console.error(f"{name}: {why}")
    if not stories:
        return 1
    median = statistics.median(map(healthy, stories.values()))
    console.log.info(f"clone to healthy: the median of {len(stories)} is {median:.1f} s, aim at most {AIM:.0f} s")
    return 1 if failed or median > AIM else 0


def walk_all(samples: Sequence[Sample], engine: Engine) -> Iterator[tuple[Sample, Story | str]]:
    """Walk samples one after another, and yield what each took, or why it failed."""
    with tempfile.TemporaryDirectory(prefix="dockyard-samples-") as folder:
        console.log.info("building and installing the wheel")
        programs = Installation(Path(folder) / "installation").make().programs
        (package,) = programs.parent.glob("lib/python*/site-packages/dockyard")
        for number, sample in enumerate(samples, 1):
            console.log.info(f"{sample.name}: {number} of {len(samples)}")
            token = secrets.token_hex(4)
            forget_builds(package, token)
            walk = Walk(
                sample, programs, Path(folder) / sample.name, f"dockyard-sample-{token}", engine, console.log.info
            )
            try:
                yield sample, walk.follow()
            except (DockyardError, OSError, AssertionError, LookupError, ValueError) as error:
                console.error(f"{sample.name}: {error}", getattr(error, "output", ""))
                yield sample, f"{type(error).__name__}: {error}"


def forget_builds(package: Path, token: str) -> None:
    """Let builds begin with nothing: what runs inside them is another program, and their cache mount another one."""
    (package / "payload" / ".run").write_text(token, "ascii")
    recipe = package / "adopt" / "dockerfiles.py"
    recipe.write_text(re.sub(r"\bid=dockyard[-\w]*", f"id=dockyard-{token}", recipe.read_text("utf-8")), "utf-8")


def healthy(story: Story) -> float:
    """Return the seconds from a clone to a healthy container: those of init and up."""
    return story.seconds["init"] + story.seconds["up"]


def describe(sample: Sample, story: Story) -> dict[str, str]:
    """Return a sample's cells by column."""
    lines, seconds = story.lines, story.seconds
    values = {
        "name": sample.name,
        "shape": sample.shape,
        "lines": str(sum(lines.values())),
        "dockerfile": str(lines.get("Dockerfile", 0)),
        "compose": str(sum(count for path, count in lines.items() if "compose" in path)),
        "edits": str(len(story.edits)),
        "size": f"{story.size / 1e6:.1f} MB",
        "healthy": f"{healthy(story):.1f} s",
        **{step: f"{seconds[step]:.1f} s" for step in ("init", "lock", "again", "verify", "tests", "answer")},
    }
    return {column: values[key] for column, key in COLUMNS.items()}


def write_rows(page: str, rows: Mapping[str, Mapping[str, str]], machine: str) -> str:
    """Return a page with the rows of some samples in its table and the median of all below it (pure)."""
    before, _, rest = page.partition("<!-- samples -->\n")
    table, _, after = rest.partition("<!-- end of samples -->\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    known = {row[0]: row for row in cells[2:] if len(row) == len(COLUMNS)}
    known |= {name: list(row.values()) for name, row in rows.items()}
    ordered = [known[sample.name] for sample in ALL if sample.name in known]
    place = list(COLUMNS).index("clone to healthy")
    median = statistics.median([float(row[place].removesuffix(" s")) for row in ordered] or [0.0])
    rule = ["---"] * WORDS + ["---:"] * (len(COLUMNS) - WORDS)
    lines = ["| " + " | ".join(row) + " |" for row in (list(COLUMNS), rule, *ordered)]
    unedited = sum(row[list(COLUMNS).index("to edit")] == "0" for row in ordered)
    told = (
        f"From clone to healthy the median sample takes {median:.1f} s; the aim is at most {AIM:.0f} s. "
        f"{unedited} of {len(ordered)} need no edit.\n{machine}"
    )
    return f"{before}<!-- samples -->\n{told}\n\n" + "\n".join(lines) + f"\n<!-- end of samples -->\n{after}"


def about_machine(engine: Engine) -> str:
    """Say in a sentence what the samples ran on."""
    release = capture(Command(("uname", "-m"))).stdout.strip()
    return f"Measured on Docker Engine {engine.version}, {engine.cpus} CPUs ({release})."


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
