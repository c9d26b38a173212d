"""Find the application: the module and the object or factory that a server starts (pure)."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dockyard.adopt import code, commands
from dockyard.adopt.existing_stack import web_commands
from dockyard.adopt.frameworks import (
    ADVICE,
    CLASSES,
    METHODS,
    NOT_SHIPPED,
    OWN_SERVERS,
    PLAIN,
    SERVERS_OF,
    STARTS,
)
from dockyard.adopt.model import App, Found, Overrides
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import DockyardError, UsageError

OBJECTS = ("app", "application", "api", "server")
FACTORIES = ("create_app", "make_app", "build_app", "get_app", "create_application", "app_factory", "factory")
ENTRY_MODULES = ("wsgi", "asgi", "main", "app", "application", "api", "server", "run", "__init__")
PROJECT_FILES = ("requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "setup.cfg", "requirements.in")
SAYS = "say which one with --app MODULE:OBJECT or --app 'MODULE:FACTORY()'"


@dataclass(frozen=True)
class Candidate:
    """An application object or factory that a module holds."""

    path: str
    name: str
    framework: str
    interface: str
    required: tuple[str, ...] | None = None
    """The arguments that a factory must be given; None for an object."""


def detect_app(snapshot: Snapshot, overrides: Overrides, names: frozenset[str] = frozenset()) -> Found[App]:
    """Return the application; raise DockyardError where there is none, UsageError where several are as likely.

    `names` are the packages that the project asks for: what it can do without is not what it ships.
    """
    candidates = tuple(_scan(snapshot))
    for said, source, folder in _named(snapshot, overrides):
        if " " in said.partition("(")[0]:  # a command, in place of an application
            return _serving(snapshot, commands.own_program(snapshot, commands.split(said)), source)
        if app := _resolve(snapshot, said, folder, candidates):
            others = tuple(_reference(snapshot, one) for one in candidates)
            return Found(app, source, tuple(other for other in dict.fromkeys(others) if other != app.reference))
        if source == "--app":
            raise UsageError(f"--app {said}: there is no such application in {snapshot.name}", SAYS)
    return _chosen(snapshot, candidates, names)


def _named(snapshot: Snapshot, overrides: Overrides) -> Iterator[tuple[str, str, str]]:
    """Yield what names the application, in the order of trust: the name, the source and the folder of imports."""
    if told := overrides.find("app", snapshot.settings):
        yield told.value, told.source, ""
    for one in web_commands(snapshot):
        if one.app:
            yield one.app, one.source, one.folder
    for file in (".flaskenv", ".env.example"):
        if said := commands.variables(snapshot.text(file)).get("FLASK_APP"):
            yield said, f"FLASK_APP in {file}", ""
    for name, value in code.assignments(snapshot.tree("gunicorn.conf.py")):
        if name == "wsgi_app" and (text := code.text_of(value)):
            yield text, "wsgi_app in gunicorn.conf.py", ""


def _resolve(snapshot: Snapshot, said: str, folder: str, candidates: tuple[Candidate, ...]) -> App | None:
    """Return the application behind `blog`, `blog:create_app`, `app.py` or `src/blog`, or None."""
    module, _, name = said.partition(":")
    path = find_module(snapshot, module.strip(), folder)
    if not path:
        return None
    wanted, bracket, arguments = name.partition("(")
    here = (one for one in candidates if one.path == path and wanted in {"", one.name})
    match = next(here, None) or _imported(snapshot, path, candidates, wanted) or _unexplained(snapshot, path, wanted)
    return _make_app(snapshot, replace(match, path=path), bracket + arguments) if match else None


def _make_app(snapshot: Snapshot, one: Candidate, called: str = "") -> App:
    root, dotted = _location(snapshot, one.path)
    reference = f"{dotted}:{one.name}{called or _call(snapshot, one)}"
    return App(reference, one.framework, one.interface, root)


def _imported(snapshot: Snapshot, path: str, candidates: tuple[Candidate, ...], wanted: str = "") -> Candidate | None:
    """Return the candidate that a module imports, or makes by calling an imported factory: `app = create_app()`."""
    tree = snapshot.tree(path)
    imports = code.imported_names(tree)
    names = {candidate.name: candidate for candidate in reversed(candidates)}
    for name, value in code.assignments(tree):
        if isinstance(value, ast.Call) and (name == wanted or (not wanted and (name in OBJECTS or _is_entry(path)))):
            made = names.get(code.resolved_name(value.func, imports).rpartition(".")[2])
            if made:
                return Candidate(path, name, made.framework, made.interface)
    for name, full in imports.items():
        made = names.get(full.rpartition(".")[2])
        if made and (name == wanted or (not wanted and name in OBJECTS)):
            return replace(made, path=path, name=name)
    return None


def _chosen(snapshot: Snapshot, candidates: tuple[Candidate, ...], names: frozenset[str]) -> Found[App]:
    entries = [
        found
        for path in snapshot.modules
        if _is_entry(path) and not any(one.path == path for one in candidates)
        if (found := _imported(snapshot, path, candidates) or _unexplained(snapshot, path))
    ]
    shipped = {one for one in (*candidates, *entries) if not NOT_SHIPPED.intersection(one.path.split("/")[:-1])}
    if not shipped:
        return _program(snapshot, candidates)
    ranks = {one: _rank(snapshot, one, names) for one in shipped}
    everything = sorted(shipped, key=ranks.__getitem__)
    equal = [one for one in everything if ranks[one][:4] == ranks[everything[0]][:4]]
    # An object that its module does nothing with is there for a test.
    equal = [one for one in equal if re.search(rf"\b{one.name}\.\w", snapshot.text(one.path))] or equal
    if len({one.path for one in equal}) > 1:
        shown = [_reference(snapshot, one) for one in equal[:3]]
        if len(set(shown)) < len(shown):  # of several folders
            shown = [f"{one.path}:{one.name}" for one in equal[:3]]
        raise UsageError(f"{snapshot.name} has more than one application: {' and '.join(shown)}", SAYS)
    best = equal[0]
    kind = "the factory" if best.required is not None else "the object"
    return Found(
        _make_app(snapshot, best),
        f"{kind} {best.name} in {best.path}",
        tuple(dict.fromkeys(_reference(snapshot, one) for one in everything if one != best)),
    )


def _is_entry(path: str) -> bool:
    """Return whether a module is named for servers: wsgi.py, or one of a package of that name."""
    folder, _, name = path.rpartition("/")
    return name in {"wsgi.py", "asgi.py"} or folder.rpartition("/")[2] in {"wsgi", "asgi"}


def _unexplained(snapshot: Snapshot, path: str, wanted: str = "") -> Candidate | None:
    """Return what a module gets from code that no rule explains, by its name, or the one that servers take."""
    made = [name for name, value in code.assignments(snapshot.tree(path)) if isinstance(value, ast.Call)]
    name = wanted or next((name for name in made if name in {"app", "application"}), "")
    word = _importing(snapshot, {full.partition(".")[0] for full in CLASSES})[0]
    framework, interface = next(
        (kind for full, kind in CLASSES.items() if full.startswith(f"{word}.")), ("python", "wsgi")
    )
    if _is_entry(path):
        interface = "asgi" if "asgi" in path else "wsgi"
    return Candidate(path, name, framework, interface, () if name in FACTORIES else None) if name else None


def _rank(snapshot: Snapshot, one: Candidate, names: frozenset[str]) -> tuple[bool, int, int, int, bool, str]:
    """Return how unlikely a candidate is: modules for servers first, then those near the top."""
    modules = {name.partition(".")[0] for name, (framework, _) in CLASSES.items() if framework == one.framework}
    absent = bool(modules and names) and not names & {one.framework, *(name.replace("_", "-") for name in modules)}
    stem = one.path.rpartition("/")[2].removesuffix(".py")
    entry = 0 if stem in {"wsgi", "asgi"} else 1
    # Django writes both: the plain one is what its own documentation deploys first.
    entry += 1 if one.framework == "django" and one.interface == "asgi" else 0
    root, dotted = _location(snapshot, one.path)
    unusual = 0 if stem in ENTRY_MODULES else 1
    return absent, entry, dotted.count(".") + (root not in {"", "src"}), unusual, one.required is not None, one.path


def _program(snapshot: Snapshot, candidates: Sequence[Candidate]) -> Found[App]:
    """Return what the project names to start, where that serves by itself; raise DockyardError where nothing is."""
    for one in web_commands(snapshot):
        program = one.words[0].rpartition("/")[2]
        # A CMD may be a script of the image's own; the production image has no shell for one.
        if program.startswith("python") or (not one.source.startswith("CMD") and "flask" not in one.program):
            return _serving(snapshot, one.words, one.source)
    framework, path = _importing(snapshot, STARTS)
    if framework:
        words = STARTS[framework].format(path=path).split()
        return Found(App("", framework, "program", "", tuple(words)), f"{path}, which imports {framework}")
    raise _nothing(snapshot, candidates)


def _serving(snapshot: Snapshot, words: tuple[str, ...], source: str) -> Found[App]:
    root = "src" if snapshot.has_folder("src") else ""
    return Found(App("", _importing(snapshot, OWN_SERVERS)[0] or "python", "program", root, words), source)


def _nothing(snapshot: Snapshot, candidates: Sequence[Candidate]) -> DockyardError:
    """Return what there is in place of an application, and what would make it one."""
    projects = {path.rpartition("/")[0] for path in snapshot.paths if path.rpartition("/")[2] in PROJECT_FILES}
    projects |= {one.path.rpartition("/")[0] for one in candidates}
    shown = sorted(one for one in projects if one and f"{one}/__init__.py" not in snapshot.paths and "doc" not in one)
    inside = f"; or run it in the folder of one: {', '.join(shown[:3])}" if shown else ""
    if not any(path.endswith(".py") for path in snapshot.paths):
        hint = f"run this in the folder of a Python web service{inside}"
        return DockyardError(f"{snapshot.name} holds no Python file: it is no Python web service", hint)
    framework, path = _importing(snapshot, (*ADVICE, *OWN_SERVERS))
    code.parse(snapshot.text(path))
    if wrong := next((one for one in (path, *snapshot.modules) if snapshot.text(one) in code.broken), ""):
        return DockyardError(
            f"{wrong}{code.broken[snapshot.text(wrong)]}: this Python cannot read where an application may be",
            "mend it; Python 2 is not supported, and of a newer Python than Dockyard's own --app MODULE:OBJECT says it",
        )
    if framework in ADVICE:
        module = _location(snapshot, path)[1]
        return DockyardError(
            f"{snapshot.name} holds no application that a server can take, but {path} imports {framework}",
            f"{ADVICE[framework].format(path=path, module=module)}; or {SAYS}{inside}",
        )
    start = next(iter(commands.console_scripts(snapshot)), f"python {path or 'FILE.py'}")
    serves = f": {path} imports {framework}, which serves by itself" if framework else ""
    return DockyardError(
        f"{snapshot.name} holds no application of a web framework that Dockyard knows{serves}",
        f"where it is a web service, {SAYS}; or, where it serves by itself, how it starts, here or in a file Procfile: "
        f"--app '{start} …', at 0.0.0.0 and $PORT{inside}",
    )


def _importing(snapshot: Snapshot, names: Iterable[str]) -> tuple[str, str]:
    """Return which of some packages the project's code imports, and where, nearest to the top; empty where none."""
    pattern = re.compile(rf"^\s*(?:from|import) ({'|'.join(names)})\b", re.MULTILINE)
    for path in snapshot.modules:
        found = pattern.search(snapshot.text(path))
        if found and not NOT_SHIPPED.intersection(path.split("/")[:-1]):
            return found[1], path
    return "", ""


