"""Find what the code asks about its own version, which outside of an image an installation or git answers (pure)."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from dockyard.adopt import code
from dockyard.adopt.model import App, Found, Version
from dockyard.adopt.snapshot import Snapshot

METADATA = {
    f"{module}.{name}"
    for module in ("importlib.metadata", "importlib_metadata")
    for name in ("version", "metadata", "distribution")
} | {"pkg_resources.get_distribution", "pkg_resources.require", "pbr.version.VersionInfo"}
SCM = {"setuptools_scm": "SETUPTOOLS_SCM_PRETEND_VERSION"}
STARTERS = ("subprocess.", "os.popen", "os.system", "asyncio.create_subprocess")
ASKS_GIT = re.compile(r"\bgit\b.*\b(?:describe|rev-parse|rev-list|log|show)\b", re.DOTALL)
WRITTEN = re.compile(r"\b(?:version_file|write_to|versionfile_source)[\"']?\s*[=:]\s*[\"']?([\w./-]+)")
ASSIGNED = re.compile(r"^\w*version\w*\s*(?::[^=\n]*)?=\s*(?:\w+\s*=\s*)*['\"]\d", re.MULTILINE | re.IGNORECASE)
"""An assignment that `python /dockyard metadata` reads too."""

ARGUMENT = "PROJECT_VERSION"
"""The build argument that `dockyard build` gives a Dockerfile that asks for it."""


def detect_version(snapshot: Snapshot, app: App, sources: tuple[str, ...]) -> Found[Version]:
    """Return what the code asks about the project's own version, and what can say it."""
    written = _written(snapshot)
    inside = [path for path in snapshot.modules if path.startswith(sources) and path not in written]
    files = tuple(path for path in written if path.startswith(tuple(f"{one}/" for one in sources)))
    name, asked = next(_asked(snapshot, app, inside), ("", ""))
    name = name or ((read_project_name(snapshot) or snapshot.name) if files else "")
    asks = [path for path in inside if any(module in snapshot.text(path) for module in SCM)]
    variables = [SCM[name] for path in asks for name in SCM if name in code.imported_packages(snapshot.tree(path))]
    git = tuple(_git_calls(snapshot, inside))
    if git:
        variables.append(ARGUMENT)
    told = [asked, *(f"{path}, which a build of the package writes" for path in files), *(where for where, _ in git)]
    return Found(
        Version(
            name,
            _said_in(snapshot) if name else "",
            files,
            tuple(dict.fromkeys(variables)),
            next((where for where, guarded in git if not guarded), ""),
        ),
        "; ".join(filter(None, told)) or ("the code asks setuptools_scm" if variables else "nothing asks for it"),
    )


def read_project_name(snapshot: Snapshot) -> str:
    """Return what the project calls itself in its own files; empty where none says it."""
    document = snapshot.toml("pyproject.toml")
    said = document.get("project", {}).get("name") or document.get("tool", {}).get("poetry", {}).get("name")
    said = said or snapshot.read_setup_cfg().get("metadata", "name", fallback="") or _setup_py(snapshot, "name")
    return said if isinstance(said, str) else ""


def _said_in(snapshot: Snapshot) -> str:
    """Return the file that says the version by itself; empty where a tool takes it from git."""
    document = snapshot.toml("pyproject.toml")
    tool = document.get("tool", {})
    if "version" in document.get("project", {}):
        return "pyproject.toml"
    if "version" in tool.get("poetry", {}) and "poetry-dynamic-versioning" not in tool:
        return "pyproject.toml"
    said = snapshot.read_setup_cfg().get("metadata", "version", fallback="")
    if said and not said.startswith(("attr:", "file:")):
        return "setup.cfg"
    attribute = tool.get("setuptools", {}).get("dynamic", {}).get("version", {})
    dotted = attribute.get("attr", "") if isinstance(attribute, dict) else ""
    dotted = dotted or said.removeprefix("attr:").strip()
    module = dotted.rpartition(".")[0].replace(".", "/")
    hatch = tool.get("hatch", {}).get("version", {})
    named = [hatch.get("path", "")] if isinstance(hatch, dict) and hatch.get("source") != "vcs" else []
    named += [f"{root}{module}{end}" for root in ("", "src/") for end in ("/__init__.py", ".py")] if module else []
    return next((path for path in named if ASSIGNED.search(snapshot.text(path))), "")


def _setup_py(snapshot: Snapshot, key: str) -> str:
    calls = code.calls(snapshot.tree("setup.py"))
    return next((said for call in calls if (said := code.text_of(code.keyword(call, key)))), "")


def _written(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the files that a build of the package writes its version into."""
    tool: dict[str, Any] = snapshot.toml("pyproject.toml").get("tool", {})
    hooks = tool.get("hatch", {}).get("build", {}).get("hooks", {})
    tables = (tool.get("setuptools_scm"), tool.get("versioneer"), tool.get("pdm", {}).get("version"), hooks.get("vcs"))
    keys = ("version_file", "write_to", "versionfile_source", "version-file")
    found = [table[key] for table in tables if isinstance(table, dict) for key in keys if key in table]
    found += WRITTEN.findall(snapshot.text("setup.cfg") + "\n" + snapshot.text("setup.py"))
    return tuple(dict.fromkeys(path for path in found if isinstance(path, str)))


def _asked(snapshot: Snapshot, app: App, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the name under which the code asks for its own metadata, and where.

    Metadata under another package's name would hide that package's own: only what is surely the project counts.
    """
    own = read_project_name(snapshot)
    root = f"{app.root}/" if app.root else ""
    told = re.compile(rf"['\"]{re.escape(own)}['\"]", re.IGNORECASE)
    for path in paths:
        if not any(word in snapshot.text(path) for word in ("metadata", "pkg_resources", "pbr.version")):
            continue
        tree = snapshot.tree(path)
        imports = code.imported_names(tree)
        constants = {name: code.text_of(value) for name, value in code.assignments(tree)}
        package = path.removeprefix(root).partition("/")[0].removesuffix(".py")
        for node in code.calls(tree):
            if not node.args or code.resolved_name(node.func, imports) not in METADATA:
                continue
            names = {part.id for part in ast.walk(node.args[0]) if isinstance(part, ast.Name)}
            said = code.text_of(node.args[0]) or next(filter(None, map(constants.get, names)), None)
            said = package if {"__package__", "__name__"} & names else said
            # A function of its own that is told the name, somewhere.
            if not said and own and any(told.search(snapshot.text(one)) for one in paths):
                said = own
            if said and canonicalize_name(said) in {canonicalize_name(own or package), canonicalize_name(package)}:
                yield own if canonicalize_name(own) == canonicalize_name(said) else said, f"{path}:{node.lineno}"


def _git_calls(snapshot: Snapshot, paths: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield where git is started, and whether the code goes on without it."""
    for path in paths:
        if "git" not in snapshot.text(path) or not re.search(r"\bgit\b", snapshot.text(path)):
            continue
        tree = snapshot.tree(path)
        imports = code.imported_names(tree)
        for node in code.calls(tree):
            starts = code.resolved_name(node.func, imports).startswith(STARTERS)
            if starts and ASKS_GIT.search(" ".join(text for text, _ in code.texts(node))):
                yield f"{path}:{node.lineno}", id(node) in code.guarded(tree)
