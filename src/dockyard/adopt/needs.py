"""Find what the service needs around it: other services, configuration, folders that it writes (pure)."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dockyard.adopt import code, commands, uses
from dockyard.adopt.model import App, Backend, Dependencies, Found, Libraries, Overrides, Variable, Writable
from dockyard.adopt.snapshot import Snapshot

DRIVERS = {
    "postgres": ("psycopg", "psycopg2", "psycopg2-binary", "psycopg-binary", "psycopg-c", "asyncpg", "pg8000"),
    "mariadb": ("mysqlclient", "pymysql", "mysql-connector-python", "aiomysql", "asyncmy", "mariadb"),
    "valkey": ("redis", "valkey", "rq", "arq", "django-redis", "flask-redis"),
}
GETTERS = {"os.environ.get", "os.getenv", "os.environ.setdefault"}
READERS = {"decouple.config", "environs.Env", "environ.Env", "starlette.config.Config"}
READS = re.compile(r"\benviron\b|getenv|config\(|BaseSettings|env(?:\.\w+)?\(|Env\(")
"""What a module that reads a variable holds."""

NOT_CONFIGURATION = {"HOME", "PATH", "PORT", "HOSTNAME", "USER", "LANG", "TZ", "PYTHONPATH", "FLASK_APP",
                     "FLASK_DEBUG", "FLASK_ENV", "WEB_CONCURRENCY", "DJANGO_SETTINGS_MODULE", "TMPDIR", "CI",
                     "SERVER_SOFTWARE", "WERKZEUG_RUN_MAIN", "http_proxy", "https_proxy", "TEMP", "TMP", "APPDATA",
                     "LOCALAPPDATA", "USERPROFILE", "READTHEDOCS", "VIRTUAL_ENV"}  # fmt: skip
NOT_PRODUCTION = {"ci", "debug", "dev", "develop", "development", "local", "test", "testing"}
"""Modules of settings that production does not import."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|PRIVATE|API_?KEY|(?:^|_)(?:KEY|SALT|PEPPER)$", re.IGNORECASE)
SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(/?[^/\s?'\"{}][^\s?'\"{}]*)")
SCHEME = re.compile(r"sqlite(?:\+\w+)?:////?")
DATABASE_FILE = re.compile(r"[\w./-]*\w\.(?:db|sqlite3?)")
HOSTS = re.compile(r"(?:ALLOWED|TRUSTED)_HOSTS?$")
HOST = re.compile(r"\*|localhost|\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
FOLDER = re.compile(r"[\w-]+(?:/[\w-]+)*")
WRITTEN = re.compile(r"(?:UPLOAD|MEDIA|LOG|DATA|CACHE|STORAGE|EXPORT|SESSION_FILE)\w*(?:_DIR|_FOLDER|_PATH|_ROOT|DIR)$")

MAY_WRITE = ("sqlite", "FileHandler", "_DIR", "_FOLDER", "_ROOT", "_PATH", "makedirs", "mkdir")
"""What a module that writes holds."""


def detect_backends(snapshot: Snapshot, dependencies: Dependencies) -> Found[tuple[Backend, ...]]:
    """Return the services that the drivers among the dependencies are for."""
    found = [
        Backend(kind, next(name for name in names if name in dependencies.names))
        for kind, names in DRIVERS.items() if set(names) & dependencies.names
    ]  # fmt: skip
    if "celery" in dependencies.names and not any(one.kind == "valkey" for one in found):
        urls = (text for path in snapshot.modules for text, _ in code.texts(snapshot.tree(path)))
        found += [Backend("valkey", "celery")] if any(text.startswith("redis://") for text in urls) else []
    return Found(tuple(found), ", ".join(f"the driver {one.package}" for one in found) or "no driver of one")


def detect_variables(snapshot: Snapshot) -> Found[tuple[Variable, ...]]:
    """Return the environment variables that the code reads, and whether it starts without each."""
    found: dict[str, Variable] = {}
    becomes: dict[str, dict[str, None]] = {}
    shared = {name for path in snapshot.containing("Env(", "Config(") for name in _makers(snapshot.tree(path))}
    for path in snapshot.containing("environ", "getenv", "config(", "BaseSettings", "env(", "env.", "Env("):
        if not READS.search(snapshot.text(path)):
            continue
        elsewhere = path.rpartition("/")[2].removesuffix(".py") in NOT_PRODUCTION
        for read in _read_variables(snapshot, path, shared):
            one = replace(read, required=False) if elsewhere else _with_local_hosts(snapshot, read)
            before = found.get(one.name)
            if one.name not in NOT_CONFIGURATION and (before is None or (one.required and not before.required)):
                found[one.name] = one
            becomes.setdefault(one.name, {}).update(dict.fromkeys(one.uses))
    example = next((path for path in (".env.example", ".env.sample", ".env.template") if path in snapshot.paths), "")
    for name, value in commands.variables(snapshot.text(example)).items():
        before = found.get(name) or Variable(name, example, required=False)
        if name not in NOT_CONFIGURATION and not (HOSTS.search(name) and before.required and before.default):
            found[name] = Variable(name, before.where, before.required, value)
    source = "what the code reads" + (f", and {example}" if example else "")
    told = (replace(one, uses=tuple(becomes.get(name, ()))) for name, one in found.items())
    return Found(tuple(sorted(told, key=lambda one: (not one.required, one.name))), source)


def is_secret(name: str) -> bool:
    """Return whether a variable holds something that nobody may know, by its name (pure)."""
    return bool(SECRET.search(name))


def _with_local_hosts(snapshot: Snapshot, one: Variable) -> Variable:
    """Return a list of host names with this machine's: an application answers no name that it does not list."""
    if not HOSTS.search(one.name):
        return one
    path, _, line = one.where.rpartition(":")
    said = snapshot.text(path).splitlines()[int(line) - 1].partition(one.name)[2]
    split = re.search(r"\.split\((?:['\"](.)['\"])?\)", said)
    hosts = [host for text in re.findall(r"['\"]([^'\"]*)['\"]", said) for host in HOST.findall(text)]
    is_list = split or re.search(r"Csv\(|\.(?:list|tuple)\(", snapshot.text(path).splitlines()[int(line) - 1])
    if not is_list or {"*", "localhost", "127.0.0.1"}.intersection(hosts):
        return one
    separator = (split[1] or " ") if split else ","
    return replace(one, required=True, default=separator.join([*hosts, "localhost", "127.0.0.1"]))


def _makers(tree: ast.Module) -> set[str]:
    """Return the names of a module's objects that read variables: `env` of `env = environ.Env()`."""
    imports = code.imported_names(tree)
    return {name for name, value in code.assignments(tree)
            if isinstance(value, ast.Call) and code.resolved_name(value.func, imports) in READERS}  # fmt: skip


def _read_variables(snapshot: Snapshot, path: str, shared: set[str]) -> Iterator[Variable]:
    tree = snapshot.tree(path)
    imports = code.imported_names(tree)
    # Settings in parts import such an object from another one of them, often with a star.
    makers = _makers(tree) | {
        name for name in shared if imports.get(name, "").startswith(".") or "*" in imports
    }  # fmt: skip
    for node in code.walk(tree):
        if isinstance(node, ast.Subscript) and code.resolved_name(node.value, imports) == "os.environ":
            name = code.text_of(node.slice)
            if name and NAME.fullmatch(name) and isinstance(node.ctx, ast.Load):
                becomes = uses.find_uses(tree, node)
                yield Variable(name, f"{path}:{node.lineno}", id(node) not in code.guarded(tree), uses=becomes)
        elif isinstance(node, ast.Call):
            full = _without_module(code.resolved_name(node.func, imports), makers)
            yield from (replace(one, uses=uses.find_uses(tree, node)) for one in _called(node, path, full, makers))
        elif isinstance(node, ast.ClassDef) and any(
            code.dotted_name(base).endswith("BaseSettings") for base in node.bases
        ):
            yield from _fields(node, path)


def _without_module(full: str, makers: set[str]) -> str:
    """Return `env.list` for `.base.env.list`, where `env` is such an object."""
    parts = full.split(".")
    at = next((number for number, part in enumerate(parts) if part in makers), 0)
    return ".".join(parts[at:]) if full.startswith(".") else full


def _called(node: ast.Call, path: str, full: str, makers: set[str]) -> Iterator[Variable]:
    name = code.text_of(node.args[0]) if node.args else None
    if not name or not NAME.fullmatch(name):
        return
    default = code.keyword(node, "default") or (node.args[1] if len(node.args) > 1 else None)
    reads = full in READERS or full.partition(".")[0] in makers
    if reads or full in GETTERS:
        yield Variable(name, f"{path}:{node.lineno}", reads and default is None, code.text_of(default))


def _fields(node: ast.ClassDef, path: str) -> Iterator[Variable]:
    """Yield the fields of pydantic settings: each is read from the variable of its name, with the prefix."""
    prefix = ""
    for inner in ast.walk(node):
        match inner:
            case (
                ast.keyword(arg="env_prefix", value=ast.Constant(value=str(prefix)))
                | ast.Assign(targets=[ast.Name(id="env_prefix")], value=ast.Constant(value=str(prefix)))
            ):
                break
    for field in node.body:
        match field:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value) if (
                name[0] != "_" and name != "model_config"
            ):
                said = Variable((prefix + name).upper(), f"{path}:{field.lineno}", value is None, code.text_of(value))
                yield replace(said, uses=uses.of_type(annotation))


def detect_writable(snapshot: Snapshot, app: App, backends: Sequence[Backend], overrides: Overrides) -> Found[Writable]:
    """Return what the service writes below the folder that it is started in, and what it was said to write."""
    recorded = snapshot.settings.get("writable", ())
    said = (path for path in recorded if isinstance(path, str) and path not in {"/tmp", "/data"})  # noqa: S108
    folders = {**dict.fromkeys(said, "[tool.dockyard]"), **dict.fromkeys(overrides.writable, "--writable")}
    files: dict[str, str] = {}
    local: dict[str, str] = {}
    database = any(one.kind in {"postgres", "mariadb"} for one in backends)
    for path in snapshot.modules:
        text = snapshot.text(path)
        if app.framework == "flask" and ("instance_path" in text or "instance_relative_config" in text):
            folders.setdefault("/app/instance", path)
        may = any(word in text for word in MAY_WRITE)
        for name, line in _written(snapshot, path) if may else ():
            # Beside the driver of a server, a SQLite file is only what a developer falls back on.
            into = (local, {}) if database and DATABASE_FILE.fullmatch(name) else (folders, files)
            _note(name, f"{path}:{line}", into, instance="sqlalchemy" in text.lower())
    found = {**folders, **files}
    source = ", ".join(f"{path.removeprefix('/app/')} in {where}" for path, where in found.items())
    return Found(Writable(tuple(folders), tuple(files), tuple(local)), source or "no folder that the code writes")


def _note(name: str, where: str, found: tuple[dict[str, str], dict[str, str]], *, instance: bool) -> None:
    folders, files = found
    if name.startswith("/app/") and DATABASE_FILE.fullmatch(name):
        files.setdefault(name, where)  # beside code, where no volume can lie
    elif name.startswith("/"):
        folder = name.rpartition("/")[0] if DATABASE_FILE.fullmatch(name) else name
        if folder and not folder.startswith(("/tmp", "/dev", "/proc", "/etc", "/usr")):  # noqa: S108
            folders.setdefault(folder, where)
    elif DATABASE_FILE.fullmatch(name):
        folder = name.removeprefix("./").rpartition("/")[0]
        if folder and ".." not in folder:
            folders.setdefault(f"/app/{folder}", where)
        elif instance:
            folders.setdefault("/app/instance", where)  # Flask-SQLAlchemy puts a relative path there
        elif not folder:
            files.setdefault(f"/app/{name.removeprefix('./')}", where)
    elif FOLDER.fullmatch(name):
        folders.setdefault(f"/app/{name}", where)


def _written(snapshot: Snapshot, path: str) -> Iterator[tuple[str, int]]:
    tree = snapshot.tree(path)
    for text, line in code.texts(tree):
        match = SQLITE.match(text)
        if match:
            yield match[1], line
    yield from _joined_paths(tree, path)
    for node in code.walk(tree):
        if isinstance(node, ast.Call):
            name = code.dotted_name(node.func)
            said = code.text_of(node.args[0]) if node.args else None
            if said and (name.endswith("sqlite3.connect") or name.rpartition(".")[2].endswith("FileHandler")):
                yield said if name.endswith("connect") else said.rpartition("/")[0] or "logs", node.lineno
            elif said and name.endswith(("makedirs", "mkdir")):
                yield said, node.lineno
        for name, value in _named_values(node):
            last = _last_text(value)
            database = name in {"DATABASE", "NAME"} and DATABASE_FILE.fullmatch(last)
            if last and (WRITTEN.search(name) or database):
                yield last, value.lineno


def _joined_paths(tree: ast.Module, path: str) -> Iterator[tuple[str, int]]:
    """Yield the files of `"sqlite:///" + join(basedir, "app.db")` and of f-strings like it.

    A name that stands for the module's own folder, or one above it, gives the place; any other is taken for the top.
    """
    folders = {name: _levels(value) for name, value in code.assignments(tree)}
    passing = {
        name for node in code.walk(tree) for name, value in _named_values(node) if "gettempdir" in ast.dump(value)
    }
    for node in code.walk(tree):
        match node:
            case (
                ast.BinOp(left=scheme, op=ast.Add(), right=rest)
                | ast.JoinedStr(values=[scheme, ast.FormattedValue(value=rest), *_])
            ) if SCHEME.fullmatch(code.text_of(scheme) or ""):
                names = {one.id for one in ast.walk(rest) if isinstance(one, ast.Name)}
                if DATABASE_FILE.fullmatch(last := _last_text(rest)) and not names & passing:
                    levels = max((folders.get(name, 0) for name in names), default=0)
                    parts = path.split("/")[:-levels] if levels else []
                    yield "/".join(("/app", *parts, last)), node.lineno


def _levels(value: ast.expr) -> int:
    """Return how many steps up from a module's file a folder is that it computes: 1 for its own; 0 for any other."""
    said = ast.unparse(value)
    return said.count("dirname(") + said.count(".parent") + said.count("'..'") if "__file__" in said else 0


def _named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Subscript) and (text := code.text_of(target.slice)):
                yield text, node.value
            elif isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if text := code.text_of(key):
                yield text, value


