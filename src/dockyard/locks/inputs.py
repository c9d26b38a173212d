"""Read a purpose's .in file and all that it includes, as pip does; every error names file and line.

What counts in an input or a lock is here too: comments and spacing do not.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dockyard.errors import DockyardError

FOLDER = "requirements"
SUFFIX = ".in"
INCLUDE = re.compile(r"(?:(-[rc])[ \t]*|(--requirement|--constraint)(?:[ \t]*=[ \t]*|[ \t]+))(['\"]?)(.+?)\3$")
PASSWORD = re.compile(r"://(?:[^/@\s]*:)?(?!\$\{\w+\}@)[^/@\s:]+@")
VERSION_CONTROL = re.compile(r"(?:^|@[ \t]*)(?:git|hg|svn|bzr)\+")
ARCHIVE = re.compile(r"\.(?:whl|zip|t[gbxl]z|tar(?:\.(?:gz|bz2|xz|lz|lzma))?)$")
PER_LINE = re.compile(r"(?:^|\s)(-\S*)")
SHA256 = re.compile(r"--hash[= ](sha256:[0-9a-f]{64})(?=\s|$)")
SOURCES = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links")
"""The options that say where packages come from."""

VALUED = (*SOURCES, "--trusted-host", "--no-binary", "--only-binary", "--all-releases", "--only-final")
FLAGS = ("--pre", "--prefer-binary", "--no-index")
"""The options that a lock repeats, with a value and without one; docs/reference/locks.md has a row for every option."""

FOLDER_HINT = (
    "a container that compiles cannot see it, and would take a public package of that name: name a release, "
    "the address of an archive, or an index that serves the file, such as `python -m http.server`"
)

COMMENT = re.compile(r"(^|\s+)#.*$")
TOKEN = re.compile(r"===|==|~=|!=|<=|>=|[<>,;()\[\]]|'[^']*'|\"[^\"]*\"|[^\s<>=!~,;()\[\]'\"]+|\S", re.ASCII)
GAP = re.compile("  +")


class Line(NamedTuple):
    """One requirement or option: the number of its first line in the file, from 1, and what it says."""

    number: int
    text: str


class Problem(NamedTuple):
    """What is wrong with a lock or an input, where (path below the project, line from 1), and what mends it."""

    path: str
    line: int
    message: str
    mend: str = "invoke lock"


class InputError(DockyardError):
    """A problem with a requirements file that ends the run."""

    def __init__(self, path: str, line: int, wrong: str, hint: str) -> None:
        super().__init__(f"{path}:{line}: {wrong}", hint)
        self.problem = Problem(path, line, wrong, hint)


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


def read_closure(root: Path, purpose: str, known: dict[str, Input]) -> tuple[Input, ...]:
    """Return the file of a purpose and all that it includes through -r and -c, in the order pip reads them.

    `known` holds what was read for others before, and gets what is read now.
    """
    found: dict[str, Input] = {}

    def visit(path: str, above: tuple[str, ...], asker: str, line: int, said: str = "") -> None:
        try:
            known[path] = found[path] = known.get(path) or parse_input(path, (root / path).read_bytes())
        except FileNotFoundError:
            hint = "correct the name, or write the file"
            raise InputError(asker, line, f"{said}there is no such file", hint) from None
        except OSError as error:
            hint = "check what it is and who may read it"
            raise InputError(path, 1, f"cannot be read: {error.strerror}", hint) from None
        names = (*above, path)
        for include in found[path].includes:
            if include.path in names:
                ring = " -> ".join([*names[names.index(include.path) :], include.path])
                wrong = f"the files include one another: {ring}"
                raise InputError(path, include.line, wrong, "take one of these lines out")
            if include.path not in found:
                visit(include.path, names, path, include.line, f"{include.option} {include.path}: ")

    start = f"{FOLDER}/{purpose}{SUFFIX}"
    visit(start, (), start, 1)
    return tuple(found.values())


def parse_input(path: str, content: bytes) -> Input:
    """Return a requirements file from its bytes; raise InputError for a line that no lock can hold."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, wrong = content.count(b"\n", 0, error.start) + 1, f"byte {content[error.start]:#04x} is not UTF-8"
        raise InputError(path, line, wrong, "save the file as UTF-8") from None
    lines, includes = list[Line](), list[Include]()
    for number, said in logical_lines(text):
        match = INCLUDE.match(said)
        if match:
            includes.append(_include(path, number, match))
        else:
            # What a line names is told before who may read it.
            wrong, hint = _explain_unlockable(said)
            if not wrong and PASSWORD.search(said):
                wrong = "a user name or password does not belong in this file"
                hint = "keep it in ~/.netrc, or write ${NAME} and set NAME in the environment"
            if wrong:
                shown = wrong if "ssh://" in said else PASSWORD.sub("://***@", wrong)
                raise InputError(path, number, shown, hint)
        lines.append(Line(number, f"{includes[-1].option} {match[4]}" if match else normalize_spaces(said)))
    if not lines:
        raise InputError(path, 1, "asks for nothing", "name a package in it, or delete it")
    return Input(path, tuple(lines), tuple(includes), text)


def _include(path: str, number: int, match: re.Match[str]) -> Include:
    option, target = "-" + (match[1] or match[2]).lstrip("-")[0], match[4]
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if "://" in target:
        wrong = f"{match[0]}: what is behind an address can change unseen"
        raise InputError(path, number, wrong, "keep a copy of it in the project")
    if place.startswith(("/", "../")):
        hint = "keep a copy of it in the project, and name it relative to this file"
        raise InputError(path, number, f"{option} {target}: is outside the project", hint)
    return Include(number, option, place)


def read_options(said: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a line with their values, as pip splits them; one without a value has an empty one."""
    words = said.split()
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name[:2] in ("-i", "-f", "-e") and len(name) > 2 and name[1] != "-":
            name, value = name[:2], name[2:] + equals + value
        elif not equals and name not in FLAGS and words:
            value = words.pop(0)
        yield name, value.strip("'\"")


def is_lockable(said: str) -> bool:
    """Tell whether a lock can hold what a line asks for, or obey its option."""
    return not _explain_unlockable(said)[0]


def _explain_unlockable(said: str) -> tuple[str, str]:
    """Return what is wrong with a line that no lock can hold, and what to do; nothing where one can."""
    return _wrong_option(said) if said.startswith("-") else _wrong_requirement(said)


def _wrong_option(said: str) -> tuple[str, str]:
    for name, value in read_options(said):
        if name in ("-e", "--editable"):
            return f"{said}: a folder has no hash to lock", FOLDER_HINT
        if name in ("--require-hashes", "--no-require-hashes"):
            return f"{name}: every lock has hashes, and every installation asks for them", "take the line out"
        if name not in (*VALUED, *FLAGS):
            return f"{name}: no such option can stand in a lock", "leave it out, or set it in [tool.dockyard]"
        if name in VALUED and not value:
            return f"{name}: its value is missing", "write it behind the option"
        if name in SOURCES and not re.match(r"https?://|\$\{", value):
            return f"{said}: an index or a folder of files on this machine", FOLDER_HINT
    return "", ""


def _wrong_requirement(said: str) -> tuple[str, str]:
    option = PER_LINE.search(said)
    named, words = (said[: option.start()].strip(), said[option.start() :]) if option else (said, "")
    if VERSION_CONTROL.search(named):
        hint = "name a release, or the address of an archive of that commit"
        return f"{said}: a checkout has no hash to lock", hint
    address = re.match(r"[\w.-]+\s*(?:\[.*\]\s*)?@(.*)", named)
    place = (address[1] if address else named).partition(";")[0].strip()
    plain = re.sub(r"\[[^\]]*\]$", "", place).lower()
    local = address or "/" in plain or plain.startswith(".") or ARCHIVE.search(plain)
    if local and not re.match(r"https?://|\$\{", place):
        return f"{said}: a folder or local file has no hash to lock", FOLDER_HINT
    left = SHA256.sub("", words).strip()
    if left.startswith("--hash"):
        return f"{said}: only sha256 can be compared with what an index states", "write --hash=sha256: and 64 digits"
    if left:
        hint = "take it out, or name the address of a wheel that was built so"
        return f"{left.split()[0]}: no lock can hold this option of one package", hint
    return "", ""


def logical_lines(text: str) -> Iterator[Line]:
    """Yield the lines that pip would act on: joined at backslashes, without comments and blank lines.

    A comment ends a continued line, as it does in pip.
    """
    start, parts = 0, list[str]()
    for number, physical in enumerate([*text.splitlines(), ""], 1):
        start = start if parts else number
        comment = physical.lstrip().startswith("#")
        if comment and not parts:
            continue
        if physical.endswith("\\") and not comment:
            parts.append(physical.strip("\\"))
            continue
        parts.append(f" {physical}" if comment else physical)
        said = "".join(parts)
        if said := (COMMENT.sub("", said) if "#" in said else said).strip():
            yield Line(start, said)
        parts = []


def normalize_spaces(text: str) -> str:
    """Return a requirement with its spacing made uniform; two that differ in more than spacing stay apart.

    Spaces inside quotes are kept. In options and addresses only the length of a gap is meaningless.
    """
    if text.startswith("-") or any(sign in text for sign in ("@", "://", " --", "\t--")):
        return GAP.sub(" ", text.replace("\t", " "))
    return " ".join(TOKEN.findall(text))


def canonicalize_lock(content: bytes) -> str:
    """Return what counts in a lock: its logical lines with single spaces."""
    text = content.decode("utf-8-sig", "replace").replace("\t", " ")
    joined = text.replace(" \\\n    --hash=", " --hash=")
    # Most lines of a lock are hashes: joined at once, unless a comment would swallow one.
    if "\\" not in joined and not re.search(r"#.*\\\n", text):
        text = joined
    return "\n".join(GAP.sub(" ", line.text) for line in logical_lines(text))
