"""Start what a build stage asks for: `python /dockyard VERB ...`, from any folder, under any mount's name."""

import argparse
import os
import sys
from importlib import import_module
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

NAME = "payload"
VENV = Path("/opt/venv")
BYTECODE = "/var/cache/dockyard"
"""Where `library` leaves this program's own bytecode for the steps that follow: what it lies in is read-only."""


def main(arguments: list[str]) -> int:
    """Do what is asked for; return the exit code."""
    options = vars(parser().parse_args(arguments))
    module, function = options.pop("does").split(".")
    getattr(load(module), function)(**options)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line: each verb names the function that does it, and its parameters."""
    whole = argparse.ArgumentParser(prog="python /dockyard")
    verbs = whole.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, does: str, says: str, *paths: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=says, description=says)
        one.set_defaults(does=does)
        for path in paths:
            one.add_argument(path, type=Path)
        return one

    library = verb("library", "layers.compile_library", "compile this Python's own library, for all that runs after it")
    library.add_argument("--program", default=BYTECODE, help="where to leave the bytecode of this program itself")
    runtime = verb("runtime", "layers.make_runtime", "make LAYERS/runtime, and LAYERS/writable where asked", "layers")
    runtime.add_argument("--keep", default="", help="what no scan finds: paths and patterns, with : between them")
    runtime.add_argument(
        "--library", action="store_true", help="Python's own library in LAYERS/library, not with the rest"
    )
    runtime.add_argument("--folder", action="append", default=[], type=Path, help="an empty folder of the image")
    runtime.add_argument("--writable", action="append", default=[], type=Path, help="one for the service's own data")
    select = verb("select", "wheels.select", "say in SOURCES what PLATFORM has to build of the LOCKS", "locks")
    select.add_argument("platform")
    select.add_argument("sources", type=Path)
    wheels = verb("wheels", "wheels.build", "build the wheels of what was selected", "sources", "wheels")
    wheels.add_argument("packages", nargs="*", help="Debian packages that this needs")
    packages = verb("packages", "wheels.add_packages", "install Debian packages")
    packages.add_argument("--compilers", action="store_true", help="compilers and Python's headers too")
    packages.add_argument("packages", nargs="*", help="their names")
    install = verb("install", "install.install_lock", "install a lock, into layers where asked", "lock")
    install.add_argument("--wheels", type=Path, help="the folder of the wheels that were built")
    install.add_argument("--venv", type=Path, default=VENV)
    install.add_argument("--layers", type=Path, help="make LAYERS/1 and so on, each with a part of the packages")
    install.add_argument("--parts", type=int, default=1, help="how many layers that are")
    metadata = verb("metadata", "layers.write_metadata", "give the current folder its project's own metadata")
    metadata.add_argument("name", help="the project's name")
    metadata.add_argument("--version", default="", help="its version")
    metadata.add_argument("--project", type=Path, help="or the file that says it: pyproject.toml, setup.cfg, a module")
    metadata.add_argument("--file", action="append", default=[], type=Path, help="a file to write that holds it")
    verb("application", "layers.make_application", "make a layer of a folder with source code", "layer", "folder")
    verb("slim", "slim.make_slim", "make the layer that a base lacks to serve as an image", "layer", "image", "base")
    return whole


class Loader(SourceFileLoader):
    """Reads a module's bytecode from a folder of its own, where it is of this very source: Python sees to that."""

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code; what it imports from elsewhere has its bytecode beside it, as always."""
        before, sys.pycache_prefix = sys.pycache_prefix, BYTECODE
        try:
            return super().get_code(fullname)
        finally:
            sys.pycache_prefix = before


def load(name: str) -> ModuleType:
    """Import a module of this folder as one of a package, whatever the folder is called."""
    folder = Path(__file__).resolve().parent
    sys.path_importer_cache[str(folder)] = FileFinder(str(folder), (Loader, [".py"]))
    spec = spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    sys.modules[NAME] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    return import_module(f"{NAME}.{name}")


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)  # every build of a changed line waits for this program: Python's own end is a seventh of its time
