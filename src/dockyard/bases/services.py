"""Make images of databases from Debian packages, where no registry has the official ones.

Each takes the official image's variables, has a health check, keeps its data in one folder and stops cleanly, so
that a Compose file need not know which of the two it runs. They are kept as the bases of Pythons are.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockyard import files
from dockyard.bases import cache, debian, recipe

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

RELEASE = "trixie"
SHARED = ("clean.sh", "dpkg.cfg", "service.sh", "entrypoints/common.sh")
SECOND = 1_000_000_000
"""A second in the unit of health checks: nanoseconds (Docker Image Specification 1.2)."""


@dataclass(frozen=True)
class Service:
    """A service that an image of Debian packages can stand in for.

    `repositories` are the official images that it replaces, `package` is the one whose version counts, `folder`
    holds the data and belongs to `user`, `health` is the command that succeeds when it answers.
    """

    name: str
    title: str
    repositories: tuple[str, ...]
    package: str
    user: str
    folder: str
    port: int
    health: str
    command: str
    more: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def script(self) -> str:
        """The name of its entry point; Redis and Valkey share one."""
        return "valkey" if self.name == "redis" else self.name


SERVICES = (
    Service(
        name="postgres",
        title="PostgreSQL",
        repositories=("postgres",),
        package="postgresql-17",
        user="postgres",
        folder="/var/lib/postgresql/data",
        port=5432,
        health='pg_isready --quiet --host=127.0.0.1 --username="${POSTGRES_USER:-postgres}"',
        command="postgres",
        stop_signal="SIGINT",  # "fast": it ends sessions instead of waiting for them
        environment=(("PGDATA", "/var/lib/postgresql/data"),),
    ),
    Service(
        name="mariadb",
        title="MariaDB",
        repositories=("mariadb", "mysql"),
        package="mariadb-server",
        more=("mariadb-client",),
        user="mysql",
        folder="/var/lib/mysql",
        port=3306,
        health="mariadb-admin --no-defaults --protocol=tcp --host=127.0.0.1 ping --silent",
        command="mariadbd",
    ),
    Service(
        name="valkey",
        title="Valkey",
        repositories=("valkey/valkey",),
        package="valkey-server",
        user="valkey",
        folder="/data",
        port=6379,
        health="valkey-cli ping | grep -Eq 'PONG|NOAUTH'",
        command="valkey-server",
    ),
    Service(
        name="redis",
        title="Redis",
        repositories=("redis",),
        package="redis-server",
        user="redis",
        folder="/data",
        port=6379,
        health="redis-cli ping | grep -Eq 'PONG|NOAUTH'",
        command="redis-server",
    ),
    Service(
        name="haproxy",
        title="HAProxy",
        repositories=("haproxy",),
        package="haproxy",
        user="haproxy",
        folder="/var/lib/haproxy",
        port=8080,
        health="kill -0 1",  # where it listens, only its configuration says
        command="haproxy",
        stop_signal="SIGUSR1",  # it ends when its last connection does
    ),
)


def find_service(image: str) -> Service | None:
    """Return the service whose official image a reference names, of whatever tag, or None (pure)."""
    name = re.sub(r"(:[\w.-]+)?(@\S+)?$", "", image)
    name = re.sub(r"^([\w.:-]+/)?library/", "", name)  # the official images' folder, on whatever registry mirrors it
    return next((service for service in SERVICES if name in service.repositories), None)


def describe_substitute(image: str, service: Service, version: str) -> str:
    """Return the line that says what runs instead of an image, and whether its major version is another (pure)."""
    tag = re.search(r":v?(\d+)", image)
    own = image.partition(":")[0].endswith(service.name)
    other = own and tag is not None and tag[1] != version.partition(".")[0]
    return f"{service.title} {version} from Debian packages stands in for {image}" + (
        ": another major version" if other else ""
    )


def upstream_version(packaged: str) -> str:
    """Return what upstream calls a Debian version: 1:11.8.9+ds-0+deb13u1 is 11.8.9 (pure)."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", packaged)
    return found[1] if found else packaged


def configure(service: Service) -> dict[str, object]:
    """Return the fields of a service's image configuration, beside its environment and command (pure)."""
    return {
        "Entrypoint": ["docker-entrypoint.sh"],
        "User": service.user,
        "WorkingDir": service.folder if service.folder == "/data" else "/",
        "Volumes": {service.folder: {}},
        "ExposedPorts": {f"{service.port}/tcp": {}},
        "StopSignal": service.stop_signal,
        "Healthcheck": {
            "Test": ["CMD-SHELL", service.health],
            "Interval": 10 * SECOND,
            "Timeout": 5 * SECOND,
            "StartPeriod": 60 * SECOND,
            "StartInterval": SECOND // 2,
            "Retries": 3,
        },
    }


def ensure_service(engine: "Engine", service: Service, *, allow_expired: bool = False) -> tuple[str, str]:
    """Return the name that a service's image has in the engine, made first if need be, and its upstream version."""
    with files.disk_errors():
        record = debian.ensure_image(plan_service(service), allow_expired=allow_expired)
        version = upstream_version(record.version)
        name = f"dockyard-service/{service.name}:{version}"
        cache.load_images(engine, {name: record})
    return name, version


def plan_service(service: Service) -> debian.ImagePlan:
    """Return how the image of a service is made."""
    entry = f"entrypoints/{service.script}.sh"
    contents = recipe.Contents(
        service.title,
        RELEASE,
        (service.package, *service.more),
        "service.sh",
        (service.script, service.user, service.folder),
        variant="essential",
        files=("entrypoints/common.sh", entry),
        runtime_folders=True,
    )
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    variables = recipe.list_variables({**path, **dict(service.environment)})
    shipped = map(debian.read_shipped, (*SHARED, entry))
    config = {"Env": variables, "Cmd": [service.command], **configure(service)}
    return debian.ImagePlan(
        "service",
        service.name,
        service.title,
        contents,
        recipe.fingerprint(contents, shipped, repr(configure(service))),
        lambda held: held.get(service.package, ""),
        lambda _version: config,
    )
