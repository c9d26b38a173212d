"""Find how to tell that the service is well: the route that answers, and the tests (pure)."""

import ast
import re
from collections.abc import Iterator, Sequence

from dockyard.adopt import code
from dockyard.adopt.model import Backend, Dependencies, Found, Overrides
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import UsageError

HEALTH = ("/healthz", "/health", "/livez", "/live", "/readyz", "/ready", "/ping", "/up", "/status", "/heartbeat",
          "/api/health", "/api/healthz", "/api/v1/health", "/_health")  # fmt: skip
ROUTERS = {"route", "get", "api_route", "add_url_rule", "Route", "path"}
ROUTED = re.compile(r"(?:route|get|add_url_rule|Route)\(\s*[rf]?['\"][/'\"]|\bpath\(\s*[rf]?['\"]")
"""What a call with a route looks like: most modules call `get` of a dict, and are not worth a tree."""


def detect_health(snapshot: Snapshot, overrides: Overrides, backends: Sequence[Backend] = ()) -> Found[str]:
    """Return the path of a route that answers without a login; empty where only the port can be asked.

    A first page is none where there is a database: the service is well although that is not.
    """
    if told := overrides.find("health", snapshot.settings):
        if not re.fullmatch(r"/[\w./?=&%~-]*", told.value):
            raise UsageError(f"--health {told.value} is no path", "the path of a route begins with /: /healthz")
        return told
    routes = dict(_routes(snapshot))
    known = [path for path in HEALTH if path in routes or f"{path}/" in routes]
    if known:
        path = known[0] if known[0] in routes else f"{known[0]}/"
        return Found(path, f"the route in {routes[path]}", (*known[1:],))
    if "/" in routes and backends:
        return Found("", f"no route for it, and the first page may need {backends[0].kind}", ("/",))
    if "/" in routes:
        return Found("/", f"the route in {routes['/']}")
    return Found("", "no route that surely answers")


def _routes(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield each route without parameters, and where it is."""
    for path in snapshot.containing("route(", "get(", "add_url_rule(", "Route(", "path("):
        django = "urlpatterns" in snapshot.text(path)
        if not ROUTED.search(snapshot.text(path)):
            continue
        tree = snapshot.tree(path)
        prefixes = {name: prefix for name, value in code.assignments(tree) if (prefix := _prefix(value))}
        for node in code.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            owner, _, name = code.dotted_name(node.func).rpartition(".")
            text = code.text_of(node.args[0])
            if text is None or name not in ROUTERS or (name == "path" and not django) or not _answers_get(node):
                continue
            if name == "path":
                if "include" in ast.dump(node):
                    continue
                text = f"/{text}"
            full = prefixes.get(owner, "") + text
            if full.startswith("/") and re.fullmatch(r"[\w./-]+", full):
                yield full, f"{path}:{node.lineno}"


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
    return Found(place or (folders[0] if folders else "."), f"{len(files)} files, {runner}")
