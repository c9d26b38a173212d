"""Measure what the wheel costs a user: how soon `dockyard --list` answers, how much lies on the disk, and a large init.

    python benchmarks/program.py [rounds]

The yardstick is Invoke itself with a tasks.py of one task: both run alternately in one process tree, so that a noisy
machine disturbs both alike, and what counts is the ratio. The wheel is installed alone into an empty environment.
`dockyard init --dry-run` looks at a repository of 50,000 files, 5,000 of them modules of 60 lines.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from dockyard import console
from dockyard.process import Command, capture

AIM = 1.10
INIT_AIM = 2.0
"""Seconds that init may take in a large repository."""
FILES, MODULES, FOLDERS = 50_000, 5_000, 200
BARE = 'from invoke import task\n\n\n@task\ndef hello(context):\n    """Say hello."""\n'


def main(arguments: list[str]) -> int:
    """Print the two tables; return 1 where the ratio is above the aim."""
    console.show_progress()
    rounds = int(arguments[0]) if arguments else 41
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
        large = make_repository(folder / "large")
        init = Command((str(programs / "dockyard"), "init", "--dry-run"), cwd=large)
        looked = [capture(init).seconds for _ in range(4)][1:]
    medians = {command: statistics.median(values[1:]) for command, values in times.items()}
    ratio = medians["dockyard --list"] / medians["invoke --list, one task"]
    rows = [
        (command, f"{median * 1000:.0f} ms", f"{min(times[command]) * 1000:.0f} ms")
        for command, median in medians.items()
    ]
    title = f"ratio {ratio:.2f}, aim at most {AIM:.2f}"
    console.table(("command", "median", "best"), rows, title=title, right=("median", "best"))
    console.table(("installed", "size"), [(what, console.size(size)) for what, size in sizes.items()], right=("size",))
    title = f"init of {FILES:,} files, aim at most {INIT_AIM:g} s"
    console.table(("median", "best"), [(f"{statistics.median(looked):.2f} s", f"{min(looked):.2f} s")], title=title)
    return 0 if ratio <= AIM and statistics.median(looked) <= INIT_AIM else 1


def make_repository(folder: Path) -> Path:
    """Make a service in a large repository: of twenty modules one has a route, one reads a variable."""
    usual = "import logging\n\nlog = logging.getLogger(__name__)\n" + "".join(
        f"\n\ndef total_{number}(things, rate={number}):\n    found = things.get('size', 0)\n"
        f"    log.debug('counted %s', found)\n    return found * rate\n"
        for number in range(9)
    )
    route = "\n\n@pages.get('/things')\ndef things():\n    return []\n"
    variable = "\n\nimport os\n\nSIZE = os.environ.get('PAGE_SIZE', '20')\n"
    for number in range(FILES - 2):
        place = folder / f"package{number % FOLDERS}"
        place.mkdir(parents=True, exist_ok=True)
        if number < MODULES:
            more = {0: route, 10: variable}.get(number // FOLDERS % 20, "")
            (place / f"module{number}.py").write_text(usual + more + f"\n# {number}\n", encoding="utf-8")
        else:
            (place / f"page{number}.html").write_text("<p>a page</p>\n", encoding="utf-8")
    app = "from flask import Flask\n\napp = Flask(__name__)\n"
    (folder / "app.py").write_text(app, encoding="utf-8")
    (folder / "requirements.txt").write_text("flask\n", encoding="utf-8")
    return folder


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
