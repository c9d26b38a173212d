"""Install a lock, and keep each package for the next build: only what is new is fetched, unpacked and compiled.

Packages lie in a cache by a key of all that went into them, and are copied from there. With `layers`, each is in one
of several layers, by its name, and large ones in the first: a new version of one package changes one layer, and an
image's others are known again by their content.
"""

import contextlib
import csv
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv as environments
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import bytecode
from .files import find_objects, inside, settle
from .libraries import add_libraries, this_base

CACHE = Path.home() / ".cache" / "dockyard"
SECRETS = Path("/run/secrets")
"""Where BuildKit mounts secrets, all optional: `ca` the host's certificates, `pip` a pip.conf, `netrc` logins."""

FOREIGN = "foreign.txt"
"""The file that says so where the production lock is for other platforms: pip only says that hashes do not match."""

ENTRY = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(==| @ )(\S+)( ; (?:(?! --)[^\\\n])*)?(?: (?:\\\n +)?--hash=\S+)+$", re.MULTILINE
)
"""A pin, perhaps with a marker, with its hashes on lines of their own or on its own line."""

NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:[\[(<>=!~;@]|$)")
EDITABLE = ("-e", "--editable")
SIDE_BY_SIDE = 4
"""Runs of pip at a time: each waits for the index more than it works."""

LARGE = 8_000_000
"""Bytes from which a package lies in the first layer: whoever takes a changed layer unpacks all above it anew."""

FORGOTTEN = 30 * 86400
"""Seconds after which a package that no build has used leaves the cache."""


@dataclass(frozen=True)
class Package:
    """A distribution of a lock: its name, empty where only pip can tell it; its lines; and the key of all it needs."""

    name: str
    lines: tuple[str, ...]
    key: str

    def part(self, parts: int) -> int:
        """Return which layer holds it, from 0: by its name as indexes compare it, so that it never moves."""
        return hashlib.sha256(self.name.encode()).digest()[0] % parts if self.name else 0


def install_lock(lock: Path, wheels: Path | None, venv: Path, layers: Path | None, parts: int) -> None:
    """Install a lock into an environment, and with `layers` make these of what is installed.

    What was built to wheels is taken from these, and from nowhere else.
    """
    text = replaced(lock.read_text("utf-8"), hashes(wheels) if wheels else {})
    options, packages = read_lock(text, fingerprint(venv, compiled=bool(layers)))
    environments.create(venv, symlinks=True)
    pip = Pip(pip_folder(), venv, wheels, options)
    if not layers:
        add_missing(CACHE, packages, pip.install, None)
        start_copy([CACHE / package.key for package in packages], venv)()
        return
    made = [layers / str(number + 1) for number in range(parts)]
    targets = [inside(layer, venv) for layer in made]
    # What there is already is copied while pip waits for the index.
    held = arrange([package for package in packages if (CACHE / package.key).is_dir()], CACHE, parts, venv)
    copies = [start_copy(trees, target) for trees, target in zip(held, targets, strict=True)]
    try:
        add_missing(CACHE, packages, pip.install, venv)
    finally:
        for finish in copies:
            finish()
    for trees, copied, target in zip(arrange(packages, CACHE, parts, venv), held, targets, strict=True):
        copy_rest(trees, copied, target)
    link_objects(targets, venv)
    add_libraries(made, venv, this_base())
    for layer in made:
        settle(layer)


def arrange(packages: Sequence[Package], store: Path, parts: int, venv: Path) -> list[list[Path]]:
    """Return the folders that make up each layer: the environment and all that is large lie in the first."""
    trees = [[venv], *([] for _ in range(parts - 1))]
    for package in packages:
        tree = store / package.key
        trees[0 if size(tree) >= LARGE else package.part(parts)].append(tree)
    return trees


@functools.cache
def size(tree: Path) -> int:
    """Return the bytes of all files below a folder, which stays as it is."""
    names = (os.path.join(folder, name) for folder, _, names in os.walk(tree) for name in names)  # noqa: PTH118 - thousands
    return sum(os.lstat(name).st_size for name in names)


def copy_rest(trees: Sequence[Path], copied: Sequence[Path], target: Path) -> None:
    """Copy those trees into one folder that are not there yet.

    Where two have a file in common, the last one wins, whichever was there first: then all are copied anew.
    """
    rest = [tree for tree in trees if tree not in copied]
    if [*copied, *rest] != [*trees] and any(overlaps(tree, target) for tree in rest):
        shutil.rmtree(target)
        rest = [*trees]
    start_copy(rest, target)()


def overlaps(tree: Path, target: Path) -> bool:
    """Return whether any file of a tree has its like in another one."""
    files = (f"{folder.removeprefix(str(tree))}/{name}" for folder, _, names in os.walk(tree) for name in names)
    return any(os.path.lexists(f"{target}{path}") for path in files)


def read_lock(text: str, base: str) -> tuple[list[str], list[Package]]:
    """Return a lock's options and its packages; the keys depend on the lines, the options and `base` (pure)."""
    options: list[str] = []
    lines: dict[str, list[str]] = {}
    for line in requirements(text):
        if line.startswith("-") and not line.startswith(EDITABLE):
            options.append(line)
        else:
            named = NAMED.match(line)
            lines.setdefault(normal(named[1]) if named else f"?{line}", []).append(line)
    return options, [
        Package("" if name.startswith("?") else name, tuple(own), digest([base, *options, "", *own]))
        for name, own in lines.items()
    ]


def requirements(lock: str) -> list[str]:
    """Return what a lock says, each requirement in one line with its hashes, without comments (pure)."""
    said = "\n".join(line for line in lock.splitlines() if not line.lstrip().startswith("#"))
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in re.sub(r"\\\n\s*", "", said).splitlines())
    return [line for line in lines if line]