def _scan(snapshot: Snapshot) -> Iterator[Candidate]:
    known = {**CLASSES, **_subclasses(snapshot)}
    words = {f"{name.rpartition('.')[2]}(" for name in {**known, **SERVERS_OF, **METHODS}}
    for path in snapshot.containing(*words, *(arguments[1] for arguments in PLAIN)):
        tree = snapshot.tree(path)
        imports = code.imported_names(tree)
        for name, value in code.assignments(tree):
            kind = _made(value, imports, known) or _served(tree, value, imports)
            if kind and name.isidentifier():
                yield Candidate(path, name, *kind)
        for function in code.functions(tree):
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            kind = next(filter(None, (_made(call, imports, known) for call in calls)), None)
            plain = PLAIN.get(tuple(one.arg for one in function.args.args))
            if plain and function.name in OBJECTS:
                yield Candidate(path, function.name, *plain)
            elif kind and (function.name in FACTORIES or _returns_app(function, imports, known)):
                # aiohttp's worker calls a coroutine function itself.
                called = kind[1] != "aiohttp" or isinstance(function, ast.FunctionDef)
                yield Candidate(path, function.name, *kind, code.required_arguments(function) if called else None)


def _subclasses(snapshot: Snapshot) -> dict[str, tuple[str, str]]:
    """Return the framework and interface of each class of the project's own that extends a framework's, by name."""
    found: dict[str, tuple[str, str]] = {}
    for path in snapshot.containing(*(f"({name.rpartition('.')[2]})" for name in CLASSES)):
        imports = code.imported_names(snapshot.tree(path))
        for node in snapshot.tree(path).body:
            kinds = (CLASSES.get(code.resolved_name(one, imports)) for one in getattr(node, "bases", ()))
            if isinstance(node, ast.ClassDef) and (kind := next(filter(None, kinds), None)):
                found[node.name] = kind
    return found


