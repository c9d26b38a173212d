"""Measure locks: the offline check, its hook, and a compile of a whole matrix, each beside what it replaces.

    python benchmarks/locks.py check      offline; compares with uv's check and pip-compile-multi's, installed for this
    python benchmarks/locks.py compile    needs an engine and an index; takes minutes, most of them pip-compile's

Both sides of a ratio run in turns in one process, so that a busy machine slows both.
"""

import argparse
import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from dockyard import console
from dockyard.bases import resolve
from dockyard.engine import client
from dockyard.engine.client import Engine
from dockyard.files import replace_files
from dockyard.host import ca_bundle
from dockyard.locks import compile as compiling
from dockyard.locks.check import check_project, inspect_locks
from dockyard.locks.compile import make_locks
from dockyard.locks.inputs import Problem
from dockyard.locks.plan import JobAnswer, Wish, finish_locks, plan_batches
from dockyard.process import Command, capture
from dockyard.settings import Settings

PURPOSES = {
    "base": "flask\nfastjsonschema\n",
    "production": "-r base.in\ngunicorn\n",
    "test": "-r base.in\npytest\ncoverage\n",
    "development": "-r test.in\ninvoke\nrich\n",
}
PINS, HASHES, ROUNDS = 100, 20, 15


def main() -> None:
    """Run the measurement that was asked for."""
    console.show_progress()
    parser = argparse.ArgumentParser(description="Measure locks.")
    parser.add_argument("what", choices=("check", "compile"))
    with tempfile.TemporaryDirectory() as folder:
        {"check": check, "compile": compile_matrix}[parser.parse_args().what](Path(folder))


def project(root: Path) -> Settings:
    """Return a project with four purposes and three Pythons."""
    (root / "requirements").mkdir()
    for name, text in PURPOSES.items():
        (root / f"requirements/{name}.in").write_text(text)
    pythons = ("3.11", "3.13", "3.14")
    table = '[tool.dockyard]\napp = "a:b"\nimage = "bench"\npythons = ["3.11", "3.13", "3.14"]\n'
    (root / "pyproject.toml").write_text(table)
    return Settings(root=root, app="a:b", image="bench", pythons=pythons, python="3.13", stack="bench")


def check(root: Path) -> None:
    """Time the check of 12 locks of 100 pins: in this process, as the hook, and as the fastest tool like it."""
    settings = project(root)
    pins = "".join(map(_pin, range(PINS)))
    for batch in plan_batches(inspect_locks(settings), Wish()):
        made = finish_locks(batch, {name: JobAnswer({"here": pins}) for name in PURPOSES})
        replace_files({root / path: text for path, text in made.items()})
    inside = _median(lambda: _none(check_project(settings)))
    bare = Command((sys.executable, "-c", "pass"), cwd=root)
    hook = Command((str(Path(sys.executable).with_name("dockyard-lock-check")),), cwd=root)
    others = {
        "uv lock --check, of one lock of 100 pins": _uv(root),
        "pip-compile-multi verify, of the inputs alone": _multi(root),
    }
    found = {name: command for name, command in others.items() if command}
    alone, ours, *theirs = _in_turns(bare, hook, *found.values())
    limit = 1.5 * alone + 0.060
    verdict = "within" if ours <= limit else "ABOVE"
    console.pairs(
        {
            "12 locks of 100 pins, in this process": f"{inside * 1000:.1f} ms (30 ms is the aim)",
            "python -c pass": f"{alone * 1000:.0f} ms",
            "dockyard-lock-check, the whole process": f"{ours * 1000:.0f} ms, {verdict} the aim of "
            f"1.5 x {alone * 1000:.0f} + 60 = {limit * 1000:.0f} ms; {ours / alone:.1f} x bare",
            **{
                name: f"{time * 1000:.0f} ms; dockyard-lock-check takes {ours / time:.2f} of it"
                for name, time in zip(found, theirs, strict=True)
            },
            **{name: "not to be had" for name in others if name not in found},
        }
    )


def compile_matrix(root: Path) -> None:
    """Time the locks of 4 purposes and 3 Pythons from nothing, and the same by pip-compile one after another."""
    settings = project(root)
    host = client.find_engine(settings)
    compiling.VOLUME = "dockyard-bench"
    images = {base.python: base.image for base in resolve.ensure_bases(settings, host, settings.pythons)[0]}
    make_locks(settings, Wish(), host)  # installs the compilers
    for image, python in ((image, python) for python, image in images.items()):
        _run(host, image, python, ("rm", "-rf", "/cache/pip", "/cache/pip-tools"))
    ours = _time(lambda: make_locks(settings, Wish(), host))
    theirs = 0.0
    for python, image in images.items():
        _run(host, image, python, ("rm", "-rf", "/cache/pip", "/cache/pip-tools"))
        for purpose in PURPOSES:
            seconds = _time(lambda: _plain(host, image, python, purpose, root))  # noqa: B023 - called at once
            console.log.info(f"pip-compile, Python {python}, {purpose}: {seconds:.1f} s")
            theirs += seconds
    volumes = [f"{compiling.VOLUME}-{python}" for python in (*settings.pythons, "uv")]
    capture(host.command("volume", "rm", "--force", *volumes), check=False)
    console.pairs(
        {
            "invoke lock, everything": f"{ours:.1f} s",
            "pip-compile, one after another": f"{theirs:.1f} s",
            "ratio": f"{ours / theirs:.2f} (0.35 is the aim)",
        }
    )


