"""Compare `invoke build` with the bare `docker buildx build` of the same target, when nothing has changed.

    python benchmarks/build.py [rounds]

Both run alternately in one process tree, so that a noisy machine disturbs both alike; what counts is the ratio.
"""

import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from dockyard import console
from dockyard.bases.resolve import ensure_bases
from dockyard.engine.client import Engine, find_engine
from dockyard.image import bake, build
from dockyard.process import Command, capture
from dockyard.settings import Settings, load

INVOKE = str(Path(sys.executable).parent / "invoke")


def main(arguments: list[str]) -> int:
    """Print the table of medians; return 1 where the ratio is above the aim of 2."""
    console.show_progress()
    rounds = int(arguments[0]) if arguments else 7
    settings = load(Path.cwd(), os.environ)
    engine = find_engine(settings)
    ours = Command((INVOKE, "build", "--target", "production"), cwd=settings.root)
    bare = bare_build(settings, engine)
    capture(ours)
    capture(bare)
    times: dict[str, list[float]] = {"invoke build": [], "docker buildx build": []}
    for number in range(rounds):
        console.log.info(f"round {number + 1} of {rounds}")
        times["invoke build"].append(capture(ours).seconds)
        times["docker buildx build"].append(capture(bare).seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["invoke build"] / medians["docker buildx build"]
    rows = [(name, f"{median:.2f} s", f"{min(times[name]):.2f} s") for name, median in medians.items()]
    console.table(
        ("nothing changed", "median", "best"), rows, title=f"ratio {ratio:.2f}, aim at most 2", right=("median", "best")
    )
    return 0 if ratio <= 2 else 1


def bare_build(settings: Settings, engine: Engine) -> Command:
    """Return the plain command for what `invoke build` builds: same arguments, labels and contexts."""
    found = build.read_world(settings)
    bases, _missing = ensure_bases(settings, engine, (settings.python,))
    (image,) = build.plan_images(settings, replace(found, bases=bases), build.Request())
    return engine.command(*build_arguments(image), cwd=settings.root)


def build_arguments(image: bake.BakeTarget) -> tuple[str, ...]:
    """Return the arguments of `docker` that build one image without bake."""
    options = [f"--target={image.target}", "--provenance=false", "--load"]
    options += [f"--build-arg={key}={value}" for key, value in image.arguments.items()]
    options += [f"--build-context={key}={value}" for key, value in image.contexts.items()]
    options += [f"--label={key}={value}" for key, value in image.labels.items()]
    options += [f"--tag={reference}" for reference in image.references]
    options += [f"--secret={secret}" for secret in image.secrets if "env=" not in secret]
    return ("buildx", "build", *options, ".")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