def _made(value: ast.expr, imports: dict[str, str], known: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """Return the framework and interface of what a call makes, or None."""
    if not isinstance(value, ast.Call):
        return None
    full = code.resolved_name(value.func, imports)
    kind = known.get(full) or known.get(full.rpartition(".")[2])
    if kind is None and isinstance(value.func, ast.Attribute):
        kind = METHODS.get(value.func.attr)
    # Wrapper(Flask(…))
    return kind or next((kind for inner in value.args if (kind := _made(inner, imports, known))), None)


def _served(tree: ast.Module, value: ast.expr, imports: dict[str, str]) -> tuple[str, str] | None:
    """Return the framework of `app.server`, where `app` is an object that holds the application there."""
    if not (isinstance(value, ast.Attribute) and value.attr == "server"):
        return None
    holder = code.dotted_name(value.value)
    for name, made in code.assignments(tree):
        if name == holder and isinstance(made, ast.Call):
            return SERVERS_OF.get(code.resolved_name(made.func, imports))
    return None


def _returns_app(
    function: ast.FunctionDef | ast.AsyncFunctionDef, imports: dict[str, str], known: Mapping[str, tuple[str, str]]
) -> bool:
    """Return whether a function gives back an application that it makes, or does by Paste's signature."""
    made = {
        code.dotted_name(target)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _made(node.value, imports, known)
        for target in node.targets
    }
    if "app" in function.name:
        made |= set(OBJECTS)
    returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
    paste = code.required_arguments(function) == ("global_config",)
    return paste or any(code.dotted_name(value) in made or _made(value, imports, known) for value in returned)


def _call(snapshot: Snapshot, one: Candidate) -> str:
    """Return how a candidate is written behind its name: nothing, or a call with what the factory must be given."""
    if one.required is None:
        return ""
    if not one.required:
        return "()"
    if one.required == ("global_config",):
        return "({})"  # what Paste gives a factory, which reads its own settings from it
    for path in (one.path, *snapshot.containing('"production"', "'production'")):
        keys = (key for node in code.walk(snapshot.tree(path)) if isinstance(node, ast.Dict) for key in node.keys)
        if len(one.required) == 1 and any(code.text_of(key) == "production" for key in keys):
            return "('production')"
    raise UsageError(
        f"{one.path}: {one.name} must be given {', '.join(one.required)}",
        f"say what production gives it: --app \"{_location(snapshot, one.path)[1]}:{one.name}('…')\"",
    )


def _reference(snapshot: Snapshot, one: Candidate) -> str:
    try:
        return _make_app(snapshot, one).reference
    except UsageError:
        return f"{_location(snapshot, one.path)[1]}:{one.name}(…)"


def _location(snapshot: Snapshot, path: str) -> tuple[str, str]:
    """Return the folder that imports begin at and the module's dotted name: packages are what has an __init__.py."""
    folder, _, name = path.rpartition("/")
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    while folder and f"{folder}/__init__.py" in snapshot.paths:
        folder, _, last = folder.rpartition("/")
        parts.insert(0, last)
    above, _, package = folder.rpartition("/")
    # Django's packages need no __init__.py: their own wsgi.py names the settings from where imports begin.
    if package and re.search(rf"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']{re.escape(package)}\.", snapshot.text(path)):
        return above, ".".join((package, *parts))
    own = any(f"{folder}/{name}" in snapshot.paths for name in PROJECT_FILES)
    if folder and folder != "src" and not own and _namespaced(snapshot, folder):
        return "", ".".join((*folder.split("/"), *parts))
    return folder, ".".join(parts)


def _namespaced(snapshot: Snapshot, folder: str) -> bool:
    """Return whether code imports from a folder without __init__.py by that folder's name."""
    first = folder.partition("/")[0]
    pattern = re.compile(rf"^\s*(?:from|import) {re.escape(first)}[. ]", re.MULTILINE)
    said = (snapshot.text(path) for path in snapshot.containing(f"from {first}", f"import {first}"))
    return any(pattern.search(text) for text in said)


def find_module(snapshot: Snapshot, said: str, folder: str) -> str:
    """Return the file of a module, said as `blog.wsgi`, `app.py` or `src/blog`; empty where there is none."""
    plain = said.strip("./") if "/" in said else said
    stem = plain.removesuffix(".py") if plain.endswith(".py") else plain.replace(".", "/")
    for root in dict.fromkeys((folder, "", "src")):
        base = f"{root}/{stem}" if root else stem
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if path in snapshot.paths:
                return path
    return ""
