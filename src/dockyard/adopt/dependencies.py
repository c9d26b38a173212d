"""Find what the project asks for, in whichever of the ecosystem's forms it says so (pure)."""

import ast
import contextlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dockyard.adopt import code
from dockyard.adopt.model import Dependencies, Found
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import SettingsError
from dockyard.locks.inputs import INCLUDE, is_lockable, logical_lines

RUNTIME_FILES = (
    "requirements/base.in", "requirements.in", "requirements.txt",
    "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt", "requirements/common.txt",
    "requirements/main.txt", "requirements/requirements.txt", "requirements-prod.txt",
)  # fmt: skip
TEST_FILES = (
    "requirements-test.txt", "requirements_test.txt", "test-requirements.txt", "requirements/test.txt",
    "requirements/tests.txt", "requirements/testing.txt", "requirements-dev.txt", "requirements_dev.txt",
    "dev-requirements.txt", "requirements/dev.txt", "requirements/development.txt", "requirements/local.txt",
)  # fmt: skip
TEST_GROUPS = ("test", "tests", "testing", "dev", "development")
GUESSED = {"flask": "flask", "fastapi": "fastapi", "django": "django", "quart": "quart", "starlette": "starlette",
           "flask_sqlalchemy": "flask-sqlalchemy", "sqlalchemy": "sqlalchemy", "requests": "requests",
           "redis": "redis", "celery": "celery", "bottle": "bottle", "falcon": "falcon"}  # fmt: skip
EXTRAS = {("psycopg", "c"): "psycopg-c", ("psycopg", "binary"): "psycopg-binary", ("celery", "redis"): "redis",
          ("sqlalchemy", "postgresql"): "psycopg2", ("sqlalchemy", "postgresql-psycopg2binary"): "psycopg2-binary",
          ("sqlalchemy", "postgresql-psycopg"): "psycopg", ("sqlalchemy", "postgresql-psycopgbinary"): "psycopg-binary",
          ("sqlalchemy", "postgresql-asyncpg"): "asyncpg", ("sqlalchemy", "mysql"): "mysqlclient",
          ("sqlalchemy", "pymysql"): "pymysql", ("fastapi", "standard"): "uvicorn",
          ("litestar", "standard"): "uvicorn", ("connexion", "uvicorn"): "uvicorn",
          ("gunicorn", "gevent"): "gevent",
          ("piccolo", "postgres"): "asyncpg", ("tortoise-orm", "asyncpg"): "asyncpg"}  # fmt: skip
"""What an extra brings that says more than the package: a driver, a server, one that is compiled."""

IMPORTED = "what the code imports: no file names its dependencies"
CONDA = ("environment.yml", "environment.yaml", "conda.yaml")
ELSEWHERE = {"git", "path", "url", "file", "editable"}
"""Keys of a package that comes from elsewhere than an index."""

Read = tuple[tuple[str, ...], tuple[str, ...], str]
"""What a form of the ecosystem says: the lines to run with, those to test with, and where they stand."""


def detect_dependencies(snapshot: Snapshot) -> Found[Dependencies]:
    """Return what the project needs to run and to be tested; the versions of an existing lock as constraints."""
    found = next(filter(None, (read(snapshot) for read in READERS)), None)
    if found is None:
        imported = {name for path in snapshot.modules for name in code.imported_packages(snapshot.tree(path))}
        lines = tuple(GUESSED[name] for name in sorted(imported & GUESSED.keys()))
        conda = next((path for path in CONDA if path in snapshot.paths), "")
        more = f", but {conda}, whose packages are conda's: write them into requirements.txt" if conda else ""
        return _complete(snapshot, lines, (), IMPORTED + more)
    lines, tests, source = found
    return _complete(snapshot, lines, tests, source)


