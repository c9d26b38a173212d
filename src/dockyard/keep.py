"""Add to the minimal image what no scan of the base image shows to be needed; runs in a build stage.

    python -m dockyard.keep LAYER PATTERNS      # paths with : between them; *, ? and ** stand for others

A plugin or library that is opened by name comes with the libraries that it is linked to, Python files with bytecode.
"""

import argparse
import shutil
import sys
from pathlib import Path

from dockyard.rootfs import (
    compile_bytecode,
    compile_files,
    copy,
    inside,
    is_elf,
    libraries,
    record_packages,
    resolve_parents,
    settle,
)


def main(arguments: list[str]) -> int:
    """Add to a layer; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("layer", type=Path)
    parser.add_argument("patterns")
    options = parser.parse_args(arguments)
    add(options.layer, [path for pattern in options.patterns.split(":") if pattern for path in matches(pattern)])
    settle(options.layer)
    return 0


def matches(pattern: str) -> list[Path]:
    """Return what a pattern means in the base image; end the build where that is nothing."""
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    if not found:
        raise SystemExit(
            f"keep: nothing in the base image matches {pattern}\n"
            "correct it in [tool.dockyard], or install the Debian package that holds it in the base stage"
        )
    return found


def add(layer: Path, paths: list[Path]) -> None:
    """Copy files and folders with all that they need into `layer`."""
    for path in paths:
        copy(path, layer)
    objects = [found for path in paths for found in (path, *path.rglob("*")) if is_elf(found)]
    for found in libraries(objects):
        copy(found, layer)
    for path in (inside(layer, resolve_parents(path)) for path in paths):
        if path.is_dir():
            for cache in [*path.rglob("__pycache__")]:
                shutil.rmtree(cache)
            compile_bytecode(path, layer, strict=False)
        elif path.suffix == ".py":
            compile_files([path], layer, quiet=2)
    record_packages(layer)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
