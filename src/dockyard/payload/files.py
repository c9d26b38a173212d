"""Copy files of a base image into a layer that depends on nothing but its content, and say whose they were."""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

TIME = 315_532_800
"""1980-01-01, in seconds: the earliest time that a zip archive can hold too."""

PRIVILEGED = stat.S_ISUID | stat.S_ISGID
"""Bits that give whoever runs a program the rights of its owner."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DPKG = Path("/var/lib/dpkg")
STATUS = Path("/var/lib/dpkg/status.d")
"""Where scanners look for the packages of an image that has no package manager: a file for each."""

FIELDS = ("Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Source", "Version", "Homepage")
GENERATED = {str(CERTIFICATES): "ca-certificates"}
"""Files that a package makes when it is installed, and so does not list."""

NO_OBJECTS = (
    ".py", ".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".txt", ".md", ".rst", ".json", ".toml", ".xml", ".html",
    ".js", ".css", ".map", ".csv", ".npy", ".npz", ".gz", ".zip", ".png", ".svg", ".po", ".mo",
)  # fmt: skip
"""Endings of files that are nothing to load: opening each of them would take most of the time."""
UNWANTED_MODULES = ("_tkinter.", "_testcapi", "_ctypes_test", "_test")
"""Beginnings of the names of the standard library's modules that need a screen, or only test Python itself."""


def inside(root: Path, path: Path) -> Path:
    """Return where `path` lies below `root`."""
    return root / path.relative_to("/")


def resolve_parents(path: Path) -> Path:
    """Return `path` with links in its parents resolved, so that /lib/x becomes /usr/lib/x after the merge."""
    return path.parent.resolve() / path.name


def copy(source: Path, root: Path, *, follow: bool = True) -> None:
    """Copy a file, folder or link to the same path below `root`; what a link names is copied too."""
    source = resolve_parents(source)
    target = inside(root, source)
    if source.is_symlink():
        if os.path.lexists(target):
            return  # already followed: two links that name each other's folder would go round for ever
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.readlink())
        pointed = (source.parent / source.readlink()).absolute()
        if follow and pointed.exists():
            copy(Path(os.path.normpath(pointed)), root)
    elif source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for child in sorted(source.iterdir()) if follow else ():
            copy(child, root)
    elif source.is_file() and not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        target.chmod(stat.S_IMODE(source.stat().st_mode) & ~PRIVILEGED)


def add_tree(folder: Path, layer: Path) -> None:
    """Put a folder at its own path below `layer`, by hard links, so that nothing is copied, where it is no mount."""
    target = inside(layer, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, target, symlinks=True, copy_function=link_or_copy, dirs_exist_ok=True)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, or where that would be on another file system, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def find_objects(*paths: str) -> Iterator[str]:
    """Yield the files below paths that may be programs or libraries: a look inside tells."""
    real = [Path(path).resolve() for path in paths]
    yield from (str(path) for path in real if path.is_file())
    waiting = [str(path) for path in real if path.is_dir()]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(NO_OBJECTS):
                    yield entry.path


def settle(layer: Path) -> None:
    """Give every file, folder and link the same fixed time."""
    for folder, folders, names in os.walk(layer, topdown=False):
        for name in (*names, *folders, "."):
            os.utime(os.path.join(folder, name), (TIME, TIME), follow_symlinks=False)  # noqa: PTH118 - thousands of them


def record_packages(layer: Path, dpkg: Path = DPKG, generated: Mapping[str, str] = GENERATED) -> None:
    """Write down which Debian packages the files in `layer` come from; layers that say the same agree."""
    wanted = owners(layer_files(layer), dpkg, generated)
    stanzas = package_stanzas(dpkg / "status") if wanted else {}
    for name in sorted(wanted & stanzas.keys()):
        target = inside(layer, STATUS) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(stanzas[name], encoding="utf-8")
        target.chmod(0o644)


def layer_files(layer: Path) -> set[str]:
    """Return the paths that a layer's files and links will have in the image."""
    found: set[str] = set()
    for folder, folders, names in os.walk(layer):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118
        found.update(f"{folder.removeprefix(str(layer))}/{name}" for name in (*names, *links))
    return found


def owners(paths: set[str], dpkg: Path, generated: Mapping[str, str]) -> set[str]:
    """Return the packages whose lists name one of some paths; links in a listed path's folders are followed.

    Names are compared first: lists hold thousands of paths, and every layer of every build asks.
    """
    found: dict[str, str] = {}
    names = {path.rpartition("/")[2] for path in paths}
    folders: dict[str, str] = {}
    for listing in sorted((dpkg / "info").glob("*.list")) if paths else ():
        for line in listing.read_text(encoding="utf-8").splitlines():
            folder, _, name = line.rpartition("/")
            if name not in names:
                continue
            if folder not in folders:
                folders[folder] = os.path.realpath(folder or "/").rstrip("/")
            found[f"{folders[folder]}/{name}"] = listing.stem.partition(":")[0]
    return {package for path, package in {**found, **generated}.items() if path in paths}


def package_stanzas(status: Path) -> dict[str, str]:
    """Return what dpkg's status file says of every package, reduced to the fields that name it and its source."""
    found: dict[str, str] = {}
    for stanza in status.read_text(encoding="utf-8").split("\n\n") if status.exists() else ():
        lines = [line for line in stanza.splitlines() if line.partition(":")[0] in FIELDS]
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("Package:")]
        found.update({name: "\n".join(lines) + "\n" for name in names})
    return found
