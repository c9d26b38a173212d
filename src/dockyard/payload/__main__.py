"""Start what a build stage asks for: `python /dockyard VERB ...`, from any folder, under any mount's name.

Python compiles this module anew at every start, so it holds no more than the way to the others' bytecode.
"""

import os
import sys
from importlib import import_module
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import CodeType, ModuleType

NAME = "payload"
BYTECODE = "/var/cache/dockyard"
"""Where `library` leaves this program's own bytecode for the steps that follow: what it lies in is read-only."""


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
    folder = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib takes longer than the rest of this
    sys.path_importer_cache[folder] = FileFinder(folder, (Loader, [".py"]))
    spec = spec_from_file_location(NAME, f"{folder}/__init__.py", submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    sys.modules[NAME] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    return import_module(f"{NAME}.{name}")


if __name__ == "__main__":
    ended = load("verbs").main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)  # every build of a changed line waits for this program: Python's own end is a seventh of its time