def _complete(snapshot: Snapshot, lines: tuple[str, ...], tests: tuple[str, ...], source: str) -> Found[Dependencies]:
    runtime = tuple(_requirements(snapshot, lines))
    names: dict[str, str] = {canonicalize_name(one.name): str(one.specifier) for one in runtime}
    names |= {brought: "" for one in runtime for extra in one.extras
              if (brought := EXTRAS.get((canonicalize_name(one.name), canonicalize_name(extra))))}  # fmt: skip
    test_lines = tests or tuple(f"-r ../{path}" for path in TEST_FILES if path in snapshot.paths)[:1]
    for_tests = frozenset(canonicalize_name(one.name) for one in _requirements(snapshot, test_lines))
    pins, lock = _constraints(snapshot)
    specifiers = names | {name: f"=={version}" for name, version in pins.items() if name in names}
    others = tuple(path for path in RUNTIME_FILES if path in snapshot.paths and f"../{path}" not in " ".join(lines))
    return Found(
        Dependencies(
            _lockable(snapshot, lines),
            _lockable(snapshot, test_lines),
            tuple(f"{name}=={version}" for name, version in sorted(pins.items())),
            frozenset(names),
            for_tests,
            specifiers,
        ),
        source + _left_out(snapshot, lines) + (f", versions as in {lock}" if lock else ""),
        others,
    )


def _from_files(snapshot: Snapshot) -> Read | None:
    path = next((path for path in RUNTIME_FILES if path in snapshot.paths), "")
    return ((f"-r ../{path}",), (), path) if path else None


def _from_poetry(snapshot: Snapshot) -> Read | None:
    document = snapshot.toml("pyproject.toml")
    poetry = document.get("tool", {}).get("poetry", {})
    if "dependencies" not in poetry or "dependencies" in document.get("project", {}):
        return None  # beside a [project] they only say where its packages come from
    groups = {"dev": poetry.get("dev-dependencies", {})}
    groups |= {name: group.get("dependencies", {}) for name, group in poetry.get("group", {}).items()}
    tests = [line for name, group in groups.items() if name in TEST_GROUPS for line in _table_lines(group)]
    return (
        tuple(_table_lines(poetry["dependencies"])),
        tuple(tests),
        f"[tool.poetry] of pyproject.toml{_without(poetry['dependencies'])}",
    )