def digest(texts: Iterable[str]) -> str:
    """Return the hash of several texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def fingerprint(venv: Path, *, compiled: bool) -> str:
    """Return what every package here depends on: Python, the platform, pip, this program, and where it is installed."""
    programs = [path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    system = (sys.version, sysconfig.get_platform(), os.confstr("CS_GNU_LIBC_VERSION") or "", str(pip_folder()))
    return digest([*system, str(venv), str(compiled), *programs])


Unpack = Callable[[Mapping[Path, Sequence[Package]]], None]
"""Installs packages into folders, and nothing that they depend on."""


@dataclass(frozen=True)
class Pip:
    """The base's pip, run by the Python of an environment, with what every run of it is given."""

    program: Path
    venv: Path
    wheels: Path | None
    options: Sequence[str]

    def install(self, wanted: Mapping[Path, Sequence[Package]]) -> None:
        """Install packages into folders, all at a time; end the build where that fails, and say why last."""
        locks = [folder.with_suffix(".txt") for folder in wanted]
        for lock, packages in zip(locks, wanted.values(), strict=True):
            lines = (*self.options, *(line for package in packages for line in package.lines))
            lock.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        command = (self.venv / "bin" / "python", Path(__file__).with_name("pips.py"), self.program, *locks)
        code = subprocess.run(command, env=self.environment(), check=False).returncode if locks else 0
        if code:
            if self.wheels and (self.wheels / FOREIGN).is_file():
                sys.stderr.write((self.wheels / FOREIGN).read_text("utf-8"))
            raise SystemExit(code)

    def environment(self) -> dict[str, str]:
        """Return the variables under which pip runs; it looks for wheels that were built where these are."""
        links = (os.environ.get("PIP_FIND_LINKS", ""), str(self.wheels or ""))
        return {**pip_environment(), "PIP_FIND_LINKS": " ".join(filter(None, links))}


def pip_environment(secrets: Path = SECRETS) -> dict[str, str]:
    """Return the variables under which any pip of a build runs: its secrets, and patience with slow name servers.

    A secret whose name is in capitals is itself the value of a variable, such as a lock's addresses name.
    """
    files = {"PIP_CERT": "ca", "PIP_CONFIG_FILE": "pip", "NETRC": "netrc"}
    return {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_RETRIES": "10",
        "PIP_ROOT_USER_ACTION": "ignore",
        **os.environ,
        **{name: str(secrets / secret) for name, secret in files.items() if (secrets / secret).is_file()},
        **{path.name: path.read_text("utf-8").strip() for path in secrets.glob("*") if path.name.isupper()},
    }


def pip_folder() -> Path:
    """Return the base's pip, which any Python can run as a program: `pip --python` would start it twice."""
    found = importlib.util.find_spec("pip")
    if not found or not found.submodule_search_locations:
        raise SystemExit("the base image has no pip: install it in the base stage of the Dockerfile")
    return Path(found.submodule_search_locations[0])


