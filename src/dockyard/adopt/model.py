"""What is detected in a project: each value with where it comes from and how to overrule it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")
NONE = "none"
"""The value of a finding where there is nothing of its kind."""


@dataclass(frozen=True)
class Found(Generic[T]):
    """A detected value: `source` says what it was read from, `others` what else it could have been."""

    value: T
    source: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overrides:
    """What a person says instead of what would be detected; empty where detection decides."""

    app: str = ""
    python: str = ""
    server: str = ""
    image: str = ""
    health: str = ""
    port: str = ""
    writable: tuple[str, ...] = ()

    def find(self, name: str, settings: Mapping[str, Any]) -> Found[str] | None:
        """Return what a person says: by the option of that name now, or once, as [tool.dockyard] keeps it."""
        if said := str(getattr(self, name)):
            return Found(said, f"--{name}")
        key = {"port": "ports", "python": "pythons"}.get(name, name)
        values = settings.get(name) or settings.get(key)
        if isinstance(values, list) and values:
            values = values[-1 if name == "python" else 0]  # as the settings count them: those that ship
        return Found(str(values), f"{key} in [tool.dockyard] of pyproject.toml") if values else None


@dataclass(frozen=True)
class App:
    """The application: `reference` as gunicorn names it, `root` the folder that imports begin at, "" for the top.

    One that serves by itself has a `command` in place of a reference.
    """

    reference: str
    framework: str
    interface: str
    root: str = ""
    command: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that holds the application."""
        return self.reference.partition(":")[0]

    @property
    def is_factory(self) -> bool:
        """Whether a function is called to make it."""
        return self.reference.endswith(")")


@dataclass(frozen=True)
class Dependencies:
    """What the project asks for, as lines of requirements files; `names` are the canonical names at run time."""

    runtime: tuple[str, ...]
    test: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    test_names: frozenset[str] = frozenset()
    specifiers: Mapping[str, str] = field(default_factory=dict)
    """What is asked of each package's version, by canonical name: "==23.0", empty where nothing is."""


@dataclass(frozen=True)
class Libraries:
    """Debian packages: needed to compile packages, and needed where the service runs; paths that no scan finds."""

    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """A process beside the web one, by the name of its Compose service."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Backend:
    """Another service that the application talks to: postgres, mariadb or valkey."""

    kind: str
    package: str


@dataclass(frozen=True)
class Variable:
    """An environment variable that the code reads; `where` is path:line, `default` None where it must be set.

    `uses` is what its value becomes, in capitals: its name alone does not always say so.
    """

    name: str
    where: str
    required: bool
    default: str | None = None
    uses: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Writable:
    """What the application writes: folders of the image, and single files at its top, which a link leads away."""

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    """Folders that are written only where no database server is: in tests."""


@dataclass(frozen=True)
class Frontend:
    """A front end that npm builds: the files and folders that this needs, and the folder that it makes."""

    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class BuildStep:
    """A command that makes a part of the application when the image is built; `runs_app` whether it imports that."""

    command: str
    runs_app: bool = False


@dataclass(frozen=True)
class Version:
    """What the application asks about the project's own version; empty where it asks nothing."""

    name: str = ""
    """The project, where the application reads its metadata, or a file that holds its version."""

    said_in: str = ""
    """The file that says the version; empty where git's tags do."""

    files: tuple[str, ...] = ()
    """Files with the version that only a build of the package writes."""

    environment: tuple[str, ...] = ()
    """Variables that give the version to code that would ask git for it."""

    asks_git: str = ""
    """Where the code starts git, path:line, and does not start without it."""

    @property
    def from_git(self) -> bool:
        """Whether git's tags say it."""
        return bool(self.environment) or bool(self.name and not self.said_in)