def _plain(host: Engine, image: str, python: str, purpose: str, root: Path) -> None:
    """Compile one lock with pip-compile as its manual says."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(root / "requirements", "requirements")
        if ca := ca_bundle():
            archive.add(ca.resolve(), "ca.pem")
    script = (
        "set -e; mkdir /tmp/w; cd /tmp/w; tar -x; "
        "test ! -f ca.pem || export PIP_CERT=/tmp/w/ca.pem; "
        "export PYTHONPATH=$(ls -d /cache/tools-*) PIP_CACHE_DIR=/cache/pip; "
        f"python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras "
        f"--cache-dir /cache/pip-tools -o {purpose}.txt requirements/{purpose}.in"
    )
    _run(host, image, python, ("sh", "-c", script), packed.getvalue())


def _run(host: Engine, image: str, python: str, argv: tuple[str, ...], data: bytes = b"") -> None:
    mount = f"type=volume,src={compiling.VOLUME}-{python},dst=/cache"
    capture(host.command("run", "--rm", "--interactive", "--mount", mount, image, *argv, input=data))


def _pin(number: int) -> str:
    digests = (sha256(f"{number} {each}".encode()).hexdigest() for each in range(HASHES))
    return (
        f"package-{number:03}==1.{number}.0 \\\n" + " \\\n".join(f"    --hash=sha256:{each}" for each in digests) + "\n"
    )


def _uv(root: Path) -> Command | None:
    """Let uv make a lock of as many packages, with files of our own, and return its offline check."""
    program = Path(sys.executable).with_name("uv")
    if not program.exists():
        return None
    folder = root / "uv"
    (folder / "wheels").mkdir(parents=True)
    for number in range(PINS):
        name, version = f"package_{number:03}", f"1.{number}.0"
        with zipfile.ZipFile(folder / f"wheels/{name}-{version}-py3-none-any.whl", "w") as wheel:
            info = f"{name}-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    needed = ", ".join(f'"package-{number:03}"' for number in range(PINS))
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "bench"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = [{needed}]\n'
        '[tool.uv]\nno-index = true\nfind-links = ["wheels"]\n'
    )
    lock = (str(program), "lock", "--offline", "--quiet", "--python", sys.executable)
    capture(Command(lock, cwd=folder))
    return Command((*lock, "--check"), cwd=folder)


def _multi(root: Path) -> Command | None:
    """Install pip-compile-multi beside the project, and let it stamp flat locks of the same size."""
    venv, flat = root / "venv", root / "flat"
    try:
        capture(Command((sys.executable, "-m", "venv", str(venv))))
        capture(Command((str(venv / "bin/pip"), "install", "--quiet", "pip-compile-multi")))
    except Exception as error:  # noqa: BLE001 - without a network the other numbers still count
        console.log.warning(f"pip-compile-multi cannot be installed: {error}")
        return None
    flat.mkdir()
    from_inputs = str(venv / "bin/python"), "-c", _STAMP
    for number in range(12):
        (flat / f"purpose{number}.in").write_text("".join(f"package-{each:03}\n" for each in range(PINS)))
        (flat / f"purpose{number}.txt").write_text("# SHA1:\n" + "".join(map(_pin, range(PINS))))
    capture(Command((*from_inputs, str(flat))))
    return Command((str(venv / "bin/pip-compile-multi"), "verify", "--directory", str(flat)), cwd=root)


_STAMP = """
import pathlib, sys
from pipcompilemulti.verify import generate_hash_comment
for path in pathlib.Path(sys.argv[1]).glob('*.in'):
    lock = path.with_suffix('.txt')
    lock.write_text(lock.read_text().replace('# SHA1:\\n', generate_hash_comment(str(path)), 1))
"""


def _in_turns(*commands: Command) -> list[float]:
    """Return the median time of each command, all run in turns; all must succeed."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(ROUNDS):
        for taken, command in zip(times, commands, strict=True):
            started = time.perf_counter()
            capture(command)
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_time(work) for _ in range(ROUNDS))


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _none(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise SystemExit(f"the benchmark's own locks are wrong: {problems[0]}")


if __name__ == "__main__":
    os.environ.pop("PIP_CONFIG_FILE", None)
    main()
