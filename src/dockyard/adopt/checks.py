"""Find how to tell that the service is well: the route that answers, and the tests (pure)."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dockyard.adopt import code
from dockyard.adopt.model import Dependencies, Found, Overrides
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import UsageError

HEALTH = ("/healthz", "/health", "/livez", "/live", "/readyz", "/ready", "/ping", "/up", "/status", "/heartbeat",
          "/api/health", "/api/healthz", "/api/v1/health", "/_health")  # fmt: skip
MOUNTERS = ("register_blueprint", "include_router")
PATTERNS = "urlpatterns"
ROUTERS = {"route", "get", "api_route", "add_url_rule", "Route", "path"}
ROUTED = re.compile(r"(?:route|get|add_url_rule|Route)\(\s*[rf]?['\"][/'\"]|\bpath\(\s*[rf]?['\"]")
"""What a call with a route looks like: most modules call `get` of a dict, and are not worth a tree."""


def detect_health(
    snapshot: Snapshot, overrides: Overrides, needed: Sequence[str] = (), framework: str = "django"
) -> Found[str]:
    """Return the path of a route that answers without a login; empty where only the port can be asked.

    A first page is none where there is a database, or one has to be made first: the service is well although that is
    not. `needed` are words for these.
    """
    if told := overrides.find("health", snapshot.settings):
        if not re.fullmatch(r"/[\w./?=&%~-]*", told.value):
            raise UsageError(f"{told.source} {told.value} is no path", "the path of a route begins with /: /healthz")
        return told
    routes = dict(_routes(snapshot, django=framework == "django"))
    known = [path for path in HEALTH if path in routes or f"{path}/" in routes]
    if known:
        path = known[0] if known[0] in routes else f"{known[0]}/"
        return Found(path, f"the route in {routes[path]}", (*known[1:],))
    if "/" in routes and needed:
        return Found("", f"no route for it, and the first page may need {needed[0]}", ("/",))
    if "/" in routes:
        return Found("/", f"the route in {routes['/']}")
    return Found("", "no route that surely answers")


@dataclass(frozen=True)
class Mount:
    """Where a group of routes is hung: `name` in full, the `prefix` it gets, None where code computes that.

    `path` and `owner` say what it is hung at, which may be a group itself.
    """

    name: tuple[str, ...]
    prefix: str | None
    path: str
    owner: str


def _routes(snapshot: Snapshot, *, django: bool) -> Iterator[tuple[str, str]]:
    """Yield each route without parameters, and where it is."""
    mounts = tuple(_mounts(snapshot))
    for path in snapshot.containing("route(", "get(", "add_url_rule(", "Route(", "path("):
        if not ROUTED.search(snapshot.text(path)):
            continue
        tree = snapshot.tree(path)
        prefixes = {name: prefix for name, value in code.assignments(tree) if (prefix := _prefix(value))}
        functions = {function.name for function in code.functions(tree)}  # a group may be made in one
        patterns = django and "urlpatterns" in snapshot.text(path)
        for node in code.calls(tree):
            owner, _, name = code.dotted_name(node.func).rpartition(".")
            text = code.text_of(node.args[0]) if node.args else None
            if text is None or name not in ROUTERS or (name == "path" and not patterns) or not _answers_get(node):
                continue
            if name == "path":
                if "include" in ast.dump(node):
                    continue
                owner, text = PATTERNS, f"/{text}"
            above = _find_prefix(mounts, path, {owner, *functions})
            full = f"{above}{prefixes.get(owner, '')}{text}".replace("//", "/")
            if above is not None and full.startswith("/") and re.fullmatch(r"[\w./-]+", full):
                yield full, f"{path}:{node.lineno}"


def _mounts(snapshot: Snapshot) -> Iterator[Mount]:
    """Yield where the code hangs groups of routes: blueprints, routers, and Django's modules of patterns."""
    for path in snapshot.containing(*MOUNTERS, "include("):
        imports = code.imported_names(snapshot.tree(path))
        for node in code.calls(snapshot.tree(path)):
            owner, _, name = code.dotted_name(node.func).rpartition(".")
            if name in MOUNTERS and node.args:
                group = node.args[0].func if isinstance(node.args[0], ast.Call) else node.args[0]
                said = code.keyword(node, "url_prefix") or code.keyword(node, "prefix")
                parts = (part for part in code.resolved_name(group, imports).split(".") if part)
                yield Mount(tuple(parts), code.text_of(said) if said else "", path, owner)
            elif name == "path" and len(node.args) > 1 and isinstance(node.args[1], ast.Call) and node.args[1].args:
                module = code.text_of(node.args[1].args[0]) or ""
                said_here = code.text_of(node.args[0])
                prefix = None if said_here is None or "<" in said_here else f"/{said_here}"
                yield Mount((*module.split("."), PATTERNS), prefix, path, PATTERNS)


def _find_prefix(mounts: Sequence[Mount], path: str, names: set[str]) -> str | None:
    """Return what stands before the routes of a group that has one of some names; None where that is unknown."""
    parts = set(path.removesuffix(".py").split("/"))
    for mount in mounts:
        if mount.name and mount.name[-1] in names and parts.issuperset(mount.name[:-1]):
            others = [one for one in mounts if one != mount]
            above = _find_prefix(others, mount.path, {mount.owner})
            return None if mount.prefix is None or above is None else above + mount.prefix
    return ""


def _prefix(value: ast.expr) -> str:
    if not isinstance(value, ast.Call):
        return ""
    return next((text for name in ("url_prefix", "prefix") if (text := code.text_of(code.keyword(value, name)))), "")


def _answers_get(node: ast.Call) -> bool:
    methods = code.keyword(node, "methods")
    if not isinstance(methods, ast.List | ast.Tuple | ast.Set):
        return True
    return any((code.text_of(one) or "").upper() == "GET" for one in methods.elts)


def detect_tests(snapshot: Snapshot, dependencies: Dependencies) -> Found[str]:
    """Return where the tests are; empty where there are none."""
    files = [path for path in snapshot.paths if re.search(r"(?:^|/)(?:test_[^/]+|[^/]+_test|tests)\.py$", path)]
    if not files:
        return Found("", "no file that is named like a test")
    folders = sorted({path.split("/")[0] for path in files if "/" in path})
    runner = "pytest" if {"pytest"} & (dependencies.names | dependencies.test_names) else "unittest, run by pytest"
    place = next((name for name in ("tests", "test") if name in folders), "")
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    return Found(place or (folders[0] if folders else "."), f"{count}, {runner}")
