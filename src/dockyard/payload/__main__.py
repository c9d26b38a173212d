"""Start what a build stage asks for: `python /dockyard VERB ...`, from any folder, under any mount's name.

Python compiles this module anew at every start, so it holds no more than the way to the others' bytecode.
"""

import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

NAME = "payload"


def load(name: str) -> ModuleType:
    """Import a module of this folder as one of a package, whatever the folder is called."""
    folder = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib takes longer than the rest of this
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
