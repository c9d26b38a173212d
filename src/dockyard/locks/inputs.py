# ruff: noqa: PTH123
# Importing pathlib would take a third of the hook's time.
"""Read a purpose's .in file and all that it includes, as pip does; every error names file and line.

What counts in an input or a lock is here too: comments and spacing do not.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dockyard.errors import DockyardError

FOLDER = "requirements"
SUFFIX = ".in"
MEND = "invoke lock"
INCLUDE = re.compile(r"(?:(-[rc])[ \t]*|(--requirement|--constraint)(?:[ \t]*=[ \t]*|[ \t]+))(['\"]?)(.+?)\3$")
PASSWORD = re.compile(r"://(?:[^/@\s]*:)?(?!\$\{\w+\}@)[^/@\s:]+@")
LOCAL = re.compile(r"(?:\.{0,2}/|\.{1,2}$|file:|[^@]*@[ \t]*file:)")
VERSION_CONTROL = re.compile(r"(?:^|@[ \t]*)(?:git|hg|svn|bzr)\+")

COMMENT = re.compile(r"(^|\s+)#.*$")
TOKEN = re.compile(r"===|==|~=|!=|<=|>=|[<>,;()\[\]]|'[^']*'|\"[^\"]*\"|[^\s<>=!~,;()\[\]'\"]+|\S", re.ASCII)
GAP = re.compile(r"[ \t]+")
CONTINUED, JOINED = b" \\\n    --hash=", b" --hash="
ODD = [bytes([code]) for code in (9, 11, 12, 13, 28, 29, 30, 31, 92)]
"""What a lock as Dockyard writes it never holds: other spaces and line ends, and a backslash that joins nothing."""


class Line(NamedTuple):
    """One requirement or option: the number of its first line in the file, from 1, and what it says."""

    number: int
    text: str


class InputError(DockyardError):
    """Something in a requirements file cannot be used: `path` is relative to the project, `line` counts from 1."""

    def __init__(self, path: str, line: int, wrong: str, hint: str) -> None:
        super().__init__(f"{path}:{line}: {wrong}", hint)
        self.path = path
        self.line = line
        self.wrong = wrong


class Problem(NamedTuple):
    """What is wrong with a lock or an input, where (path below the project, line from 1), and what mends it."""

    path: str
    line: int
    message: str
    mend: str = MEND


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


def make_loader(root: str) -> Load:
    """Return a function that reads and parses a file below `root`, each one only once."""
    known: dict[str, Input] = {}

    def load(path: str) -> Input:
        if path not in known:
            known[path] = parse_input(path, _read(root, path))
        return known[path]

    return load


def read_closure(purpose: str, load: Load) -> tuple[Input, ...]:
    """Return the file of a purpose and all that it includes through -r and -c, in the order pip reads them."""
    found: dict[str, Input] = {}
    _visit(f"{FOLDER}/{purpose}{SUFFIX}", (), load, found)
    return tuple(found.values())


def parse_input(path: str, content: bytes) -> Input:
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
        lines.append(Line(number, f"{includes[-1].option} {match[4]}" if match else normalize_spaces(said)))
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


def logical_lines(text: str) -> Iterator[Line]:
    """Yield the lines that pip would act on: joined at backslashes, without comments and blank lines.

    A comment ends a continued line, as it does in pip.
    """
    start, parts = 0, list[str]()
    for number, physical in enumerate(text.splitlines(), 1):
        start = start if parts else number
        comment = COMMENT.match(physical)
        if physical.endswith("\\") and not comment:
            parts.append(physical.strip("\\"))
            continue
        parts.append(f" {physical}" if comment else physical)
        yield from _line(start, parts)
        parts = []
    yield from _line(start, parts)


def _line(number: int, parts: list[str]) -> Iterator[Line]:
    text = COMMENT.sub("", "".join(parts)).strip()
    if text:
        yield Line(number, text)


def normalize_spaces(text: str) -> str:
    """Return a requirement with its spacing made uniform; two that differ in more than spacing stay apart.

    Spaces inside quotes are kept. In options and addresses only the length of a gap is meaningless.
    """
    if text.startswith("-") or any(sign in text for sign in ("@", "://", " --", "\t--")):
        return GAP.sub(" ", text)
    return " ".join(TOKEN.findall(text))


def canonicalize_lock(content: bytes) -> str:
    """Return what counts in a lock: its logical lines with single spaces; raise UnicodeDecodeError."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    return _regular(content) or "\n".join(GAP.sub(" ", line.text) for line in logical_lines(content.decode()))


def _regular(content: bytes) -> str:
    """Return the canonical form of a lock laid out as Dockyard writes it, or nothing; twenty times as fast."""
    joined = content.replace(CONTINUED, JOINED)
    hashes = (len(content) - len(joined)) // (len(CONTINUED) - len(JOINED))
    if not joined.isascii() or any(odd in joined for odd in ODD):
        return ""
    lines = [line for line in map(bytes.strip, joined.split(b"\n")) if line]
    kept = b"\n".join([line for line in lines if line[0] != 35])
    if any(JOINED in line for line in lines if line[0] == 35):  # a comment cannot be continued
        return ""
    plain = kept.count(b" ") == hashes or not (b"  " in kept or b" #" in kept)
    return kept.decode("ascii") if plain else ""
