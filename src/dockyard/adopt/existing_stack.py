"""Read the Compose file that a project has, and write what production changes of it; the file itself stays (pure)."""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from dockyard.adopt import commands, compose_files
from dockyard.adopt.commands import Named
from dockyard.adopt.dockerfiles import volumes
from dockyard.adopt.model import Backend, Project
from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import SettingsError

IMAGES = {"postgres": "postgres", "postgis": "postgres", "mariadb": "mariadb", "mysql": "mariadb",
          "redis": "valkey", "valkey": "valkey"}  # fmt: skip
"""What a backend is, by the last part of its image's name."""

CHECKS = {
    "postgres": "pg_isready --quiet --host=127.0.0.1",
    "mariadb": "mariadb-admin --no-defaults --protocol=tcp --host=127.0.0.1 ping --silent",
    "valkey": "valkey-cli ping || redis-cli ping",
}
OVERRULED = ("build", "command", "entrypoint", "user", "working_dir", "privileged", "cap_add", "develop")
"""What the production image decides, or a hardened service has no use for."""

MIGRATION = re.compile(r"\b(db upgrade|migrate|alembic upgrade)\b")
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}|\$(\w+)")


class Loader(yaml.SafeLoader):
    """YAML as Compose writes it: `!reset` and `!override` say how files are merged, and are no part of the values."""


