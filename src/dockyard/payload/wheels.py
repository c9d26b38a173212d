"""Build to wheels what a lock takes from source, in a stage with compilers that no image is made from.

What builds them is hashed too: it comes from the lock of the purpose `build`, and nothing else is installed.
Where nothing is built from source, nothing is done.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .install import ENTRY, FOREIGN, SECRETS, normal, pip_environment

MADE_FOR = re.compile(r"^# for: Python [^,]+, (.+), platform hashes$", re.MULTILINE)
BUILT = re.compile(r"^# built from source: (\S+) on (.+)$", re.MULTILINE)
OPTION = re.compile(r"^-.+$", re.MULTILINE)
TIME = "315532800"
"""1980-01-01, in seconds: the earliest time that a zip archive can hold."""

PLACE = Path("/tmp/dockyard-wheels")  # noqa: S108 - in a build stage
"""Where wheels are built: always in one place, for compilers and linkers write it into what they make."""

COMPILERS = ("gcc", "g++", "libc6-dev", "make")
NATIVE = {".c", ".cc", ".cpp", ".cxx", ".f", ".f90", ".m", ".pyx", ".rs"}
LAYOUTS = {"CMakeLists.txt", "meson.build"}
"""What tells that a source archive needs a compiler."""


def select(locks: Path, platform: str, sources: Path) -> None:
    """Write to a folder what the production lock of `locks` has built on a platform: no other change touches it."""
    sources.mkdir(parents=True, exist_ok=True)
    text = (locks / "production.txt").read_text(encoding="utf-8")
    if foreign(text, platform):
        (sources / FOREIGN).write_text(
            f"the production lock is for {', '.join(made_for(text))}, and this build for {platform}:\n"
            "add that to platforms in [tool.dockyard], and run `invoke lock`\n"
        )
    wanted = chosen(text, platform)
    if not wanted:
        return
    if not (locks / "build.txt").is_file():
        raise SystemExit(
            f"{', '.join(sorted(wanted))}: built from source, and no lock says what builds that\n"
            "name it, such as setuptools, in requirements/build.in, and run `invoke lock`"
        )
    entries = [match[0] for match in ENTRY.finditer(text) if normal(match[1]) in wanted]
    (sources / "sources.txt").write_text("".join(f"{line}\n" for line in [*OPTION.findall(text), *entries]), "utf-8")
    shutil.copyfile(locks / "build.txt", sources / "build.txt")


def made_for(lock: str) -> tuple[str, ...]:
    """Return the platforms whose hashes a lock holds; none where it holds all."""
    found = MADE_FOR.search(lock)
    return tuple(map(plain, found[1].split(", "))) if found else ()


def foreign(lock: str, platform: str) -> bool:
    """Return whether a lock is for other platforms: images for tests and development are built on any."""
    return bool(made_for(lock)) and plain(platform) not in made_for(lock)


def chosen(lock: str, platform: str) -> set[str]:
    """Return the names of what a lock has built from source on a platform, or on any where it is not for that one."""
    rows = [(name, tuple(map(plain, platforms.split(", ")))) for name, platforms in BUILT.findall(lock)]
    return {name for name, platforms in rows if plain(platform) in platforms or foreign(lock, platform)}


def plain(platform: str) -> str:
    """Return a platform's name as BuildKit writes it."""
    return "linux/arm64" if platform == "linux/arm64/v8" else platform


def build(sources: Path, wheels: Path, packages: Sequence[str]) -> None:
    """Make a wheel of everything that was selected; compilers are only installed where a source needs them."""
    wheels.mkdir(parents=True, exist_ok=True)
    if (sources / FOREIGN).is_file():
        shutil.copyfile(sources / FOREIGN, wheels / FOREIGN)
    if not (sources / "sources.txt").is_file():
        return
    environment = prepare(sources / "build.txt")
    fetched = fetch(sources / "sources.txt", environment)
    if packages or not fetched or native(PLACE):
        add_packages(packages, compilers=True)
    if not fetched and not fetch(sources / "sources.txt", environment):
        raise SystemExit("a source archive cannot be used: the lines above say why")
    for archive in sorted((PLACE / "archives").iterdir()):
        pip(environment, "wheel", "--no-index", "--wheel-dir", str(wheels), str(unpack(archive, PLACE / "tree")))


def prepare(lock: Path) -> dict[str, str]:
    """Install what builds into an environment of its own; return the variables under which it works."""
    tools = PLACE / "tools"
    run((sys.executable, "-m", "venv", "--without-pip", str(tools)))
    environment = {
        **pip_environment(),
        "CFLAGS": os.environ.get("CFLAGS", "-g0"),
        "CXXFLAGS": os.environ.get("CXXFLAGS", "-g0"),
        "PATH": f"{tools}/bin:{os.environ['PATH']}",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": TIME,
        "VIRTUAL_ENV": str(tools),
    }
    pip(environment, "install", "--only-binary=:all:", "--require-hashes", "-r", str(lock))
    return environment


def fetch(lock: Path, environment: dict[str, str]) -> bool:
    """Download what a lock names and check it; return False where pip cannot even read what it is."""
    folder = PLACE / "archives"
    options = ("--no-binary=:all:", "--no-build-isolation", "--require-hashes", "--dest", str(folder), "-r", str(lock))
    return pip(environment, "download", *options, check=False) == 0


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a source archive; return the folder that holds its files."""
    place = folder / archive.name
    if not place.is_dir():
        import inspect  # most builds have nothing to unpack

        # Python knows no filter before 3.11.4, and zip archives need none.
        known = "filter" in inspect.signature(shutil.unpack_archive).parameters
        options: dict[str, Any] = {"filter": "data"} if known and archive.suffix != ".zip" else {}
        shutil.unpack_archive(archive, place, **options)
    inner = list(place.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else place


def native(place: Path) -> bool:
    """Return whether any of the fetched archives holds something to compile."""
    trees = [unpack(archive, place / "tree") for archive in sorted((place / "archives").iterdir())]
    return any(path.suffix in NATIVE or path.name in LAYOUTS for tree in trees for path in tree.rglob("*"))


def add_packages(packages: Iterable[str], *, compilers: bool) -> None:
    """Install Debian packages, and where asked compilers, with Python's headers where the image has none."""
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    tools = [*COMPILERS, *([] if headers else [f"python3.{sys.version_info.minor}-dev"])] if compilers else []
    wanted = [*tools, *packages]
    trusted = SECRETS / "ca"
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "--option=Dpkg::Use-Pty=0"]
    quiet += [f"--option=Acquire::https::CAInfo={trusted}"] if trusted.is_file() else []
    run((*quiet, "update"))
    run((*quiet, "install", "--yes", "--no-install-recommends", *wanted))


def pip(environment: dict[str, str], verb: str, *arguments: str, check: bool = True) -> int:
    """Run pip for the environment that builds; return its exit code."""
    python = str(PLACE / "tools" / "bin" / "python")
    always = ("--no-deps", *(("--no-build-isolation",) if verb == "wheel" else ()))
    return run((sys.executable, "-m", "pip", "--python", python, verb, *always, *arguments), environment, check=check)


def run(command: Sequence[str], environment: dict[str, str] | None = None, *, check: bool = True) -> int:
    """Run a command, and end with its exit code where it fails."""
    code = subprocess.run(command, env=environment, check=False).returncode
    if code and check:
        raise SystemExit(code)
    return code
