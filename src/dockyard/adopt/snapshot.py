"""Read a repository once, bounded, without running any of it: the paths, and the texts that say something."""

import ast
import codecs
import configparser
import contextlib
import functools
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dockyard.adopt import code
from dockyard.errors import DockyardError, SettingsError

SKIPPED = {
    "__pycache__", "bower_components", "build", "dist", "env", "htmlcov", "node_modules", "site-packages", "venv",
}  # fmt: skip
"""Folders that hold what was made or installed, never what a person wrote; those that begin with a dot too."""

HIDDEN = {".flaskenv", ".env.example", ".env.sample", ".env.template", ".python-version", ".tool-versions",
          ".dockerignore", ".gitignore", ".pre-commit-config.yaml"}  # fmt: skip
NAMES = {"Aptfile", "Dockerfile", "Pipfile", "Pipfile.lock", "Procfile", "alembic.ini", "babel.cfg", "manage.py",
         "package.json", "pdm.lock", "poetry.lock", "production.ini", "pyproject.toml", "pytest.ini", "runtime.txt",
         "setup.cfg", "setup.py", "tox.ini", "uv.lock"}  # fmt: skip
TESTS = {"test", "tests", "testing"}
LARGEST = 4_000_000
"""Bytes of the largest text that is read: a lock of a large project has about two million."""
LARGEST_MODULE = 400_000
MODULES = 3_000
"""How many Python files are read, those nearest to the top first."""
DEPTH = 12


SHAPES: Mapping[str, tuple[type, type]] = {
    **dict.fromkeys(("project", "tool", "tool.dockyard", "tool.pdm", "tool.poetry", "tool.setuptools"), (dict, object)),
    **dict.fromkeys(("tool.poetry.dependencies", "tool.poetry.dev-dependencies"), (dict, object)),
    **dict.fromkeys(("tool.setuptools.dynamic", "packages", "dev-packages"), (dict, object)),
    **dict.fromkeys(("tool.hatch", "tool.poetry.group"), (dict, dict)),
    **dict.fromkeys(("project.optional-dependencies", "dependency-groups", "tool.pdm.dev-dependencies"), (dict, list)),
    **dict.fromkeys(("project.name", "project.requires-python", "tool.poetry.name"), (str, object)),
    "project.dependencies": (list, str),
    "package": (list, dict),
}
"""What must be of which kind in a TOML file that is read, and what it must hold; a table stands before those in it."""

WORDS: Mapping[type, str] = {dict: "table", list: "list", str: "text"}


@dataclass(frozen=True)
class Snapshot:
    """A repository at one moment: `paths` are its files, relative, with /; `texts` holds those that were read.

    Line ends are one character in every text, whatever they are on disk.
    """

    name: str
    paths: frozenset[str]
    texts: Mapping[str, str]

    def text(self, path: str) -> str:
        """Return a file's text; empty where it is absent or was not read."""
        return self.texts.get(path, "")

    def has_folder(self, folder: str) -> bool:
        """Return whether there is a file in a folder."""
        return any(path.startswith(f"{folder}/") for path in self.paths)

    def toml(self, path: str) -> dict[str, Any]:
        """Return a TOML file's content, empty where it is absent; raise SettingsError where it is broken."""
        try:
            document = _parse_toml(self.text(path))
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: not valid TOML: {error}", "mend it, then run this again") from None
        for name, (kind, inner) in SHAPES.items():
            value = functools.reduce(lambda table, key: table.get(key, {}), name.split("."), document) or kind()
            if not isinstance(value, kind) or not all(isinstance(one, inner) for one in _values(value)):
                words = f"a {WORDS[kind]}" + (f" of {WORDS[inner]}s" if inner is not object else "")
                raise SettingsError(f"{path}: {name} must be {words}", "mend it, then run this again")
        return document

    def read_setup_cfg(self) -> configparser.ConfigParser:
        """Return what setup.cfg says, nothing where it is absent; raise SettingsError where it is broken."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(self.text("setup.cfg"))
        except configparser.Error as error:
            raise SettingsError(f"setup.cfg: cannot be read: {error}", "mend it, then run this again") from None
        return parser

    def with_lines(self, path: str, lines: Sequence[str]) -> "Snapshot":
        """Return what the repository would be with these lines at the end of a file."""
        if not lines:
            return self
        text = "\n".join([*self.text(path).splitlines(), *lines]) + "\n"
        return replace(self, paths=self.paths | {path}, texts={**self.texts, path: text})

    @property
    def settings(self) -> dict[str, Any]:
        """The table [tool.dockyard], which keeps what `dockyard init` was once told; empty where there is none."""
        table = self.toml("pyproject.toml").get("tool", {}).get("dockyard", {})
        return dict(table)

    @functools.cached_property
    def modules(self) -> tuple[str, ...]:
        """The Python files that were read and are no tests, those nearest to the top first."""
        found = (path for path in self.texts if path.endswith(".py") and not is_test(path))
        found = (path for path in found if path != "tasks.py" or not is_invoke_file(self.texts[path]))
        return tuple(sorted(found, key=lambda path: (path.count("/"), path)))

    def tree(self, path: str) -> ast.Module:
        """Return a Python file's syntax tree; an empty one where this Python cannot read it."""
        return code.parse(self.text(path))

    def containing(self, *words: str) -> Iterator[str]:
        """Yield the modules whose text holds one of some words: only these are worth parsing."""
        for path in self.modules:
            if any(word in self.texts[path] for word in words):
                yield path


