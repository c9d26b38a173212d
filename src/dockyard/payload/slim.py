"""Make of a base image one that serves as the minimal image does, and keeps the policy.

The layer holds what the base image lacks, so that a person has a shell, its tools and every library of the base, and
the service all that it has in the minimal image.
"""

import filecmp
import os
import shutil
import stat
from pathlib import Path

from . import bytecode
from .files import PRIVILEGED, STATUS, settle
from .layers import LDCONFIG

ACCOUNTS = ("etc/group", "etc/passwd")


def make_slim(layer: Path, image: Path, base: Path) -> None:
    """Make the layer out of the minimal and the base image, each mounted somewhere."""
    layer.mkdir(parents=True, exist_ok=True)
    add_image(layer, image, base)
    mend_base(layer, base)
    settle(layer)


def add_image(layer: Path, image: Path, base: Path) -> None:
    """Put into `layer` what `image` has and `base` has not; accounts are added to those of the base."""
    for path in sorted(image.rglob("*")):
        place = path.relative_to(image)
        if place.is_relative_to(STATUS.relative_to("/")):
            continue  # the base image has dpkg's own records
        if place.name == LDCONFIG.name and (base / place).exists():
            continue  # and the real program
        if path.is_dir() and not path.is_symlink():
            if not os.path.lexists(base / place):
                make_folders(layer, image, place)
        elif str(place) in ACCOUNTS:
            make_folders(layer, image, place.parent)
            add_accounts(base / place, path, layer / place)
        elif not same(path, base / place):
            make_folders(layer, image, place.parent)
            shutil.copy2(path, layer / place, follow_symlinks=False)


def mend_base(layer: Path, base: Path) -> None:
    """Put into `layer` the bytecode that the base image lacks, and its programs without the rights of others."""
    for path in base.rglob("*"):
        place = path.relative_to(base)
        if path.is_symlink() or not path.is_file() or (layer / place).exists():
            continue
        if path.stat().st_mode & PRIVILEGED:
            make_folders(layer, base, place.parent)
            shutil.copyfile(path, layer / place)
            (layer / place).chmod(stat.S_IMODE(path.stat().st_mode) & ~PRIVILEGED)
        elif path.suffix == ".py":
            add_bytecode(layer, base, place)


def add_accounts(known: Path, more: Path, target: Path) -> None:
    """Write the accounts or groups of two files into a third, where both have one as the first has it."""
    lines = known.read_text("utf-8").splitlines()
    names = {line.partition(":")[0] for line in lines}
    lines += [line for line in more.read_text("utf-8").splitlines() if line.partition(":")[0] not in names]
    target.write_text("\n".join([*lines, ""]), "utf-8")
    target.chmod(stat.S_IMODE(known.stat().st_mode))


def add_bytecode(layer: Path, base: Path, place: Path) -> None:
    """Put bytecode of one of the base image's files into `layer`, unless the base has what is valid at all times.

    This stage may have compiled it already; what is no Python of this version is left alone.
    """
    compiled = bytecode.cache(place)
    if bytecode.fits(base / compiled, base / place):
        return
    stage = "/" / compiled
    made = stage.read_bytes() if bytecode.fits(stage, base / place) else bytecode.compiled(base / place, "/" / place)
    if made:
        make_folders(layer, base, place.parent)
        (layer / compiled).parent.mkdir(exist_ok=True)
        (layer / compiled).write_bytes(made)


def make_folders(layer: Path, like: Path, place: Path) -> None:
    """Make a folder and those above it in `layer`, with the modes that they have below `like`."""
    for folder in (*reversed(place.parents), place):
        if not (layer / folder).exists():
            (layer / folder).mkdir()
            (layer / folder).chmod(stat.S_IMODE((like / folder).stat().st_mode))


def same(one: Path, other: Path) -> bool:
    """Say whether two paths hold the same file, or are links to the same place."""
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
