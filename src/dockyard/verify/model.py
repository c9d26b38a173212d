"""What is known of an image, what is expected of it, and what a rule says when the two differ."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dockyard.engine.archive import Layer
from dockyard.locks.pins import Pin


@dataclass(frozen=True)
class ImageQuery:
    """Which image a person means: the newest of a target on a Python, or one by its reference."""

    target: str = "production"
    python: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path in one layer: `kind` is file, folder, link, hard link, device or pipe; `layer` counts from 0.

    `extended` holds its extended attributes as an archive names them. `data` is kept for what rules read: Python
    sources, package metadata, and the header of bytecode. `leaks` names the kinds of secret in it, `certificates`
    the SHA-256 of every certificate.
    """

    path: str
    kind: str
    mode: int = 0o644
    owner: str = "0:0"
    size: int = 0
    mtime: float = 0
    layer: int = 0
    link: str = ""
    extended: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    data: bytes = b""
    leaks: frozenset[str] = frozenset()
    certificates: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Facts:
    """What an image holds: `files` is what a container sees, `hidden` what a later layer replaced or deleted.

    `digest` is that of the configuration, and `manifest` of the manifest, empty where the engine keeps none.
    """

    digest: str
    config: Mapping[str, Any]
    layers: tuple[Layer[Entry], ...]
    files: Mapping[str, Entry]
    hidden: tuple[Entry, ...] = ()
    manifest: str = ""

    @property
    def size(self) -> int:
        """The compressed bytes of all layers: what a pull transfers."""
        return sum(layer.size for layer in self.layers)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The part of the configuration that a container starts from: User, Env, Labels and so on."""
        return self.config.get("config") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return self.settings.get("Labels") or {}

    @property
    def environment(self) -> dict[str, str]:
        """The image's environment."""
        pairs = (line.partition("=") for line in self.settings.get("Env") or ())
        return {name: value for name, _, value in pairs}

    def resolve(self, path: str) -> Entry | None:
        """Return what `path` leads to, links followed, or None."""
        found = self.files.get(follow_links(self.files, path))
        return None if found is None or found.kind == "link" else found


def follow_links(files: Mapping[str, Entry], path: str, hops: int = 20) -> str:
    """Return where a path leads to in a container, whether there is anything or not: /bin/x may be /usr/bin/x."""
    known = files.get(path)
    if not path or (known and known.kind == "folder"):
        return path
    parent, _, name = path.rpartition("/")
    above = follow_links(files, parent, hops)
    if name in {"", ".", ".."}:
        return above.rpartition("/")[0] if name == ".." else above
    found = files.get(f"{above}/{name}")
    if found is None or found.kind != "link" or not hops:
        return f"{above}/{name}"
    return follow_links(files, found.link if found.link.startswith("/") else f"{above}/{found.link}", hops - 1)


@dataclass(frozen=True)
class Trial:
    """How a container of the image did; times are in seconds, None where it never came to that.

    `port` is that of the service, 0 where nothing was tried. `refused` is what the engine said where it could not
    start the container at all, `exit_code` the status of one that ended by itself. `listening` holds addresses as
    host:port. `plain` is the same trial without any hardening, made where the hardened one failed, so that the two
    causes can be told apart.
    """

    port: int = 0
    refused: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False
    answer: float | None = None
    listening: tuple[str, ...] = ()
    healthy: bool | None = None
    health_output: str = ""
    memory: int | None = None
    stop: float | None = None
    stop_code: int | None = None
    log: tuple[str, ...] = ()
    waited: float = 0.0
    plain: "Trial | None" = None

    @property
    def serves(self) -> bool:
        """Whether the service came up: it answers, and its health check, if there is one, passes."""
        return self.answer is not None and self.healthy is not False

    @property
    def telling(self) -> "Trial":
        """The trial that shows what is wrong with the service itself: the one without hardening, if there is one."""
        return self if self.serves else self.plain or self


class Scope(StrEnum):
    """Which images a rule is for."""

    EVERY = "every image"
    SERVICE = "production and slim"
    MINIMAL = "production"


@dataclass(frozen=True)
class Expected:
    """What the project expects of an image.

    `labels` must be there with these values. `pins` is the lock, None where there is none to compare with;
    `own` is the project's own distribution. `private` holds the SHA-256 of certificates that only this
    host trusts. `uncompilable` says of Python files why the image's own Python cannot compile them,
    `in_base` holds the paths under which the base image has what the service lacked.
    Budgets are in compressed bytes, seconds to the first answer, and bytes of memory; None is no limit.
    """

    target: str = "production"
    python: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, Pin] | None = None
    lock: str = ""
    own: str = ""
    private: frozenset[str] = frozenset()
    uncompilable: Mapping[str, str] = field(default_factory=dict)
    in_base: tuple[str, ...] = ()
    writable: tuple[str, ...] = ("/tmp",)  # noqa: S108 - a path in the image
    size_budget: int | None = None
    start_budget: float | None = None
    memory_budget: int | None = None

    @property
    def scope(self) -> Scope:
        """Which rules the image is held to: all, unless its target is known for less."""
        less = {"slim": Scope.SERVICE, "test": Scope.EVERY, "development": Scope.EVERY}
        return less.get(self.target, Scope.MINIMAL)


@dataclass(frozen=True)
class Case:
    """All that a rule may look at."""

    facts: Facts
    expected: Expected
    trial: Trial = Trial()


@dataclass(frozen=True)
class Violation:
    """What a rule found: `layer` is an index into the layers, an empty `hint` means the rule's own."""

    message: str
    path: str = ""
    layer: int | None = None
    hint: str = ""

    @classmethod
    def at(cls, entry: Entry, message: str) -> "Violation":
        """Return what a rule found of one path."""
        return cls(f"{entry.path} {message}", entry.path, entry.layer)


class Severity(StrEnum):
    """How bad a violation is, in SARIF's words; each of them makes the verdict fail."""

    ERROR = "error"
    WARNING = "warning"


Check = Callable[[Case], Iterable[Violation]]


@dataclass(frozen=True)
class Rule:
    """One thing that holds for a good image, as the docstring of its check says; `runs` says that it needs a trial."""

    id: str
    check: Check
    hint: str
    scope: Scope = Scope.SERVICE
    severity: Severity = Severity.ERROR
    runs: bool = False

    @property
    def meaning(self) -> str:
        """What holds, to be read on within a line."""
        text = (self.check.__doc__ or "").partition("\n")[0].rstrip(".")
        return text[:1].lower() + text[1:]


def rule(
    name: str, hint: str, scope: Scope = Scope.SERVICE, severity: Severity = Severity.ERROR, *, runs: bool = False
) -> Callable[[Check], Rule]:
    """Make a rule of a check: its docstring says what holds, and it yields where that is not so."""
    return lambda check: Rule(name, check, hint, scope, severity, runs)


@dataclass(frozen=True)
class Finding:
    """A violation with where it comes from; `accepted` is the reason where the settings accept it."""

    rule: str
    severity: Severity
    message: str
    hint: str
    path: str = ""
    layer: str = ""
    instruction: str = ""
    accepted: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome of all rules: which were looked at, what they found, which acceptances were of no use."""

    checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    unused: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The findings that nobody has accepted."""
        return tuple(finding for finding in self.findings if not finding.accepted)

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """The findings that the settings accept."""
        return tuple(finding for finding in self.findings if finding.accepted)