def add_missing(store: Path, packages: Sequence[Package], unpack: Unpack, at: Path | None) -> None:
    """Add to the store what it lacks, with bytecode for the place where it will lie, if there is one."""
    store.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not (store / package.key).is_dir()]
    with tempfile.TemporaryDirectory(dir=store) as folder:
        trees = fetch(Path(folder), missing, unpack)
        if at:
            files = [(path, at / path.relative_to(tree)) for tree in trees for path in bytecode.python_files(tree)]
            bytecode.compile_files(files)
        for package, tree in zip(missing, trees, strict=True):
            with contextlib.suppress(OSError):  # another build was faster
                tree.rename(store / package.key)
    for package in packages:
        os.utime(store / package.key)
    for old in store.iterdir():
        if old.stat().st_mtime < time.time() - FORGOTTEN:
            shutil.rmtree(old, ignore_errors=True)


def fetch(folder: Path, packages: Sequence[Package], unpack: Unpack) -> list[Path]:
    """Install packages, each into a folder of its own, several at a time; return the folders.

    Where two of them have a file in common, each is installed alone: no other must show in what is kept of one.
    """
    trees = {package: folder / f"tree-{number}" for number, package in enumerate(packages)}
    named = [package for package in packages if package.name]
    alone = [package for package in packages if not package.name]
    groups = [named[number::SIDE_BY_SIDE] for number in range(SIDE_BY_SIDE)]
    together = {folder / f"group-{number}": group for number, group in enumerate(groups) if group}
    unpack(together)
    for place, group in together.items():
        files = {package: recorded(place, package.name) for package in group}
        owners = Counter(path for paths in files.values() for path in paths)
        for package, paths in files.items():
            if any(owners[path] > 1 for path in paths):
                alone.append(package)
                continue
            for path in paths:
                (trees[package] / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).rename(trees[package] / path)
    unpack({trees[package]: [package] for package in alone})
    for tree in trees.values():
        tree.mkdir(exist_ok=True)  # a marker may leave a package out
    return [*trees.values()]


def recorded(prefix: Path, name: str) -> set[Path]:
    """Return the files of an installed distribution, as paths below the prefix that it was installed into."""
    found: set[Path] = set()
    for record in prefix.glob("lib*/python*/site-packages/*.dist-info/RECORD"):
        if normal(record.parent.stem.rpartition("-")[0]) == name:
            site = record.parent.parent.relative_to(prefix)
            with record.open(encoding="utf-8", newline="") as file:
                found.update(Path(os.path.normpath(site / row[0])) for row in csv.reader(file) if row)
    return {path for path in found if (prefix / path).is_file()}


def start_copy(trees: Sequence[Path], target: Path) -> Callable[[], None]:
    """Start to copy what is in several folders into one, with `cp`, which takes a tenth of Python's time.

    What is returned waits for the end.
    """
    target.mkdir(parents=True, exist_ok=True)
    if not trees:
        return lambda: None
    command = ("cp", "-a", *(f"{tree}/." for tree in trees), str(target))
    copy = subprocess.Popen(command)

    def finish() -> None:
        if copy.wait():
            raise subprocess.CalledProcessError(copy.returncode, command)

    return finish


def link_objects(trees: Sequence[Path], target: Path) -> None:
    """Give all that may be programs or libraries in several folders a second name in one, where linkers find them."""
    for tree in trees:
        for path in map(Path, find_objects(str(tree))):
            place = target / path.relative_to(tree.resolve())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.hardlink_to(path)


def hashes(wheels: Path) -> dict[str, tuple[str, str]]:
    """Return version and SHA-256 of each wheel in a folder by its package."""
    files = {path: path.name.split("-") for path in sorted(wheels.glob("*.whl"))}
    return {
        normal(name): (version, hashlib.sha256(path.read_bytes()).hexdigest())
        for path, (name, version, *_) in files.items()
    }


def replaced(lock: str, built: dict[str, tuple[str, str]]) -> str:
    """Return a lock in which each package that was built has the hash of its wheel, and no other."""

    def entry(match: re.Match[str]) -> str:
        if normal(match[1]) not in built:
            return match[0]
        version, digest = built[normal(match[1])]
        pin = f"{match[1]}=={match[3] if match[2] == '==' else version}{match[4] or ''}"
        return f"{pin} \\\n    --hash=sha256:{digest}"

    return ENTRY.sub(entry, lock)


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
