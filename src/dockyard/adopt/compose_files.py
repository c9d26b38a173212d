"""Write the stack that a person would: the development one, and what production changes of it (pure)."""

import json
from collections.abc import Iterable, Mapping, Sequence

from dockyard.adopt import values
from dockyard.adopt.dockerfiles import volumes
from dockyard.adopt.model import Backend, Project

ENVIRONMENT = "compose.env"
HEAD = "# The development stack: `dockyard up`. `dockyard up --production` lays compose.production.yaml on top."
FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
WEB, RELEASE = "web", "release"
BACKENDS = {
    "postgres": (
        "postgres:17",
        ("POSTGRES_USER: app", "POSTGRES_DB: app", "POSTGRES_PASSWORD_FILE: /run/secrets/database_password"),
        "/var/lib/postgresql/data",
        '["CMD", "pg_isready", "--username=app", "--dbname=app", "--host=127.0.0.1"]',
    ),
    "mariadb": (
        "mariadb:11",
        ("MARIADB_USER: app", "MARIADB_DATABASE: app", "MARIADB_PASSWORD_FILE: /run/secrets/database_password",
         'MARIADB_RANDOM_ROOT_PASSWORD: "1"'),
        "/var/lib/mysql",
        '["CMD", "healthcheck.sh", "--connect", "--innodb_initialized"]',
    ),
    "valkey": ("valkey/valkey:8", (), "/data", '["CMD", "valkey-cli", "ping"]'),
}  # fmt: skip
"""The image, the variables, the folder of the data and the health check of each backend."""

HARDENED = (
    "read_only: true",
    "tmpfs:",
    "  - /tmp:size=64m,mode=1777,noexec,nosuid,nodev",
    "cap_drop: [ALL]",
    'security_opt: ["no-new-privileges:true"]',
    "mem_limit: 512m",
    "pids_limit: 256",
)
LOGGING = ("# This driver rotates its files; the default one fills the disk.", "logging:", "  driver: local")
CHECKED = ("  interval: 5s", "  start_period: 30s", "  start_interval: 0.5s", "  retries: 10")
"""How often a backend's health check asks, behind its test."""

UNCHECKED = ("healthcheck:", "  disable: true")


def foreign_stack(texts: Mapping[str, str]) -> str:
    """Return the Compose file of the project's own: ours would hide it, or change services that it does not have."""
    return next((name for name in FILES if name in texts and not texts[name].startswith(HEAD)), "")


def render_compose(project: Project) -> str:
    """Return compose.yaml."""
    image = project.image.value
    common = [
        f"image: ${{DOCKYARD_IMAGE:-{image}}}:development",
        "# Without it, a program that has no handler for SIGTERM ends only when its time is up.",
        "init: true",
        *_environment(project),
        *_volumes(project, "development"),
    ]
    web = [
        "ports:",
        f"  - 127.0.0.1:${{PORT:-{project.port}}}:{project.port}",
        *render_waits(backend_names(project), RELEASE if project.release.value else ""),
    ]
    return "\n".join(
        [
            HEAD,
            f"name: {image.rsplit('/', 1)[-1].replace('.', '-')}",
            "",
            *_services(project, common, web),
            *(line for backend in project.backends.value for line in _backend(backend)),
            *_secrets(project),
            *render_named_volumes(project, "development"),
        ]
    ) + "\n"  # fmt: skip


def _services(project: Project, common: Sequence[str], web: Sequence[str]) -> list[str]:
    others = _others(project)
    if not others:
        return ["services:", f"  {WEB}:", *indent(common, 4), *indent(web, 4)]
    lines = ["x-app: &app", *indent(common, 2), "", "services:", f"  {WEB}:", "    <<: *app", *indent(web, 4)]
    for name, command in others:
        waits = render_waits(backend_names(project), RELEASE if project.release.value and name != RELEASE else "")
        said = json.dumps(values.filled(command, values.stack_values(project)), ensure_ascii=False)
        body = ["<<: *app", f"command: {said}", *waits]
        # Nothing of these answers HTTP, so the image's check is not for them.
        lines += ["", f"  {name}:", *indent([*body, *UNCHECKED], 4)]
    return lines


def _others(project: Project) -> list[tuple[str, tuple[str, ...]]]:
    release = [(RELEASE, project.release.value)] if project.release.value else []
    return [*release, *((one.name.lower(), one.command) for one in project.processes.value)]


