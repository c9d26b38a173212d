"""Find what runs: the server, other processes, what is done before a release and while the image is built (pure)."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace

from packaging.specifiers import SpecifierSet

from dockyard.adopt import code, commands
from dockyard.adopt.commands import SERVERS, Named
from dockyard.adopt.existing_stack import web_commands
from dockyard.adopt.model import App, BuildStep, Dependencies, Found, Frontend, Overrides, Process
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import UsageError

WEB = (".js", ".cjs", ".mjs", ".ts", ".tsx", ".jsx", ".vue", ".svelte", ".css", ".scss", "tsconfig.json")
OUTPUT = re.compile(r"[\"' =](?:\.{1,2}/)*((?:[\w-]+/)*(?:dist|build|static/[\w-]+(?:/[\w-]+)*))/?[\"' ]")
"""A path that a build writes to, by the names that are usual."""
WORKERS = {"asgi": "uvicorn.workers.UvicornWorker", "aiohttp": "aiohttp.GunicornWebWorker"}
USABLE = {"asgi": ("uvicorn", "granian", "hypercorn", "gunicorn"), "aiohttp": ("gunicorn",)}
NEWEST_GUNICORN = "27.0"
"""The version that a lock gets where nothing is asked of it; since 25.1 it opens a control socket in HOME."""


def detect_server(
    snapshot: Snapshot, app: App, dependencies: Dependencies, port: int, overrides: Overrides
) -> tuple[Found[tuple[str, ...]], str]:
    """Return the command of the web process, and the package to add for it; empty where the project has it."""
    if app.command:
        filled = tuple(re.sub(r"\$\{?PORT(?::-\d+)?\}?", str(port), word) for word in app.command)
        return Found(filled, "its own command"), ""
    if app.framework == "connexion" and not SpecifierSet(dependencies.specifiers.get("connexion", "")).contains("3.99"):
        app = replace(app, interface="wsgi")  # before its version 3 all of its apps were
    command = next((one for one in web_commands(snapshot) if one.server), None)
    options: tuple[str, ...] = ()
    told = overrides.find("server", snapshot.settings)
    if told:
        program, source = "waitress-serve" if told.value == "waitress" else told.value, told.source
        if program not in SERVERS:
            raise UsageError(f"{told.source} {told.value} is none that Dockyard knows", f"known: {', '.join(SERVERS)}")
    elif command:
        program, source, options = command.server, command.source, command.options
    else:
        usable = USABLE.get(app.interface, tuple(SERVERS))
        present = [name for name in usable if SERVERS[name].package in dependencies.names]
        # A development server of an ASGI framework comes as a dependency of its own, so it counts for ASGI alone.
        program = next(iter(present), "uvicorn" if app.interface == "asgi" else "gunicorn")
        kind = app.framework if app.interface == "aiohttp" else app.interface.upper()
        source = "the dependencies" if present else f"nothing: the usual one for {kind}"
    if app.is_factory and not app.reference.endswith("()") and program != "gunicorn" and not told:
        program, source, options = "gunicorn", f"the factory's argument, which {program} cannot give", ()
    if program == "gunicorn" and "flask-socketio" in dependencies.names and not options:
        options = ("--threads", "100")  # each of its clients holds one, all of one process
    others = tuple(name for name in SERVERS if name != program and SERVERS[name].package in dependencies.names)
    words = _command(program, app, port, dependencies, options)
    package = "" if SERVERS[program].package in dependencies.names else SERVERS[program].package
    return Found(words, source, others), package


def _command(
    program: str, app: App, port: int, dependencies: Dependencies, options: tuple[str, ...]
) -> tuple[str, ...]:
    server = SERVERS[program]
    words = server.listen.format(port=port).split()
    if program == "gunicorn":
        # Nothing reads its control socket.
        newer = SpecifierSet(dependencies.specifiers.get("gunicorn", "")).contains(NEWEST_GUNICORN)
        words += ["--no-control-socket"] if newer else []
        own = {"-k", "--worker-class"} & {option.partition("=")[0] for option in options}
        words += ["--worker-class", WORKERS[app.interface]] if app.interface in WORKERS and not own else []
    elif program == "granian" or (program == "uvicorn" and app.interface == "wsgi"):
        words += ["--interface", app.interface]
    if server.factory and app.reference.endswith("()"):
        words.append(server.factory)
    reference = app.reference.removesuffix("()") if server.factory else app.reference
    return (program, *words, *options, reference)


def detect_processes(snapshot: Snapshot, dependencies: Dependencies) -> Found[tuple[Process, ...]]:
    """Return the processes that run beside the web one."""
    named = commands.procfile(snapshot)
    found = [Process(name, one.words) for name, one in named.items() if name not in {"web", "release"} and one.words]
    if found:
        return Found(tuple(found), "Procfile")
    if "celery" in dependencies.names:
        for path, name in _celery_apps(snapshot):
            module = path.removesuffix(".py").removeprefix("src/").removesuffix("/__init__").replace("/", ".")
            command = ("celery", "--app", f"{module}:{name}", "worker", "--loglevel", "INFO")
            return Found((Process("worker", command),), f"{name} in {path}")
    if "rq" in dependencies.names:
        return Found((Process("worker", ("rq", "worker")),), "rq among the dependencies")
    return Found((), "no Procfile, no task queue")


def _celery_apps(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for path in snapshot.containing("Celery("):
        tree = snapshot.tree(path)
        imports = code.imported_names(tree)
        for name, value in code.assignments(tree):
            if isinstance(value, ast.Call) and code.resolved_name(value.func, imports) == "celery.Celery":
                yield path, name


def detect_release(snapshot: Snapshot, app: App, dependencies: Dependencies) -> Found[tuple[str, ...]]:
    """Return the command that brings the database up to date before a version starts; empty where there is none."""
    said: Named | None = commands.procfile(snapshot).get("release")
    if said and said.words:
        return Found(said.words, "`release` in Procfile")
    if app.framework == "django":
        program = commands.django_program(snapshot.paths, app.root)
        return Found((*program, "migrate", "--no-input"), program[-1])
    named = (path.rpartition("/")[0] for path in snapshot.paths if path.endswith("migrations/env.py"))
    folder = min(named, key=lambda path: (path.count("/"), path), default="")
    folder = folder or ("migrations" if snapshot.has_folder("migrations") else "")
    if "flask-migrate" in dependencies.names and folder and app.reference:
        inside = folder.removeprefix(f"{app.root}/")
        where = () if inside == "migrations" else ("--directory", inside)
        return Found(("flask", "--app", app.reference, "db", "upgrade", *where), f"Flask-Migrate and {folder}/")
    if "alembic.ini" in snapshot.paths and "alembic" in dependencies.names:
        return Found(("alembic", "upgrade", "head"), "alembic.ini")
    return Found((), "no migrations")


def detect_build_steps(snapshot: Snapshot, app: App, dependencies: Dependencies) -> Found[tuple[BuildStep, ...]]:
    """Return what is made of the sources when the image is built."""
    steps, sources = [], []
    root = f"{app.root}/" if app.root else ""
    catalogues = sorted({_locales(path) for path in snapshot.paths if path.endswith(".po")} - {""})
    if catalogues and {"flask-babel", "babel"} & dependencies.names:
        steps += [BuildStep(f"pybabel compile --directory {folder.removeprefix(root)}") for folder in catalogues]
        sources.append(catalogues[0])
    if "flask-static-digest" in dependencies.names:
        steps.append(BuildStep(f"flask --app '{app.reference}' digest compile", runs_app=True))
        sources.append("Flask-Static-Digest")
    setting = re.compile(r"^STATIC_ROOT\s*=", re.MULTILINE)
    collected = next((path for path in snapshot.containing("STATIC_ROOT") if setting.search(snapshot.text(path))), "")
    collects = any(True for _ in snapshot.containing("django.contrib.staticfiles"))
    if app.framework == "django" and collects and collected:
        program = commands.django_program(snapshot.paths, app.root)
        steps.append(BuildStep(f"{' '.join(program)} collectstatic --no-input", runs_app=True))
        sources.append(f"STATIC_ROOT in {collected}")
    return Found(tuple(steps), ", ".join(sources) or "nothing that has to be made")


def detect_frontend(snapshot: Snapshot) -> Frontend | None:
    """Return the front end that `npm run build` makes, or None where package.json has no such script."""
    try:
        script = str(json.loads(snapshot.text("package.json") or "{}").get("scripts", {}).get("build", ""))
    except (ValueError, AttributeError):
        return None
    if not script:
        return None
    files = {path.partition("/")[0] for path in snapshot.paths if path.endswith(WEB) or path.startswith("package")}
    folders = {name for name in files if snapshot.has_folder(name) and name not in {"static", "templates", "docs"}}
    inputs = sorted(folders | {name for name in files & snapshot.paths if name != "README.md"})
    texts = [script, *(text for path, text in sorted(snapshot.texts.items()) if path.endswith(WEB))]
    found = (match for text in texts for match in OUTPUT.finditer(text))
    return Frontend(tuple(inputs), next((match[1] for match in found), "dist"))


def _locales(path: str) -> str:
    """Return the folder of the catalogues that a .po file is one of: `x/translations/de/LC_MESSAGES/messages.po`."""
    parts = path.split("/")
    return "/".join(parts[:-3]) if len(parts) > 3 and parts[-2] == "LC_MESSAGES" else ""
