"""The values that a stack gives the application: addresses of its services, and secrets (pure)."""

import re

from dockyard.adopt.model import Backend, Project, Variable
from dockyard.adopt.needs import is_secret

NAMES = {"postgres": "database", "mariadb": "database", "valkey": "valkey"}
"""What a backend is called in the stack."""

PORTS = {"postgres": "5432", "mariadb": "3306", "valkey": "6379"}
SCHEMES = {
    "psycopg": "postgresql+psycopg", "psycopg-binary": "postgresql+psycopg", "psycopg-c": "postgresql+psycopg",
    "asyncpg": "postgresql+asyncpg",
    "pg8000": "postgresql+pg8000", "pymysql": "mysql+pymysql", "aiomysql": "mysql+aiomysql",
    "asyncmy": "mysql+asyncmy", "mysql-connector-python": "mysql+mysqlconnector", "mariadb": "mariadb+mariadbconnector",
}  # fmt: skip
"""How SQLAlchemy names a driver; the others are what it takes where no driver is named."""

ALCHEMY = {"sqlalchemy", "flask-sqlalchemy", "sqlmodel", "alembic", "flask-migrate", "databases"}
URL = re.compile(r"(?:DATABASE|DB|POSTGRES\w*|PG|MYSQL|MARIADB|SQLALCHEMY\w*)_?(?:DATABASE_)?(?:URI|URL|DSN)$")
STORE_URL = re.compile(r"(?:REDIS|VALKEY|BROKER|CELERY|RQ|CACHE|RATELIMIT|SESSION)\w*_?(?:URI|URL|BACKEND|DSN)$")
PART = re.compile(r"(?:DATABASE|DB|POSTGRES(?:QL)?|PG|MYSQL|MARIADB|REDIS|VALKEY)_?(\w+)$")
PARTS = {
    "HOST": "{host}", "HOSTNAME": "{host}", "SERVER": "{host}", "PORT": "{port}", "USER": "app", "USERNAME": "app",
    "PASSWORD": "${{DATABASE_PASSWORD}}", "PASS": "${{DATABASE_PASSWORD}}", "NAME": "app", "DB": "app",
    "DATABASE": "app",
}  # fmt: skip


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
    return tuple(one for one in project.variables.value if one.required and not given.get(one.name))


def filled(words: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...]:
    """Return a command with the variables that the stack gives in place: no shell would fill them in."""
    return tuple(re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), word) for word in words)


def _value(project: Project, variable: Variable) -> str | None:
    for backend in project.backends.value:
        value = _of_backend(project, backend, variable.name.upper())
        if value is not None:
            return value
    if is_secret(variable.name):
        return f"${{{variable.name.upper()}}}"
    if variable.required:
        return variable.default or ""
    return None


def _of_backend(project: Project, backend: Backend, name: str) -> str | None:
    host, port = NAMES[backend.kind], PORTS[backend.kind]
    if backend.kind == "valkey":
        if STORE_URL.search(name):
            return f"redis://{host}:{port}/0"
        if not name.startswith(("REDIS", "VALKEY")):
            return None
    elif URL.search(name):
        plain = "postgresql" if backend.kind == "postgres" else "mysql"
        scheme = SCHEMES.get(backend.package, plain) if ALCHEMY & project.dependencies.value.names else plain
        return f"{scheme}://app:${{DATABASE_PASSWORD}}@{host}:{port}/app"
    elif name.startswith(("REDIS", "VALKEY")):
        return None
    match = PART.search(name)
    part = PARTS.get(match[1]) if match else None
    return part.format(host=host, port=port) if part and not (backend.kind == "valkey" and "{" not in part) else None
