"""Compile Python files to bytecode that is the same wherever, whenever and beside whatever else it is made."""

import marshal
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import CodeType

UNCHECKED = (1).to_bytes(4, "little")
"""Flags of PEP 552: valid by the source's hash, which nobody compares at a start."""

CHECKED = (3).to_bytes(4, "little")
"""Flags of the same: valid by the source's hash, which is compared at each start."""

FEW = 20
"""Files that one process compiles in less time than several take to start."""


def compile_folder(folder: Path, *, at: Path | None = None, keep: bool = False, workers: int = 0) -> None:
    """Compile all below a folder, which will lie `at` another place; `keep` leaves bytecode that fits.

    What is no Python source of this version, as templates of packages are, stays without: who runs the image is told
    by `invoke verify`, and a build ends for none of it.
    """
    places = [(path, (at or folder) / path.relative_to(folder)) for path in python_files(folder)]
    compile_files(places if not keep else [place for place in places if not fits(cache(place[0]), place[0])], workers)


def compile_files(places: Sequence[tuple[Path, Path]], workers: int = 0) -> None:
    """Compile files, each with the path that tracebacks will show, in several processes where there are many."""
    workers = workers or len(os.sched_getaffinity(0))
    share(places, lambda place: compile_file(*place), workers if len(places) > FEW else 1)


def compile_file(source: Path, named: Path) -> None:
    """Write the bytecode of one file beside it, where it is Python source of this version."""
    made = compiled(source, named)
    if made:
        cache(source).parent.mkdir(exist_ok=True)
        cache(source).write_bytes(made)


def write_checked(source: Path) -> None:
    """Write bytecode beside a source that may come to be another one: it is then as if it were not there."""
    cache(source).parent.mkdir(exist_ok=True)
    cache(source).write_bytes(MAGIC_NUMBER + CHECKED + compiled(source, source)[8:])


def compiled(source: Path, named: Path) -> bytes:
    """Return the bytecode of a file, with the path that tracebacks will show; nothing where it cannot be compiled."""
    try:
        text = source.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for who writes the code, and tools show them there
            return MAGIC_NUMBER + UNCHECKED + source_hash(text) + encode(text, str(named))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        sys.stderr.write(f"without bytecode: {named}: {type(error).__name__}: {error}\n")
        return b""


def encode(text: bytes, named: str) -> bytes:
    """Return the code of a source as `marshal` writes it, whatever else this process has compiled or imported.

    All code of a process shares its names. Which of a module's constants are one object, and which objects have several
    references, and so are marked, would follow from the names that are there already.
    """
    code = compile(text, named, "exec", dont_inherit=True)
    try:
        # Version 2 knows no shared objects: all are apart then, but names.
        settled = marshal.loads(marshal.dumps(code, 2))  # noqa: S302 - our own
    except ValueError:  # from 3.14 on, code has slices, and version 2 has not
        settled = compile(text, named, "exec", dont_inherit=True)  # all its names are there now, those of `code`
    held = referred(settled)
    written = marshal.dumps(settled)
    del code, held  # until here: each object has one reference more than its own
    return written


def referred(code: CodeType) -> list[object]:
    """Return all that code refers to and that other code of the process may refer to as well."""
    found: list[object] = []
    left: list[object] = [code]
    while left:
        value = left.pop()
        found.append(value)
        if isinstance(value, CodeType):
            left += (value.co_consts, value.co_filename, value.co_name, value.co_qualname)
            left += (*value.co_names, *value.co_varnames, *value.co_cellvars, *value.co_freevars)
        elif isinstance(value, tuple | frozenset):
            left += value
        elif isinstance(value, slice):
            left += (value.start, value.stop, value.step)
    return found


def share(items: Sequence[object], work: Callable[..., None], workers: int) -> None:
    """Do work for every item in processes of their own; end where one of them does."""
    if workers < 2:
        for item in items:
            work(item)
        return
    sys.stderr.flush()
    children = []
    for number in range(workers):
        child = os.fork()
        if not child:
            code = 1
            try:
                for item in items[number::workers]:
                    work(item)
                sys.stderr.flush()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    if any([os.waitpid(child, 0)[1] for child in children]):  # noqa: C419 - all of them are waited for
        raise SystemExit("a process that compiles ended early: the lines above say why")


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the source files below a folder."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".py"))


def cache(source: Path) -> Path:
    """Return where the bytecode of a file lies."""
    return Path(cache_from_source(str(source)))


def fits(path: Path, source: Path) -> bool:
    """Say whether a file is this Python's bytecode of a source, and valid at all times."""
    try:
        with path.open("rb") as file:
            return file.read(16) == MAGIC_NUMBER + UNCHECKED + source_hash(source.read_bytes())
    except OSError:
        return False
