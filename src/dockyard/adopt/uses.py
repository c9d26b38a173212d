"""Find what becomes of a value that code reads: the setting, argument or part of an address that it ends up as (pure).

A project may call its database's address SHOP_STORE; what it hands to `create_engine` is one all the same.
"""

import ast
import functools
import re
from collections.abc import Iterator

from dockyard.adopt import code

PASSING = {"str", "int", "urlparse", "urllib.parse.urlparse", "make_url", "PostgresDsn", "SecretStr"}
"""Calls that hand on what they are given."""

ADDRESS_TAKERS = {
    "create_engine": "SQLALCHEMY_URL", "create_async_engine": "SQLALCHEMY_URL",
    "make_url": "SQLALCHEMY_URL", "databases.Database": "SQLALCHEMY_URL", "dj_database_url.parse": "DATABASE_URL",
    "dj_db_url": "DATABASE_URL", "db_url": "DATABASE_URL", "env.db": "DATABASE_URL", "env.cache": "CACHE_URL",
    "cache_url": "CACHE_URL", "from_url": "REDIS_URL", "PostgresDsn": "DATABASE_URL", "MySQLDsn": "DATABASE_URL",
    "MariaDBDsn": "DATABASE_URL", "RedisDsn": "REDIS_URL",
}  # fmt: skip
"""What the first argument of a call is, by the end of the function's name; and what a field of such a type is."""

CONNECTS = re.compile(r"(?:psycopg2?|psycopg_pool|asyncpg|pg8000|pymysql|MySQLdb|mysql|mariadb|aiomysql|asyncmy)\b")
"""Modules of drivers, which know an address without SQLAlchemy's name of a driver in it."""

DRIVER_URL = "DRIVER_DATABASE_URL"
KEYWORDS = {
    "host": "HOST", "hostname": "HOST", "port": "PORT", "user": "USER", "username": "USER", "password": "PASSWORD",
    "passwd": "PASSWORD", "dbname": "NAME", "database": "NAME", "db": "NAME", "name": "NAME",
}  # fmt: skip
"""What functions that connect call the parts of an address, and Django's DATABASES, in capitals, too."""

BROKERS = {"broker": "CELERY_BROKER_URL", "backend": "CELERY_RESULT_BACKEND", "storage_uri": "RATELIMIT_STORAGE_URL"}
PART = re.compile(
    r"(?:postgres(?:ql)?|mysql|mariadb|rediss?|valkeys?)(?:\+\w+)?://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<host>[^:/?]*)(?::(?P<port>[^/?]*))?(?:/(?P<name>[^?]*))?"
)


def find_uses(tree: ast.Module, read: ast.expr) -> tuple[str, ...]:
    """Return what a value becomes, in capitals and nearest first: ("URL", "SQLALCHEMY_DATABASE_URI")."""
    return tuple(dict.fromkeys(use for use in _climb(tree, read, frozenset()) if use))


