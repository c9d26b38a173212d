"""Measure what the wheel costs a user: how soon `dockyard --list` answers, and how much lies on the disk.

    python benchmarks/program.py [rounds]

The yardstick is Invoke itself with a tasks.py of one task: both run alternately in one process tree, so that a noisy
machine disturbs both alike, and what counts is the ratio. The wheel is installed alone into an empty environment.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from dockyard import console
from dockyard.process import Command, capture

AIM = 1.10
BARE = 'from invoke import task\n\n\n@task\ndef hello(context):\n    """Say hello."""\n'


def main(arguments: list[str]) -> int:
    """Print the two tables; return 1 where the ratio is above the aim."""
    console.show_progress()
    rounds = int(arguments[0]) if arguments else 21
    with tempfile.TemporaryDirectory(prefix="dockyard-program-") as name:
        folder = Path(name)
        (folder / "tasks.py").write_text(BARE, encoding="utf-8")
        programs = install(folder)
        commands = {
            "dockyard --list": Command((str(programs / "dockyard"), "--list"), cwd=folder),
            "invoke --list, one task": Command((str(programs / "invoke"), "--list"), cwd=folder),
        }
        times: dict[str, list[float]] = {command: [] for command in commands}
        for _ in range(rounds + 1):
            for command, started in commands.items():
                times[command].append(capture(started).seconds)
        sizes = measure_sizes(programs.parent)
    medians = {command: statistics.median(values[1:]) for command, values in times.items()}
    ratio = medians["dockyard --list"] / medians["invoke --list, one task"]
    rows = [
        (command, f"{median * 1000:.0f} ms", f"{min(times[command]) * 1000:.0f} ms")
        for command, median in medians.items()
    ]
    title = f"ratio {ratio:.2f}, aim at most {AIM:.2f}"
    console.table(("command", "median", "best"), rows, title=title, right=("median", "best"))
    console.table(("installed", "size"), [(what, console.size(size)) for what, size in sizes.items()], right=("size",))
    return 0 if ratio <= AIM else 1


def install(folder: Path) -> Path:
    """Build the wheel, install it into an empty environment below a folder, and return its folder of programs."""
    console.log.info("building and installing the wheel")
    root = Path(__file__).resolve().parents[1]
    capture(
        Command(
            (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")),
            cwd=root,
        )
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    capture(Command((sys.executable, "-m", "venv", str(folder / "environment"))))
    programs = folder / "environment" / "bin"
    capture(Command((str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel))))
    return programs


def measure_sizes(environment: Path) -> dict[str, int]:
    """Return the bytes of the package and of all that came with it, without pip and the environment's own files."""
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes: dict[str, int] = {"dockyard": 0, "what it needs": 0}
    for path in packages.rglob("*"):
        first = path.relative_to(packages).parts[0]
        if path.is_file() and not first.startswith(("pip-", "pip/")) and first != "pip":
            sizes["dockyard" if first.startswith("dockyard") else "what it needs"] += path.stat().st_size
    return sizes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