def backend_names(project: Project) -> tuple[str, ...]:
    """Return what the backends are called in the stack."""
    return tuple(values.NAMES[backend.kind] for backend in project.backends.value)


def render_waits(healthy: Iterable[str], ended: str) -> list[str]:
    """Return the lines by which a service waits for others until they are healthy, and for one until it has ended."""
    conditions = dict.fromkeys(healthy, "service_healthy")
    if ended:
        conditions[ended] = "service_completed_successfully"
    lines = (line for name, said in conditions.items() for line in (f"  {name}:", f"    condition: {said}"))
    return ["depends_on:", *lines] if conditions else []


def _environment(project: Project) -> list[str]:
    given = [f"  - {ENVIRONMENT}"] if values.stack_values(project) else []
    return ["env_file:", *given, "  # Your own values, which nobody commits.", "  - path: .env", "    required: false"]


def _volumes(project: Project, stage: str) -> list[str]:
    root = f"{project.app.value.root}/" if project.app.value.root else ""
    sources = [f"  - ./{path}:/app/{path.removeprefix(root)}:ro" for path in project.sources.value]
    data = [f"  - {volume_name(folder, stage)}:{folder}" for folder in volumes(project)]
    if stage == "production":
        return ["volumes: !override", *data] if data else ["volumes: !override []"]
    return ["volumes:", *sources, *data]


def volume_name(folder: str, stage: str) -> str:
    """Return the name of the volume that keeps a folder of the image, in development or in production."""
    name = folder.removeprefix("/app/").strip("/").replace("/", "-").replace(".", "-")
    return name if stage == "development" else f"production-{name}"


def _backend(backend: Backend) -> list[str]:
    image, variables, folder, check = BACKENDS[backend.kind]
    name = values.NAMES[backend.kind]
    secret = ["secrets: [database_password]"] if variables else []
    environment = ["environment:", *indent(variables, 2)] if variables else []
    body = [
        f"image: {image}",
        *environment,
        *secret,
        "volumes:",
        f"  - {name}:{folder}",
        "healthcheck:",
        f"  test: {check}",
        *CHECKED,
    ]
    return ["", f"  {name}:", *indent(body, 4)]


def _secrets(project: Project) -> list[str]:
    if not any(BACKENDS[backend.kind][1] for backend in project.backends.value):
        return []
    return [
        "",
        "secrets:",
        "  # `dockyard up` makes it when it is absent.",
        "  database_password:",
        "    file: .dockyard/secrets/database_password",
    ]


def render_named_volumes(project: Project, stage: str) -> list[str]:
    """Return the lines that name the volumes of a stack."""
    names = [volume_name(folder, stage) for folder in volumes(project)]
    names += backend_names(project) if stage == "development" else ()
    return ["", "volumes:", *(f"  {name}:" for name in names)] if names else []


def render_production(project: Project) -> str:
    """Return compose.production.yaml."""
    image = project.image.value
    hardened = [
        f"image: ${{DOCKYARD_IMAGE:-{image}}}:production",
        *HARDENED,
        *_volumes(project, "production"),
        *LOGGING,
    ]
    services = [WEB, *(name for name, _ in _others(project))]
    lines = ["# Laid on top of compose.yaml by `dockyard up --production`: the image as it ships."]
    if len(services) == 1:
        lines += ["services:", f"  {WEB}:", *indent([*hardened, "restart: unless-stopped"], 4)]
    else:
        lines += ["x-app: &app", *indent(hardened, 2), "", "services:"]
        for name in services:
            restart = [] if name == RELEASE else ["    restart: unless-stopped"]
            lines += [f"  {name}:", "    <<: *app", *restart]
    lines += render_named_volumes(project, "production")
    return "\n".join(lines) + "\n"


def render_environment(project: Project) -> str:
    """Return compose.env: what the stack gives the application; empty where it gives nothing."""
    given = values.stack_values(project)
    if not given:
        return ""
    head = [
        "# What the stack gives the application. ${NAME} stands for a random secret that `dockyard up` makes and keeps",
        "# in .dockyard/secrets/. Values of your own go into .env, which comes after this and is not committed.",
    ]
    return "\n".join([*head, *(f"{name}={value}" for name, value in given.items())]) + "\n"


def indent(lines: Iterable[str], by: int) -> list[str]:
    """Return lines with spaces before each."""
    return [f"{' ' * by}{line}" for line in lines]