def _merged(loader: Loader, _tag: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - YAML has no fourth kind
    return None if node.value in {"null", "~", ""} else node.value


Loader.add_multi_constructor("!", _merged)


@dataclass(frozen=True)
class ExistingStack:
    """The Compose file of a project's own: `web` is the service that answers, `others` run the same image beside it.

    `port` is the one that it listens on inside its container, 0 where the file does not say.
    """

    file: str
    services: Mapping[str, Mapping[str, Any]]
    web: str
    others: tuple[str, ...]
    port: int

    @property
    def production_file(self) -> str:
        """The file that production lays on top."""
        path = PurePosixPath(self.file)
        return f"{path.stem}.production{path.suffix}"

    @property
    def backends(self) -> dict[str, str]:
        """The kind of each backend, by the name of its service."""
        kinds = ((name, IMAGES.get(_image(service))) for name, service in self.services.items())
        return {name: kind for name, kind in kinds if kind}

    @property
    def environment(self) -> dict[str, str]:
        """What the file gives the web service, its defaults filled in; what only the host knows is left out."""
        pairs = _pairs(self.services[self.web].get("environment")).items()
        return {name: filled for name, value in pairs if (filled := _filled(value)) is not None}

    def command(self, name: str) -> Named:
        """Return the command that the file gives a service; empty where it gives none."""
        return Named(_words(self.services[name].get("command")), f"`command` of {name} in {self.file}")

    @property
    def migration(self) -> str:
        """The service that brings the database up to date already; empty where none does."""
        said = {name: " ".join(self.command(name).words) for name in self.services}
        return next((name for name in self.others if MIGRATION.search(said[name])), "")


def read_stack(snapshot: Snapshot) -> ExistingStack | None:
    """Return the stack of the project's own Compose file, or None where it has none, or one that init wrote.

    Raises SettingsError where it is not YAML, or no service of it is built from this project.
    """
    file = next((name for name in compose_files.FILES if name in snapshot.texts), "")
    if not file or snapshot.text(file).startswith(compose_files.HEAD):
        return None
    return _parse_stack(file, snapshot.text(file))


@functools.cache
def _parse_stack(file: str, text: str) -> ExistingStack | None:
    try:
        document = yaml.load(text, Loader)  # noqa: S506 - a safe loader, which knows Compose's tags
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise SettingsError(f"{file}{where}: not valid YAML: {said}", "mend it, then run this again") from None
    found = document.get("services") if isinstance(document, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    services = {str(name): one for name, one in pairs if isinstance(one, dict)}
    own = _own(services)
    if not own:
        return None
    web = next((name for name in own if services[name].get("ports")), "")
    web = web or next((name for name in own if name in {"web", "app", "api", "server"}), own[0])
    file_of = {name: _dockerfile(services[name].get("build")) for name in own}
    others = tuple(name for name in own if name != web and file_of[name] in {"", file_of[web] or "Dockerfile"})
    return ExistingStack(file, services, web, others, _port(services[web]))


def _own(services: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the services that run the project's own image: built from its folder, or the image of one that is."""
    built = [name for name, service in services.items() if _context(service.get("build")) == "."]
    images = {str(services[name]["image"]) for name in built if services[name].get("image")}
    return tuple(
        name
        for name, service in services.items()
        if name in built or (not service.get("build") and str(service.get("image", "")) in images)
    )


def _context(build: object) -> str:
    said = build.get("context", ".") if isinstance(build, dict) else build
    return str(PurePosixPath(said)) if isinstance(said, str) else ""


def _dockerfile(build: object) -> str:
    """Return the Dockerfile that a service is built with; empty where it is not built."""
    return str(build.get("dockerfile", "Dockerfile")) if isinstance(build, dict) else "Dockerfile" if build else ""


def _port(service: Mapping[str, Any]) -> int:
    for port in _listed(service.get("ports")):
        said = str(port.get("target", "")) if isinstance(port, dict) else str(port)
        number = said.rpartition(":")[2].partition("/")[0]
        if number.isdecimal():
            return int(number)
    return 0


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _image(service: Mapping[str, Any]) -> str:
    return str(service.get("image", "")).rpartition("/")[2].partition("@")[0].partition(":")[0]


def _pairs(environment: object) -> dict[str, str | None]:
    """Return a service's variables, which Compose takes as a mapping or as a list of NAME=value."""
    if isinstance(environment, dict):
        return {str(name): None if value is None else _text(value) for name, value in environment.items()}
    found = {}
    for line in environment if isinstance(environment, list) else ():
        name, equals, value = str(line).partition("=")
        found[name] = value if equals else None
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _filled(value: str | None) -> str | None:
    if value is None or any(match[2] is None for match in VARIABLE.finditer(value)):
        return None
    return VARIABLE.sub(lambda match: match[2], value).replace("$$", "$")


def _words(command: object) -> tuple[str, ...]:
    words = commands.split(command) if isinstance(command, str) else tuple(map(str, _listed(command)))
    return commands.without_shell(words)


def web_commands(snapshot: Snapshot) -> Iterator[Named]:
    """Yield the commands that the project names for its web process, in the order of trust."""
    stack = read_stack(snapshot)
    named = (commands.procfile(snapshot).get("web"), stack.command(stack.web) if stack else None)
    yield from (one for one in named if one and one.words)
    yield from commands.dockerfile_commands(snapshot)


def render_adapted(project: Project, stack: ExistingStack) -> str:
    """Return compose.production.yaml for a project whose own Compose file stays as it is."""
    lines = [
        f"# Laid on top of {stack.file} by `dockyard up --production`: the image as it ships, hardened.",
        "x-app: &app",
        f"  image: ${{DOCKYARD_IMAGE:-{project.image.value}}}:production",
        *compose_files.indent((*compose_files.HARDENED, *compose_files.LOGGING), 2),
        "",
        "services:",
    ]
    release = compose_files.RELEASE if project.release.value and not stack.migration else ""
    for name in (stack.web, *stack.others):
        lines += [f"  {name}:", "    <<: *app", *compose_files.indent(_adapted(project, stack, name, release), 4)]
    if release:
        lines += [f"  {release}:", "    <<: *app", *compose_files.indent(_release(project, stack), 4)]
    for name, kind in stack.backends.items():
        if "healthcheck" not in stack.services[name]:
            test = f"  test: {json.dumps(['CMD-SHELL', CHECKS[kind]])}"
            lines += [f"  {name}:", *compose_files.indent(("healthcheck:", test, *compose_files.CHECKED), 4)]
    lines += compose_files.render_named_volumes(project, "production")
    return "\n".join(lines) + "\n"


def _adapted(project: Project, stack: ExistingStack, name: str, release: str) -> Iterator[str]:
    service = stack.services[name]
    words = stack.command(name).words if name != stack.web else ()
    for key in OVERRULED:
        if key == "command" and words:
            yield f"command: {json.dumps(words, ensure_ascii=False)}"
        elif key in service:
            yield f"{key}: !reset null"
    if "env_file" in service:
        yield "env_file: !override"
        yield from _optional_files(service["env_file"])
    kept = [str(one) for one in _listed(service.get("volumes")) if isinstance(one, str) and re.match(r"[\w-]+:", one)]
    yield from _volumes(project, kept, "volumes" in service)
    if name != stack.web:
        # Nothing of these answers HTTP, so the image's check is not for them.
        yield from compose_files.UNCHECKED
    elif "healthcheck" in service:
        yield "healthcheck: !reset null"
    migration = release or (stack.migration if stack.migration != name else "")
    yield from _waits(stack, name, migration)
    if name != stack.migration:
        yield "restart: unless-stopped"


def _volumes(project: Project, kept: Iterable[str], had: bool) -> list[str]:
    """Return the volumes in production: the sources are in the image, and what it writes is kept."""
    own = [f"{compose_files.volume_name(folder, 'production')}:{folder}" for folder in volumes(project)]
    taken = {one.split(":")[1] for one in own}
    lines = [*own, *(one for one in kept if one.split(":")[1] not in taken)]
    if not lines:
        return ["volumes: !reset []"] if had else []
    return ["volumes: !override", *(f"  - {line}" for line in lines)]


def _optional_files(said: object) -> Iterator[str]:
    """Yield the files of variables, none of which has to be there: a fresh clone has none."""
    for one in said if isinstance(said, list) else [said]:
        path = one.get("path") if isinstance(one, dict) else one
        yield from (f"  - path: {json.dumps(str(path), ensure_ascii=False)}", "    required: false")


def _waits(stack: ExistingStack, name: str, migration: str) -> list[str]:
    said = stack.services[name].get("depends_on")
    known = set(map(str, said)) if isinstance(said, dict | list) else set(stack.backends)
    return compose_files.render_waits([one for one in stack.backends if one in known], migration)


def _release(project: Project, stack: ExistingStack) -> Iterator[str]:
    web = stack.services[stack.web]
    yield f"command: {json.dumps(project.release.value, ensure_ascii=False)}"
    given = _pairs(web.get("environment"))
    if given:
        yield "environment:"
        for name, value in given.items():
            yield f"  {name}:" if value is None else f"  {name}: {json.dumps(value, ensure_ascii=False)}"
    if "env_file" in web:
        yield "env_file:"
        yield from _optional_files(web["env_file"])
    networks = web.get("networks")
    if isinstance(networks, dict | list) and networks:
        yield f"networks: {json.dumps(list(map(str, networks)))}"
    yield from _volumes(project, (), had=False)
    yield from compose_files.UNCHECKED
    yield from _waits(stack, stack.web, "")


def backends_of(stack: ExistingStack, known: Iterable[Backend]) -> tuple[Backend, ...]:
    """Return the backends that the stack has, each with the driver that the project uses for it."""
    packages = {backend.kind: backend.package for backend in known}
    return tuple(Backend(kind, packages.get(kind, "")) for kind in dict.fromkeys(stack.backends.values()))
