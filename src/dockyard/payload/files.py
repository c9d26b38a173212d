"""Copy files of a base image into a layer that depends on nothing but its content, and say whose they were."""

import os
import shutil
import stat
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


def link_tree(folder: Path, layer: Path) -> None:
    """Put a folder at its own path below `layer`, by hard links, so that nothing is copied."""
    target = inside(layer, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, target, symlinks=True, copy_function=os.link, dirs_exist_ok=True)


def settle(layer: Path) -> None:
    """Give every file, folder and link the same fixed time."""
    for folder, folders, names in os.walk(layer, topdown=False):
        for name in (*names, *folders, "."):
            os.utime(os.path.join(folder, name), (TIME, TIME), follow_symlinks=False)  # noqa: PTH118 - thousands of them


def record_packages(layer: Path, dpkg: Path = DPKG) -> None:
    """Write down which Debian packages the files in `layer` come from; layers that say the same agree."""
    paths = ["/" + str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_symlink() or path.is_file()]
    if not paths:
        return
    owners = {**package_files(dpkg), **GENERATED}
    wanted = {owners[path] for path in paths if path in owners}
    stanzas = package_stanzas(dpkg / "status") if wanted else {}
    for name in sorted(wanted & stanzas.keys()):
        target = inside(layer, STATUS) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(stanzas[name], encoding="utf-8")
        target.chmod(0o644)


def package_files(dpkg: Path) -> dict[str, str]:
    """Return the package of every path that dpkg's lists name; links in a path's folders are followed."""
    owners: dict[str, str] = {}
    folders: dict[Path, Path] = {}
    for listing in sorted((dpkg / "info").glob("*.list")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            path = Path(line)
            if path.parent not in folders:
                folders[path.parent] = path.parent.resolve()
            owners[str(folders[path.parent] / path.name)] = listing.stem.partition(":")[0]
    return owners


def package_stanzas(status: Path) -> dict[str, str]:
    """Return what dpkg's status file says of every package, reduced to the fields that name it and its source."""
    found: dict[str, str] = {}
    for stanza in status.read_text(encoding="utf-8").split("\n\n") if status.exists() else ():
        lines = [line for line in stanza.splitlines() if line.partition(":")[0] in FIELDS]
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("Package:")]
        found.update({name: "\n".join(lines) + "\n" for name in names})
    return found
