# ruff: noqa: PTH123
# Importing pathlib would take a third of the hook's time.
"""Read a purpose's .in file and all that it includes; every error names file and line."""

import posixpath
import re
from collections.abc import Callable
from typing import NamedTuple

from dockyard.errors import DockyardError
from dockyard.locks.lines import GAP, Line, logical_lines, spaced

FOLDER = "requirements"
SUFFIX = ".in"
INCLUDE = re.compile(r"(?:(-[rc])[ \t]*|(--requirement|--constraint)(?:[ \t]*=[ \t]*|[ \t]+))(['\"]?)(.+?)\3$")
PASSWORD = re.compile(r"://(?:[^/@\s]*:)?(?!\$\{\w+\}@)[^/@\s:]+@")
LOCAL = re.compile(r"(?:\.{0,2}/|\.{1,2}$|file:|[^@]*@[ \t]*file:)")
VERSION_CONTROL = re.compile(r"(?:^|@[ \t]*)(?:git|hg|svn|bzr)\+")


class InputError(DockyardError):
    """Something in a requirements file cannot be used: `path` is relative to the project, `line` counts from 1."""

    def __init__(self, path: str, line: int, wrong: str, hint: str) -> None:
        super().__init__(f"{path}:{line}: {wrong}", hint)
        self.path = path
        self.line = line
        self.wrong = wrong


class Include(NamedTuple):
    """A line that names another file: `option` is -r or -c, `path` is relative to the project."""

    line: int
    option: str
    path: str


class Input(NamedTuple):
    """One requirements file: what its lines mean, which files it includes, and its text for the compiler."""

    path: str
    lines: tuple[Line, ...]
    includes: tuple[Include, ...]
    text: str


Load = Callable[[str], Input]


def loader(root: str) -> Load:
    """Return a function that reads and parses a file below `root`, each one only once."""
    known: dict[str, Input] = {}

    def load(path: str) -> Input:
        if path not in known:
            known[path] = parse(path, _read(root, path))
        return known[path]

    return load


def closure(purpose: str, load: Load) -> tuple[Input, ...]:
    """Return the file of a purpose and all that it includes through -r and -c, in the order pip reads them."""
    found: dict[str, Input] = {}
    _visit(f"{FOLDER}/{purpose}{SUFFIX}", (), load, found)
    return tuple(found.values())


def parse(path: str, content: bytes) -> Input:
    """Return a requirements file from its bytes; raise InputError for what no lock can hold."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            path, line, f"byte {content[error.start]:#04x} is not UTF-8", "save the file as UTF-8"
        ) from None
    lines, includes = list[Line](), list[Include]()
    for number, said in logical_lines(text):
        match = INCLUDE.match(said)
        if match:
            includes.append(_include(path, number, match))
        else:
            _refuse(path, number, said)
        lines.append(Line(number, f"{includes[-1].option} {match[4]}" if match else spaced(said)))
    if not lines:
        raise InputError(path, 1, "asks for nothing", "name a package in it, or delete it")
    return Input(path, tuple(lines), tuple(includes), text)


def _visit(path: str, trail: tuple[Include, ...], load: Load, found: dict[str, Input]) -> None:
    try:
        found[path] = current = load(path)
    except FileNotFoundError:
        raise _missing(path, trail) from None
    for include in current.includes:
        above = {step.path for step in trail} | {path}
        if include.path in above:
            names = " -> ".join([*_ring(path, trail, include.path), include.path])
            raise InputError(
                path, include.line, f"the files include one another: {names}", "take one of these lines out"
            )
        if include.path not in found:
            _visit(include.path, (*trail, Include(include.line, include.option, path)), load, found)


def _ring(path: str, trail: tuple[Include, ...], back: str) -> list[str]:
    names = [*(step.path for step in trail), path]
    return names[names.index(back) :]


def _missing(path: str, trail: tuple[Include, ...]) -> InputError:
    if not trail:
        return InputError(path, 1, "there is no such file", "write it, or restore it from version control")
    last = trail[-1]
    return InputError(
        last.path, last.line, f"{last.option} {path}: there is no such file", "correct the name, or write the file"
    )


def _include(path: str, number: int, match: re.Match[str]) -> Include:
    option = (match[1] or match[2]).lstrip("-")[0]
    target = match[4]
    if "://" in target:
        raise InputError(
            path,
            number,
            f"{GAP.sub(' ', match[0])}: what is behind an address can change unseen",
            "keep a copy of it in the project",
        )
    if target.startswith("/"):
        raise InputError(path, number, f"-{option} {target}: is an absolute path", "name it relative to this file")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if place.startswith("../"):
        raise InputError(
            path, number, f"-{option} {target}: is outside the project", "keep a copy of it in the project"
        )
    return Include(number, f"-{option}", place)


def _refuse(path: str, number: int, said: str) -> None:
    if PASSWORD.search(said):
        raise InputError(
            path,
            number,
            "a user name or password does not belong in this file",
            "keep it in ~/.netrc, or write ${NAME} and set NAME in the environment",
        )
    if re.match(r"-e\b|--editable\b", said) or LOCAL.match(said):
        raise InputError(
            path, number, f"{said}: a folder or local file has no hash to lock", "list what it needs instead"
        )
    if VERSION_CONTROL.search(said):
        raise InputError(
            path,
            number,
            f"{said}: a checkout has no hash to lock",
            "name a release, or the address of an archive of that commit",
        )


def _read(root: str, path: str) -> bytes:
    try:
        with open(f"{root}/{path}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(path, 1, f"cannot be read: {error.strerror}", "check what it is and who may read it") from None