def _table_lines(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that a table of Poetry's or Pipenv's means; what comes from elsewhere than an index has none."""
    for name, said in table.items():
        for one in said if isinstance(said, list) else [said]:
            entry = one if isinstance(one, dict) else {"version": one}
            if name.lower() == "python" or entry.get("optional") or ELSEWHERE & entry.keys():
                continue
            extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
            marker = f"; {entry['markers']}" if entry.get("markers") else ""
            yield f"{name}{extras}{poetry_versions(str(entry.get('version', '*')))}{marker}"


def poetry_versions(said: str) -> str:
    """Return Poetry's `^1.2`, `~1.2`, `1.2` and `*` as a version specifier of PEP 440."""
    return ",".join(filter(None, (_poetry_version(part.strip()) for part in said.split(","))))


def _poetry_version(said: str) -> str:
    if said in {"", "*"}:
        return ""
    if not re.match(r"[\^~]=?\d", said) or said.startswith("~="):
        return said if said[0] in "<>=!~" else f"=={said}"
    numbers = [int(number) for number in re.findall(r"\d+", said.lstrip("^~="))][:3]
    if said[0] == "~":
        at = min(1, len(numbers) - 1)
    else:
        at = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    limit = [*numbers[:at], numbers[at] + 1]
    return f">={said.lstrip('^~=')},<{'.'.join(map(str, limit))}"


def _from_project(snapshot: Snapshot) -> Read | None:
    document = snapshot.toml("pyproject.toml")
    tool = document.get("tool", {})
    flit = tool.get("flit", {}).get("metadata", {})
    project = document.get("project", {})
    dependencies = project.get("dependencies", flit.get("requires", _dynamic(tool)))
    if dependencies is None:
        return None
    extras = project.get("optional-dependencies", flit.get("requires-extra", {}))
    groups = document.get("dependency-groups", {})
    pdm = tool.get("pdm", {}).get("dev-dependencies", {})
    poetry = tool.get("poetry", {}).get("group", {})
    wanted = [name for name in TEST_GROUPS if name in {*groups, *extras, *pdm, *poetry}]
    tests = [
        *(line for name in wanted for line in extras.get(name, ())),
        *(line for name in wanted for line in _group(groups, name, frozenset())),
        *(line for name in wanted for line in pdm.get(name, ()) if is_lockable(line)),
        *(line for name in wanted for line in _table_lines(poetry.get(name, {}).get("dependencies", {}))),
    ]
    named = [name for name in ("prod", "production", "server", "deploy") if name in extras]
    lines = (*dependencies, *(line for name in named for line in extras[name]))
    with_extras = f" with extra {', '.join(named)}" if named else ""
    own = canonicalize_name(project.get("name", ""))
    return (
        tuple(lines),
        tuple(line for line in dict.fromkeys(tests) if canonicalize_name(re.split(r"[\[ ;<>=]", line)[0]) != own),
        f"{'[project] of ' if 'dependencies' in project else ''}pyproject.toml{with_extras}",
    )


def _dynamic(tool: Mapping[str, Any]) -> list[str] | None:
    """Return lines that refer to the files which a build of the package reads its dependencies from."""
    said = tool.get("setuptools", {}).get("dynamic", {}).get("dependencies", {})
    said = said.get("file") if isinstance(said, dict) else None
    said = said or tool.get("hatch", {}).get("metadata", {}).get("hooks", {}).get("requirements_txt", {}).get("files")
    return [f"-r ../{path}" for path in ([said] if isinstance(said, str) else said)] if said else None


def _group(groups: Mapping[str, Any], name: str, above: frozenset[str]) -> Iterator[str]:
    """Yield the lines of a group of PEP 735 and of those that it includes."""
    for line in groups.get(name, ()):
        if isinstance(line, str):
            yield line
        elif isinstance(line, dict) and line.get("include-group") not in above | {None, name}:
            yield from _group(groups, line["include-group"], above | {name})


def _from_pipenv(snapshot: Snapshot) -> Read | None:
    if "Pipfile" not in snapshot.paths:
        return None
    pipfile = snapshot.toml("Pipfile")
    return (
        tuple(_table_lines(pipfile.get("packages", {}))),
        tuple(_table_lines(pipfile.get("dev-packages", {}))),
        f"Pipfile{_without(pipfile.get('packages', {}))}",
    )


def _without(table: Mapping[str, Any]) -> str:
    """Return what is said of packages that come from elsewhere than an index: no lock has a hash of them."""
    return _say_left(name for name, said in table.items() if isinstance(said, dict) and ELSEWHERE & said.keys())


def _say_left(names: Iterable[str]) -> str:
    left = ", ".join(names)
    return f", without {left}, which no index has: put its wheel onto one" if left else ""


def _from_setup_cfg(snapshot: Snapshot) -> Read | None:
    parser = snapshot.read_setup_cfg()
    said = parser.get("options", "install_requires", fallback="")
    extras = parser["options.extras_require"] if parser.has_section("options.extras_require") else {}
    tests = [line for name in TEST_GROUPS if name in extras for line in _lines(extras[name])]
    return (tuple(_lines(said)), tuple(tests), "setup.cfg") if said.strip() else None


def _from_setup_py(snapshot: Snapshot) -> Read | None:
    tree = snapshot.tree("setup.py")
    values = dict(code.assignments(tree))
    for call in code.calls(tree):
        said = code.keyword(call, "install_requires")
        if said is None:
            continue
        # A setup that computes them mostly reads them from a file that it names.
        files = (text for text, _ in code.texts(tree) if text.endswith((".txt", ".in")) and text in snapshot.paths)
        lines = _listed(said, values) or tuple(f"-r ../{path}" for path in dict.fromkeys(files))[:1]
        tests = _listed(code.keyword(call, "tests_require"), values)
        return (lines, tests, "install_requires in setup.py") if lines else None
    return None


def _listed(value: ast.expr | None, values: Mapping[str, ast.expr]) -> tuple[str, ...]:
    """Return the texts of a list: one by its name, or the sum of two, too; none where it is computed otherwise."""
    if isinstance(value, ast.Name):
        return _listed(values.get(value.id), {name: one for name, one in values.items() if name != value.id})
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return (*_listed(value.left, values), *_listed(value.right, values))
    if isinstance(value, ast.List | ast.Tuple):
        return tuple(filter(None, map(code.text_of, value.elts)))
    return ()


READERS = (_from_files, _from_poetry, _from_project, _from_pipenv, _from_setup_cfg, _from_setup_py)


def _constraints(snapshot: Snapshot) -> tuple[dict[str, str], str]:
    """Return the versions that an existing lock holds, by canonical name, and the lock."""
    for lock in ("uv.lock", "poetry.lock", "pdm.lock"):
        packages = snapshot.toml(lock).get("package", ())
        pins: dict[str, str] = {}
        for one in packages:
            local = {"editable", "virtual", "directory"} & set(one.get("source", {}))
            if "version" in one and not local:
                name = canonicalize_name(one["name"])
                pins[name] = "" if name in pins and pins[name] != one["version"] else one["version"]
        if pins:
            # A package with two versions has markers in its lock: only the compiler can choose between them.
            return {name: version for name, version in pins.items() if version}, lock
    if "Pipfile.lock" in snapshot.paths:
        try:
            document = json.loads(snapshot.text("Pipfile.lock"))
        except ValueError as error:
            raise SettingsError(f"Pipfile.lock: not valid JSON: {error}", "make it anew with pipenv lock") from None
        both = {**document.get("develop", {}), **document.get("default", {})}
        return {
            canonicalize_name(name): one["version"].removeprefix("==")
            for name, one in both.items() if "version" in one
        }, "Pipfile.lock"  # fmt: skip
    if "requirements.in" in snapshot.paths and "requirements.txt" in snapshot.paths:
        pinned = list(_requirements(snapshot, ("-r ../requirements.txt",)))
        return {
            canonicalize_name(one.name): str(one.specifier)[2:]
            for one in pinned if str(one.specifier).startswith("==")
        }, "requirements.txt"  # fmt: skip
    return {}, ""


def _lockable(snapshot: Snapshot, lines: Iterable[str]) -> tuple[str, ...]:
    """Return the lines as they are; a file that holds what no lock can hold gives its own lines without that."""
    kept: list[str] = []
    for line in lines:
        path = line.removeprefix("-r ../")
        said = tuple(_expand(snapshot, (line,))) if line.startswith("-r ") else ()
        if any("--hash=" in one or not (INCLUDE.match(one) or is_lockable(one)) for one in said):
            folder = path.rpartition("/")[0]
            limits = f"-c ../{folder}/" if folder else "-c ../"
            options = [one for one in _lines(snapshot.text(path)) if one.startswith("-")]
            options = [one for one in options if is_lockable(one) or one.startswith(("-c", "--constraint"))]
            kept += [re.sub(r"^(-c|--constraint)[= ]\s*", limits, one) for one in options]
            kept += map(str, _requirements(snapshot, (line,)))
        else:
            kept.append(line)
    return tuple(kept)


def _expand(
    snapshot: Snapshot, lines: Iterable[str], folder: str = "requirements", above: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Yield lines of a file of requirements in a folder, and behind one that includes another file those of that."""
    for line in lines:
        yield line
        if (include := INCLUDE.match(line)) and (include[1] or include[2]).startswith(("-r", "--r")):
            path = posixpath.normpath(posixpath.join(folder, include[4]))
            if path not in above:
                yield from _expand(snapshot, _lines(snapshot.text(path)), posixpath.dirname(path), above | {path})


def _left_out(snapshot: Snapshot, lines: Iterable[str]) -> str:
    """Return what is said of the lines of files that no lock can hold."""
    sources = re.compile(r"(?:-e|--editable)?\s*\.(?:\[.*\])?")  # those of the project itself are in the image
    said = _expand(snapshot, (line for line in lines if line.startswith("-r ")))
    asked = (_without_options(one) for one in said if one.startswith(("-e", "--editable")) or not one.startswith("-"))
    return _say_left(one for one in asked if not is_lockable(one) and not sources.fullmatch(one))


def _requirements(snapshot: Snapshot, lines: Iterable[str]) -> Iterator[Requirement]:
    """Yield what lines ask for, and the files that they include; what cannot be read is left out."""
    for line in _expand(snapshot, lines):
        bare = _without_options(line)
        if is_lockable(bare):
            with contextlib.suppress(InvalidRequirement):
                yield Requirement(bare)


def _without_options(line: str) -> str:
    """Return a requirement without what stands behind it, such as hashes."""
    return re.split(r"\s+--?\w", line, maxsplit=1)[0]


def _lines(text: str) -> Iterator[str]:
    return (line.text for line in logical_lines(text))
