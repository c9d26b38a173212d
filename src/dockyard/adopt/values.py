"""The values that a stack gives the application: addresses of its services, and secrets (pure)."""

import re

from dockyard.adopt.model import Backend, Project, Variable
from dockyard.adopt.needs import is_secret
from dockyard.adopt.uses import DRIVER_URL

NAMES = {"postgres": "database", "mariadb": "database", "valkey": "valkey"}
"""What a backend is called in the stack."""

PORTS = {"postgres": "5432", "mariadb": "3306", "valkey": "6379"}
SCHEMES = {
    "psycopg": "postgresql+psycopg", "psycopg-binary": "postgresql+psycopg", "psycopg-c": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2", "psycopg2-binary": "postgresql+psycopg2", "asyncpg": "postgresql+asyncpg",
    "pg8000": "postgresql+pg8000", "pymysql": "mysql+pymysql", "aiomysql": "mysql+aiomysql",
    "asyncmy": "mysql+asyncmy", "mysql-connector-python": "mysql+mysqlconnector", "mariadb": "mariadb+mariadbconnector",
}  # fmt: skip
"""How SQLAlchemy names a driver: which one it takes where none is named is another one since 2.1."""

ALCHEMY = {"sqlalchemy", "flask-sqlalchemy", "sqlmodel", "alembic", "flask-migrate", "databases"}
URL = re.compile(r"(?:DATABASE|DB|POSTGRES\w*|PG|MYSQL|MARIADB|SQLALCHEMY\w*)_?(?:DATABASE_)?(?:URI|URL|DSN)$")
STORE_URL = re.compile(r"(?:REDIS|VALKEY|BROKER|CELERY|RESULT|RQ|CACHE|RATELIMIT|SESSION)\w*_?(?:URI|URL|BACKEND|DSN)$")
PART = re.compile(r"(?:DATABASE|DB|POSTGRES(?:QL)?|PG|MYSQL|MARIADB|REDIS|VALKEY)_?(\w+)$")
PARTS = {
    "HOST": "{host}", "HOSTNAME": "{host}", "SERVER": "{host}", "PORT": "{port}", "USER": "app", "USERNAME": "app",
    "PASSWORD": "${{DATABASE_PASSWORD}}", "PASS": "${{DATABASE_PASSWORD}}", "NAME": "app", "DB": "app",
    "DATABASE": "app",
}  # fmt: skip

LOGIN = {"USER", "USERNAME", "PASSWORD", "PASS"}
"""What a store within the stack has not: it asks for no login, and refuses one."""


def stack_values(project: Project) -> dict[str, str]:
    """Return what the stack gives the application, by variable; ${NAME} stands for a secret of that name."""
    if project.given is not None:
        return dict(project.given)
    return {
        variable.name: value for variable in project.variables.value if (value := _value(project, variable)) is not None
    }


def without_value(project: Project) -> tuple[Variable, ...]:
    """Return the variables that the service does not start without, and nothing says a value for."""
    given = stack_values(project)
    return tuple(
        one for one in project.variables.value
        if one.required and not given.get(one.name) and _of_backends(project, one) is None
    )  # fmt: skip


def filled(words: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...]:
    """Return a command with the variables that the stack gives in place: no shell would fill them in."""
    return tuple(re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), word) for word in words)


def _value(project: Project, variable: Variable) -> str | None:
    value = _of_backends(project, variable)
    if value is not None:
        return value
    if is_secret(variable.name):
        return f"${{{variable.name.upper()}}}"
    if variable.required:
        return variable.default or ""
    return None


def _of_backends(project: Project, variable: Variable) -> str | None:
    """Return what a service of the stack is reached by, by the variable's name, else by what its value becomes."""
    direct = _is_direct(variable)
    found = (
        _of_backend(project, backend, name, direct=direct)
        for name in (variable.name.upper(), *variable.uses)
        for backend in project.backends.value
    )
    return next((value for value in found if value is not None), None)


def _is_direct(variable: Variable) -> bool:
    """Return whether an address is given to a driver, and not to SQLAlchemy, which wants the driver's name in it."""
    return DRIVER_URL in variable.uses and not any("SQLALCHEMY" in use for use in variable.uses)


def _of_backend(project: Project, backend: Backend, name: str, *, direct: bool = False) -> str | None:
    host, port = NAMES[backend.kind], PORTS[backend.kind]
    if backend.kind == "valkey":
        if STORE_URL.search(name):
            return f"redis://{host}:{port}/0"
        if not name.startswith(("REDIS", "VALKEY")):
            return None
    elif URL.search(name):
        plain = "postgresql" if backend.kind == "postgres" else "mysql"
        alchemy = ALCHEMY & project.dependencies.value.names and not direct
        scheme = SCHEMES.get(backend.package, plain) if alchemy else plain
        return f"{scheme}://app:${{DATABASE_PASSWORD}}@{host}:{port}/app"
    elif name.startswith(("REDIS", "VALKEY")):
        return None
    match = PART.search(name)
    part = PARTS.get(match[1], "") if match else ""
    if backend.kind == "valkey" and not part.startswith("{"):
        return "" if match and match[1] in LOGIN else None
    return part.format(host=host, port=port) or None