def _values(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


_parse_toml = functools.cache(tomllib.loads)


def is_test(path: str) -> bool:
    """Return whether a Python file belongs to the tests or to the tools, by its name (pure)."""
    name = path.rsplit("/", 1)[-1]
    folders = set(path.split("/")[:-1])
    return bool(folders & TESTS) or name.startswith("test_") or name.endswith("_test.py") or name in TOOLS


def is_invoke_file(text: str) -> bool:
    """Return whether a tasks.py is Invoke's: Celery's tasks often lie in a file of that name too (pure)."""
    return "invoke" in text or "dockyard" in text


TOOLS = {"conftest.py", "noxfile.py", "setup.py", "fabfile.py", "tests.py", "hatch_build.py"}


def read_snapshot(root: Path) -> Snapshot:
    """Read the repository at `root`; raise DockyardError where it is no folder."""
    if not root.is_dir():
        raise DockyardError(f"{root} is not a folder", "name the folder of the project")
    paths = frozenset(_walk(root, "", 0))
    modules = sorted((path for path in paths if path.endswith(".py")), key=lambda path: (path.count("/"), path))
    wanted = [*filter(_is_wanted, paths), *modules[:MODULES]]
    texts = {path: text for path in wanted if (text := _read(root, path)) is not None}
    return Snapshot(root.resolve().name, paths, texts)


def _walk(root: Path, folder: str, depth: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(root / folder if folder else root))
    except OSError:
        return  # a folder that may not be read says nothing
    if any(entry.name == "pyvenv.cfg" for entry in entries) and folder:
        return
    for entry in entries:
        name = entry.name
        if not name.isprintable():  # also what is no UTF-8: it cannot be written into a Dockerfile
            continue
        path = f"{folder}/{name}" if folder else name
        if entry.is_dir(follow_symlinks=False):
            if name not in SKIPPED and not name.startswith(".") and depth < DEPTH:
                yield from _walk(root, path, depth + 1)
        elif (not name.startswith(".") or name in HIDDEN) and _is_file(entry):
            yield path


def _is_file(entry: "os.DirEntry[str]") -> bool:
    with contextlib.suppress(OSError):  # a link to where nobody may look
        return entry.is_file()
    return False


def _is_wanted(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if name in NAMES or name in HIDDEN:
        return folder.count("/") < 2
    if name.endswith((".txt", ".in")):
        return not folder or "requirement" in path or "constraint" in name
    if name.endswith((".config.js", ".config.ts", ".config.mjs", "build.mjs", "build.js")):
        return folder.count("/") < 2
    return name.startswith(("compose.", "docker-compose.")) and not folder


def _read(root: Path, path: str) -> str | None:
    limit = LARGEST_MODULE if path.endswith(".py") else LARGEST
    try:
        file = root / path
        if file.stat().st_size > limit:
            return None
        content = file.read_bytes()
        # What PowerShell writes with `>`; pip reads it too.
        encoding = "utf-16" if content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig"
        return content.decode(encoding, "replace").replace("\r\n", "\n")
    except OSError:
        return None