@dataclass(frozen=True)
class Project:
    """All that is detected."""

    name: str
    image: Found[str]
    app: Found[App]
    sources: Found[tuple[str, ...]]
    dependencies: Found[Dependencies]
    server: Found[tuple[str, ...]]
    """The command of the web process."""
    server_package: str
    """The package to add for it; empty where the project has it."""
    python: Found[str]
    port: int
    libraries: Found[Libraries]
    processes: Found[tuple[Process, ...]]
    release: Found[tuple[str, ...]]
    build: Found[tuple[BuildStep, ...]]
    backends: Found[tuple[Backend, ...]]
    variables: Found[tuple[Variable, ...]]
    writable: Found[Writable]
    health: Found[str]
    """The path of a route that answers; empty: the port alone is asked."""
    tests: Found[str]
    test_settings: tuple[str, ...] = ()
    """Files at the top that say how the tests are run."""

    test_files: tuple[str, ...] = ()
    """Tests that lie at the top, beside the application."""

    source_files: frozenset[str] = frozenset()
    """Those of the sources that are files."""

    frontend: Frontend | None = None
    django_settings: str = ""
    """The module of Django's settings that manage.py names, for tests."""

    django_production: str = ""
    """The one that the service is started with: large projects have settings in parts."""

    version: Found[Version] = field(default=Found(Version(), "nothing in the code"))
    entry: Mapping[str, str] = field(default_factory=dict)
    """A module to write, by its path, where the application needs one that a server can take."""

    said: Mapping[str, str] = field(default_factory=dict)
    """What a person has said of the server and of health, which nothing but the settings keeps."""

    given: Mapping[str, str] | None = None
    """What the Compose file of the project's own gives the application; None where init writes that file."""

    dockerfile: str = "Dockerfile"
    """The file to write: another one where the project has a Dockerfile of its own."""

    @property
    def program(self) -> str:
        """The server's program."""
        return self.server.value[0]


@dataclass(frozen=True)
class Finding:
    """One row of what `dockyard init` says it found."""

    what: str
    value: str
    source: str
    others: tuple[str, ...] = ()
    option: str = ""


def findings(project: Project) -> tuple[Finding, ...]:
    """Return what was found, in the order a person asks."""

    def row(what: str, found: Found[Any], value: str, option: str = "") -> Finding:
        return Finding(what, value or NONE, found.source, found.others, option)

    libraries, writable = project.libraries.value, project.writable.value
    processes = (f"{one.name}: {' '.join(one.command)}" for one in project.processes.value)
    settings = (variable.name for variable in project.variables.value)
    return (
        row("app", project.app, project.app.value.reference or " ".join(project.app.value.command), "--app"),
        row("framework", project.app, project.app.value.framework, "--app"),
        row("sources", project.sources, ", ".join(project.sources.value), "COPY in Dockerfile"),
        row("dependencies", project.dependencies, ", ".join(project.dependencies.value.runtime), "requirements/*.in"),
        row("server", project.server, " ".join(project.server.value), "--server"),
        row("python", project.python, project.python.value, "--python"),
        row("system libraries", project.libraries, ", ".join((*libraries.build, *libraries.run)), "Aptfile"),
        row("processes", project.processes, ", ".join(processes), "Procfile"),
        row("build steps", project.build, ", ".join(step.command for step in project.build.value), "Dockerfile"),
        row("release step", project.release, " ".join(project.release.value), "Procfile"),
        row("services", project.backends, ", ".join(one.kind for one in project.backends.value), "compose.yaml"),
        row("configuration", project.variables, ", ".join(settings), ".env.example"),
        row("version", project.version, _told_version(project.version.value), "Dockerfile"),
        row("writable", project.writable, ", ".join((*writable.folders, *writable.files)), "--writable"),
        row("health", project.health, project.health.value or "the port", "--health"),
        row("tests", project.tests, project.tests.value, "Dockerfile"),
        row("image", project.image, project.image.value, "--image"),
    )


def _told_version(version: Version) -> str:
    said = version.said_in or "git's tags"
    metadata = (f"{said}, for the metadata of {version.name}",) if version.name else ()
    return ", ".join((*metadata, *version.files, *version.environment))
