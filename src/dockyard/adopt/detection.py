"""Detect all that is to be known of a project from a snapshot of it, running none of its code (pure)."""

import re
import shlex
import unicodedata
from dataclasses import replace

from dockyard.adopt.apps import PROJECT_FILES, detect_app, find_module
from dockyard.adopt.checks import detect_health, detect_tests
from dockyard.adopt.commands import Named, is_ours, read_stages
from dockyard.adopt.dependencies import detect_dependencies
from dockyard.adopt.existing_stack import backends_of, read_stack
from dockyard.adopt.frameworks import ENTRY, NOT_SHIPPED, PASTE
from dockyard.adopt.model import App, Found, Overrides, Process, Project
from dockyard.adopt.needs import detect_backends, detect_libraries, detect_variables, detect_writable
from dockyard.adopt.processes import (
    detect_build_steps,
    detect_frontend,
    detect_processes,
    detect_release,
    detect_server,
)
from dockyard.adopt.pythons import detect_python
from dockyard.adopt.snapshot import TESTS, TOOLS, Snapshot, is_invoke_file
from dockyard.adopt.versions import detect_version, read_project_name
from dockyard.errors import DockyardError, UsageError

PORT = 8000
NOT_SOURCES = {"bin", "contrib", "debian", "man", "releasenotes", "requirements", "scripts", "tools", "typings",
               *NOT_SHIPPED}  # fmt: skip
DATA = {"alembic", "alembic.ini", "assets", PASTE, "fixtures", "gunicorn.conf.py", "locale", "locales", "manage.py",
        "migrations", "public", "schema.sql", "static", "templates", "translations"}  # fmt: skip
"""Files and folders that an application reads by a name that its code need not say."""

DOCUMENTS = (".egg-info", ".md", ".rst", "LICENSE", "PKG-INFO")
"""How the names end of what describes a project; its setup may read it."""

TAKEN = {"mariadb", "mysql", "node", "postgres", "postgresql", "python", "redis", "valkey"}
"""Names of images that a stack may hold beside the service's own."""

TEST_SETTINGS = ("conftest.py", "pytest.ini", "setup.cfg", "tox.ini")


def detect(snapshot: Snapshot, overrides: Overrides) -> Project:
    """Return what is detected; raise DockyardError where there is no web service, or several as likely."""
    dependencies = detect_dependencies(snapshot)
    app = detect_app(snapshot, overrides, dependencies.value.names)
    _refuse_other_project(snapshot, app.value)
    entry = write_entry(snapshot, app)
    if entry:
        (path,) = entry
        snapshot = snapshot.with_lines(path, entry[path].splitlines())
        app = replace(detect_app(snapshot, overrides, dependencies.value.names), source=f"{app.source}, by {PASTE}")
    stack = read_stack(snapshot)
    told = overrides.find("port", snapshot.settings)
    port = (
        int(told.value)
        if told and told.value.isdecimal()
        else (stack.port if stack else 0) or Named(app.value.command, "").port or PORT
    )
    server, server_package = detect_server(snapshot, app.value, dependencies.value, port, overrides)
    python = detect_python(snapshot, overrides, dependencies.value)
    backends = detect_backends(snapshot, dependencies.value)
    if stack:
        backends = Found(backends_of(stack, backends.value), stack.file)
    sources = _sources(snapshot, app.value)
    release = detect_release(snapshot, app.value, dependencies.value)
    build = detect_build_steps(snapshot, app.value, dependencies.value)
    production = _django_settings(snapshot, find_module(snapshot, app.value.module, app.value.root))
    if production and not find_module(snapshot, production, app.value.root):
        steps = tuple(step for step in build.value if not step.runs_app)
        build = Found(steps, f"{build.source}; but {production}, Django's settings, are not in the project")
    needed = (*(one.kind for one in backends.value), *(["what the release step makes"] if release.value else []))
    return Project(
        name=snapshot.name,
        image=_image(snapshot, overrides),
        app=app,
        sources=sources,
        dependencies=dependencies,
        server=server,
        server_package=server_package,
        python=python,
        port=port,
        libraries=detect_libraries(snapshot, dependencies.value),
        processes=Found(tuple(Process(name, stack.command(name).words) for name in stack.others), stack.file)
        if stack
        else detect_processes(snapshot, dependencies.value),
        release=release,
        build=build,
        backends=backends,
        variables=detect_variables(snapshot),
        writable=detect_writable(snapshot, app.value, backends.value, overrides),
        health=detect_health(snapshot, overrides, needed, app.value.framework),
        tests=detect_tests(snapshot, dependencies.value),
        test_settings=("pyproject.toml", *(name for name in TEST_SETTINGS if name in snapshot.paths)),
        test_files=tuple(sorted(path for path in snapshot.paths if re.fullmatch(r"test_\w+\.py|\w+_test\.py", path))),
        source_files=frozenset(sources.value) & snapshot.paths,
        frontend=detect_frontend(snapshot),
        version=detect_version(snapshot, app.value, sources.value),
        django_settings=_django_settings(snapshot, "manage.py"),
        entry=entry,
        said={name: one.value for name in ("server", "health") if (one := overrides.find(name, snapshot.settings))},
        django_production=production,
        dockerfile=_dockerfile(snapshot),
        given=stack.environment if stack else None,
    )