def of_type(annotation: ast.expr) -> tuple[str, ...]:
    """Return what a field of some type is: an address where the type says so, `PostgresDsn | None` too."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return tuple(ADDRESS_TAKERS[name] for name in sorted(names & ADDRESS_TAKERS.keys()))


@functools.cache
def _parents(tree: ast.Module) -> dict[int, ast.AST]:
    return {id(child): node for node in code.walk(tree) for child in ast.iter_child_nodes(node)}


@functools.cache
def _loads(tree: ast.Module) -> dict[str, tuple[ast.Name, ...]]:
    found: dict[str, list[ast.Name]] = {}
    for node in code.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.setdefault(node.id, []).append(node)
    return {name: tuple(nodes) for name, nodes in found.items()}


def _climb(tree: ast.Module, read: ast.expr, seen: frozenset[str]) -> Iterator[str]:
    """Go up from an expression as long as it only passes on; names are followed to where they are used."""
    parents, imports = _parents(tree), code.imported_names(tree)
    node: ast.AST = read
    if isinstance(read, ast.Call):  # `env.db("NAME")`, `config("NAME", cast=db_url)`
        yield from _taken(code.dotted_name(read.func))
        if (cast := code.keyword(read, "cast")) is not None:
            yield from _taken(code.resolved_name(cast, imports))
    while above := parents.get(id(node)):
        match above:
            case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
                yield from _assigned(tree, above, seen)
            case ast.keyword(arg=str(word)) if isinstance(call := parents[id(above)], ast.Call):
                yield _keyword(code.resolved_name(call.func, imports), word)
            case ast.Call(args=[first, *_]) if first is node:
                yield from _first_argument(code.resolved_name(above.func, imports))
            case ast.Dict():
                yield _value(above, node)
            case ast.JoinedStr():
                yield _part(above, node)
        if not _passes_on(above, node, imports):
            return
        node = above


def _passes_on(above: ast.AST, node: ast.AST, imports: dict[str, str]) -> bool:
    """Return whether an expression has the value that a part of it has, or one made of it: `str(X)`, `X.strip()`."""
    match above:
        case ast.Call(func=func):
            return func is node or code.resolved_name(func, imports) in PASSING
        case ast.JoinedStr(values=[first, *_]):
            return first is node
    return isinstance(above, ast.Attribute | ast.BoolOp | ast.IfExp | ast.Await | ast.FormattedValue | ast.NamedExpr)


def _assigned(
    tree: ast.Module, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, seen: frozenset[str]
) -> Iterator[str]:
    if isinstance(node, ast.AnnAssign):
        yield from of_type(node.annotation)
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        match target:
            case ast.Subscript(slice=key):
                yield (code.text_of(key) or "").upper()
            case ast.Attribute(attr=name):
                yield name.upper()
            case ast.Name(id=name):
                yield name.upper()
                for load in () if name in seen else _loads(tree).get(name, ()):
                    yield from _climb(tree, load, seen | {name})


def _taken(name: str) -> Iterator[str]:
    yield from (use for end, use in ADDRESS_TAKERS.items() if name == end or name.endswith(f".{end}"))


def _first_argument(name: str) -> Iterator[str]:
    yield DRIVER_URL if CONNECTS.match(name) else ""
    yield from _taken(name)


def _keyword(name: str, word: str) -> str:
    """Return what a keyword of a call is: `host` of a connection, `broker` of Celery, or a setting in capitals."""
    if word in {"dsn", "conninfo"}:
        return DRIVER_URL
    if word == "url":
        return next(_taken(name), "")
    if word in KEYWORDS and re.search("redis|valkey", name, re.IGNORECASE):
        return f"REDIS_{KEYWORDS[word]}"
    if word in KEYWORDS and (CONNECTS.match(name) or name.endswith("URL.create")):
        return f"DATABASE_{KEYWORDS[word]}"
    return word if word.isupper() else BROKERS.get(word, "") if word != "backend" or "celery" in name.lower() else ""


def _value(mapping: ast.Dict, node: ast.AST) -> str:
    """Return what a value of a mapping is: one of Django's DATABASES is the part of an address that its key says."""
    keys = {id(value): code.text_of(key) or "" for key, value in zip(mapping.keys, mapping.values, strict=True)}
    key = keys.get(id(node), "").upper()
    return f"DATABASE_{key}" if "ENGINE" in keys.values() else "CACHE_URL" if key == "LOCATION" else key


def _part(joined: ast.JoinedStr, node: ast.AST) -> str:
    """Return which part of an address in an f-string a value is, "" where it is none."""
    text = "".join(
        code.text_of(one) or ("\0" if one is node else "x") if isinstance(one, ast.expr) else ""
        for one in joined.values
    )
    found = PART.match(text)
    named = {key: value for key, value in found.groupdict().items() if value == "\0"} if found else {}
    store = "REDIS" if text.startswith(("redis", "valkey")) else "DATABASE"
    return next((f"{store}_{key.upper()}" for key in named), "")
