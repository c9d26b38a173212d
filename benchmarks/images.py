"""Compare our production image with the common recipes: what is pulled, how it starts, how it is built again.

    python benchmarks/images.py [--rounds N] [--only NAME] [--json FILE] [--write-docs] [--from FILE]

All recipes share base, lock, source and engine, and take turns in every round. It returns 1 where an aim is missed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aims
import chart
from aims import Samples
from packing import Bench

from dockyard import console, settings
from dockyard.bases.resolve import ensure_bases
from dockyard.engine.client import find_engine
from dockyard.errors import DockyardError
from dockyard.host import ca_bundle

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
PICTURE = PAGE.with_suffix(".svg")
PYTHON = "3.13"


def main(arguments: Sequence[str]) -> int:
    """Measure, or read what was measured; print the tables; return 1 where an aim is missed, 2 for a wrong call."""
    console.show_progress()
    parser = argparse.ArgumentParser(prog="benchmarks/images.py", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is measured")
    parser.add_argument("--only", action="append", metavar="NAME", help="measure one recipe; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value and aim to FILE")
    parser.add_argument("--write-docs", action="store_true", help=f"write {PAGE.relative_to(ROOT)} and its chart")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="show what --json wrote; run nothing")
    options = parser.parse_args(arguments)
    names = [recipe.name for recipe in aims.RECIPES]
    if unknown := [name for name in options.only or () if name not in names]:
        parser.error(f"there is no recipe {unknown[0]!r}: there are {', '.join(names)}")
    try:
        if options.source:
            read = json.loads(options.source.read_text("utf-8"))
            samples, about = read["samples"], read["about"]
        else:
            samples, about = measure(options.rounds, options.only or names)
    except DockyardError as error:
        console.error(error.message, error.hint)
        return 1
    if options.json:
        options.json.write_text(json.dumps(aims.document(samples, about), indent=1) + "\n", "utf-8")
    if options.write_docs:
        write_docs(samples, about)
    return show(samples)


def positive(text: str) -> int:
    """Return a number of rounds."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def measure(rounds: int, names: Sequence[str]) -> tuple[Samples, dict[str, Any]]:
    """Return every value of every measure, and what they were measured on."""
    configured = settings.load(ROOT, os.environ)
    engine = find_engine(configured)
    bases, missing = ensure_bases(configured, engine, (PYTHON,))
    if missing:
        raise DockyardError(f"there is no base image for Python {PYTHON}: {missing[0].reason}")
    with tempfile.TemporaryDirectory(prefix="dockyard-bench-") as folder:
        bench = Bench(engine, Path(folder), ROOT, bases[0], ca_bundle())
        try:
            bench.prepare([*names, *(one.name for one in aims.YARDSTICKS)], console.log.info)
            samples = bench.measure(rounds, console.log.info)
        finally:
            bench.remove()
    about = {
        "engine": f"{engine.version}, {engine.cpus} CPUs",
        "base": f"{bases[0].reference} from {'a registry' if bases[0].source == 'registry' else 'Debian packages'}",
        "rounds": str(rounds),
    }
    return samples, about


def write_docs(samples: Samples, about: Mapping[str, Any]) -> None:
    """Write the page and its chart."""
    for path, content in ((PICTURE, chart.draw(samples)), (PAGE, chart.page(samples, about, PICTURE.name))):
        new = path.with_name(f".{path.name}.new")
        new.write_text(content, "utf-8")
        new.replace(path)


def show(samples: Samples) -> int:
    """Print the table of values and that of aims; return 1 where one is missed."""
    columns = aims.header(samples)
    console.table(columns, aims.rows(samples), title="median (best)")
    verdicts = aims.judge(samples)
    console.table(
        ("measured", "aim", "ours", "limit", ""),
        aims.verdict_rows(verdicts),
        right=("ours", "limit"),
        styles={"pass": "green", "fail": "red"},
    )
    return 0 if all(verdict.reached for verdict in verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
