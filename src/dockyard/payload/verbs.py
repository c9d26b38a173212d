"""What build stages may ask for: each verb is a function that reads its command line, and says what does the work."""

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

VENV = Path("/opt/venv")


def library(_verb: ArgumentParser) -> str:
    """Compile this Python's own library, and this program, for all that runs after it."""
    return "layers.compile_library"


def runtime(verb: ArgumentParser) -> str:
    """Make LAYERS/runtime, and LAYERS/writable where asked."""
    verb.add_argument("layers", type=Path)
    verb.add_argument("--keep", default="", help="what no scan finds: paths and patterns, with : between them")
    verb.add_argument(
        "--library", action="store_true", help="Python's own library in LAYERS/library, not with the rest"
    )
    verb.add_argument("--folder", action="append", default=[], type=Path, help="an empty folder of the image")
    verb.add_argument("--writable", action="append", default=[], type=Path, help="one for the service's own data")
    return "layers.make_runtime"


def select(verb: ArgumentParser) -> str:
    """Say in SOURCES what PLATFORM has to build of the LOCKS."""
    verb.add_argument("locks", type=Path)
    verb.add_argument("platform")
    verb.add_argument("sources", type=Path)
    return "wheels.select"


def wheels(verb: ArgumentParser) -> str:
    """Build the wheels of what was selected."""
    verb.add_argument("sources", type=Path)
    verb.add_argument("wheels", type=Path)
    verb.add_argument("packages", nargs="*", help="Debian packages that this needs")
    return "wheels.build"


def packages(verb: ArgumentParser) -> str:
    """Install Debian packages."""
    verb.add_argument("--compilers", action="store_true", help="compilers and Python's headers too")
    verb.add_argument("packages", nargs="*", help="their names")
    return "wheels.add_packages"


def install(verb: ArgumentParser) -> str:
    """Install a lock, into layers where asked."""
    verb.add_argument("lock", type=Path)
    verb.add_argument("--wheels", type=Path, help="the folder of the wheels that were built")
    verb.add_argument("--venv", type=Path, default=VENV)
    verb.add_argument("--layers", type=Path, help="make LAYERS/1 and so on, each with a part of the packages")
    verb.add_argument("--parts", type=int, default=1, help="how many layers that are")
    return "install.install_lock"


def metadata(verb: ArgumentParser) -> str:
    """Give the current folder its project's own metadata."""
    verb.add_argument("name", help="the project's name")
    verb.add_argument("--version", default="", help="its version")
    verb.add_argument("--project", type=Path, help="or the file that says it: pyproject.toml, setup.cfg, a module")
    verb.add_argument("--file", action="append", default=[], type=Path, help="a file to write that holds it")
    return "layers.write_metadata"


def application(verb: ArgumentParser) -> str:
    """Make a layer of a folder with source code."""
    verb.add_argument("layer", type=Path)
    verb.add_argument("folder", type=Path)
    return "layers.make_application"


def slim(verb: ArgumentParser) -> str:
    """Make the layer that a base lacks to serve as an image."""
    verb.add_argument("layer", type=Path)
    verb.add_argument("image", type=Path)
    verb.add_argument("base", type=Path)
    return "slim.make_slim"


VERBS = {
    verb.__name__: verb for verb in (library, runtime, select, wheels, packages, install, metadata, application, slim)
}


def parser(asked: str) -> ArgumentParser:
    """Return what reads the command line of one verb, or where there is none of this name, of them all.

    Every build of a changed line waits for it, and to make them all takes longer than to compile the line.
    """
    whole = ArgumentParser(prog="python /dockyard")
    verbs = whole.add_subparsers(metavar="VERB", required=True)
    for name in [asked] if asked in VERBS else VERBS:
        says = str(VERBS[name].__doc__)
        one = verbs.add_parser(name, help=says, description=says)
        one.set_defaults(does=VERBS[name](one))
    return whole


def main(arguments: list[str]) -> int:
    """Do what is asked for; return the exit code."""
    options = vars(parser(*arguments[:1] or [""]).parse_args(arguments))
    module, function = options.pop("does").split(".")
    getattr(import_module(f".{module}", __package__), function)(**options)
    return 0