def _last_text(value: ast.expr) -> str:
    """Return the path that an expression ends with: `a/uploads` of `BASE / "a" / "uploads"` or of a join."""
    match value:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            before = _last_text(left) if isinstance(left, ast.BinOp) else ""
            return "/".join(filter(None, (before, code.text_of(right)))).removeprefix("../")
        case ast.Call(func=func, args=[_, _, *_] as parts) if code.dotted_name(func).endswith("path.join"):
            texts = list(map(code.text_of, parts[1:]))
            return "/".join(text for text in texts if text and text != "..") if all(texts) else _last_text(parts[-1])
        case ast.Call(func=func, args=[*_, last]):
            passes = code.dotted_name(func).endswith(("join", "Path", "get", "getenv", "str"))
            return _last_text(last) if passes else ""
    return code.text_of(value) or ""


COMPILER = ("gcc", "libc6-dev")
LIBRARY = "/usr/lib/*-linux-gnu*/"


TABLE: dict[str, Libraries] = {
    # These have no wheels for Linux: pip compiles them.
    "mysqlclient": Libraries((*COMPILER, "libmariadb-dev", "pkg-config")),
    "psycopg2": Libraries((*COMPILER, "libpq-dev")),
    "psycopg-c": Libraries((*COMPILER, "libpq-dev")),
    "pycairo": Libraries((*COMPILER, "libcairo2-dev", "pkg-config")),
    "python-ldap": Libraries((*COMPILER, "libldap2-dev", "libsasl2-dev")),
    "uwsgi": Libraries(COMPILER),
    "misaka": Libraries(COMPILER),
    "gssapi": Libraries((*COMPILER, "libkrb5-dev")),
    "rrdtool": Libraries((*COMPILER, "librrd-dev")),
    "pygraphviz": Libraries((*COMPILER, "libgraphviz-dev")),
    "gdal": Libraries((*COMPILER, "g++", "libgdal-dev")),
    "dbus-python": Libraries((*COMPILER, "libdbus-1-dev", "pkg-config")),
    "python-snappy": Libraries((*COMPILER, "g++", "libsnappy-dev")),
    "xmlsec": Libraries((*COMPILER, "libxmlsec1-dev", "pkg-config")),
    # These load a library by its name when they run.
    "python-magic": Libraries((), ("libmagic1",), (LIBRARY + "libmagic.so.1", "/usr/share/misc/magic.mgc",
                                                   "/usr/lib/file/magic.mgc")),
    "psycopg": Libraries((), ("libpq5",), (LIBRARY + "libpq.so.5",)),
    "weasyprint": Libraries((), ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core"),
                            (LIBRARY + "libpango-1.0.so.0", LIBRARY + "libpangoft2-1.0.so.0",
                             LIBRARY + "libgobject-2.0.so.0", LIBRARY + "libharfbuzz.so.0",
                             LIBRARY + "libharfbuzz-subset.so.0", LIBRARY + "libfontconfig.so.1",
                             "/etc/fonts/**", "/usr/share/fonts/**", "/usr/share/fontconfig/**")),
    "cairocffi": Libraries((), ("libcairo2",), (LIBRARY + "libcairo.so.2",)),
    "cairosvg": Libraries((), ("libcairo2",), (LIBRARY + "libcairo.so.2",)),
    "pyzbar": Libraries((), ("libzbar0",), (LIBRARY + "libzbar.so.0",)),
    "pylibdmtx": Libraries((), ("libdmtx0b",), (LIBRARY + "libdmtx.so.0",)),
    "opencv-python": Libraries((), ("libgl1", "libglib2.0-0"), (LIBRARY + "libGL.so.1",)),
    "python-sane": Libraries((*COMPILER, "libsane-dev")),
    "soundfile": Libraries((), ("libsndfile1",), (LIBRARY + "libsndfile.so.1",)),
    "wand": Libraries((), ("libmagickwand-7.q16-10",), (LIBRARY + "libMagickWand-7.Q16.so.10",)),
}  # fmt: skip

BROUGHT_BY = {"psycopg": ("psycopg-binary", "psycopg-c")}
"""Packages that bring a library with them, which makes Debian's superfluous."""


def detect_libraries(snapshot: Snapshot, dependencies: Dependencies) -> Found[Libraries]:
    """Return the Debian packages that the dependencies and an Aptfile ask for."""
    named = [
        name
        for name in sorted(dependencies.names & TABLE.keys())
        if not dependencies.names.intersection(BROUGHT_BY.get(name, ()))
    ]
    lines = (line.partition("#")[0].strip() for line in snapshot.text("Aptfile").splitlines())
    apt = tuple(line for line in lines if line and not line.startswith(":") and "/" not in line)
    needs = [TABLE[name] for name in named]
    sources = [*named, *(["Aptfile"] if apt else [])]
    return Found(
        Libraries(
            _once(one for need in needs for one in need.build),
            _once((*(one for need in needs for one in need.run), *apt)),
            _once(one for need in needs for one in need.keep),
        ),
        f"what {', '.join(sources)} need" + "s" * (len(sources) == 1) if sources else "no package known to need one",
    )


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