def write_entry(snapshot: Snapshot, app: Found[App]) -> dict[str, str]:
    """Return a module, by its path, that gives a factory of Paste's the settings of the project's own ini; or none."""
    module, _, factory = app.value.reference.partition(":")
    path = f"{app.value.root}/wsgi.py".lstrip("/")
    if not factory.endswith("({})") or app.source == "--app" or path in snapshot.paths:
        return {}
    if not re.search(r"^\[app:main\]", snapshot.text(PASTE), re.MULTILINE):
        return {}
    return {path: ENTRY.format(module=module, factory=factory.removesuffix("({})"))}


def _refuse_other_project(snapshot: Snapshot, app: App) -> None:
    """Raise DockyardError where the application is a project of its own inside a larger repository."""
    own = [name for name in PROJECT_FILES if f"{app.root}/{name}" in snapshot.paths]
    if own and not any(name in snapshot.paths for name in PROJECT_FILES):
        raise DockyardError(
            f"{snapshot.name} is no project itself: {app.reference} is one of its own, in {app.root}",
            f"run it there: cd {shlex.quote(app.root)} && dockyard init",
        )


def _dockerfile(snapshot: Snapshot) -> str:
    """Return the file to write: a Dockerfile of the project's own stays, where Dockyard cannot build from it."""
    text = snapshot.text("Dockerfile")
    drivable = any(stage.name == "production" for stage in read_stages(snapshot))
    return "Dockerfile" if not text or drivable or is_ours(text) else "Dockerfile.dockyard"


def _django_settings(snapshot: Snapshot, first: str) -> str:
    """Return the module of Django's settings: the one that a file names, or else any other."""
    said = re.compile(r"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']([\w.]+)")
    paths = (first, *snapshot.containing("DJANGO_SETTINGS_MODULE"))
    return next((found[1] for path in paths if (found := said.search(snapshot.text(path)))), "")


def _image(snapshot: Snapshot, overrides: Overrides) -> Found[str]:
    """Return the image's name: that of the project, or of its folder, in the letters that a name may have."""
    if told := overrides.find("image", snapshot.settings):
        if not re.fullmatch(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*", told.value):
            raise UsageError(f"{told.source} {told.value} is no image name", "lower case letters and digits: shop")
        return told
    named = read_project_name(snapshot)
    said, source = (named, "the project's name") if named else (snapshot.name, "the folder's name")
    letters = unicodedata.normalize("NFKD", str(said)).encode("ascii", "ignore").decode()  # é is e and an accent
    plain = re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")
    if plain in TAKEN:
        return Found(f"{plain}-app", f"{source}, which is another image's")
    return Found(plain or "app", source if plain else "nothing: the name has no letter that an image's may have")


def _sources(snapshot: Snapshot, app: App) -> Found[tuple[str, ...]]:
    """Return the files and folders that the image holds: what is imported, and what is read beside it."""
    root = f"{app.root}/" if app.root else ""
    inside = {path.removeprefix(root) for path in snapshot.paths if path.startswith(root)}
    code = {path: snapshot.text(root + path) for path in inside if path.endswith(".py")}
    entries = sorted({path.partition("/")[0] for path in inside})
    said = "\n".join(text for path, text in code.items() if path.partition("/")[0] not in TESTS | TOOLS | NOT_SOURCES)
    invoke = {"tasks.py"} if is_invoke_file(code.get("tasks.py", "")) else set[str]()
    chosen = [name for name in entries if name not in invoke and _belongs(name, inside, said)]
    # An application in src/ needs of the top its migrations and the like.
    top = {path.partition("/")[0] for path in snapshot.paths} if root else set()
    beside = sorted(top & DATA - {"static", "templates", "public"})
    return Found(
        tuple([root + name for name in chosen] + beside), f"what lies {f'in {app.root}/' if root else 'at the top'}"
    )


def _belongs(name: str, inside: set[str], said: str) -> bool:
    if name in TESTS | TOOLS | NOT_SOURCES or name.startswith(("test_", ".")) or name.endswith(DOCUMENTS):
        return False
    if name in DATA or name.endswith(".py"):
        return True
    if "-" not in name and any(path.startswith(f"{name}/") and path.endswith(".py") for path in inside):
        return True
    if name.endswith((".db", ".sqlite", ".sqlite3", ".log")):
        return False
    return name in said and bool(re.search(rf"['\"/]{re.escape(name)}['\"/]", said))
