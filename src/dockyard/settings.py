"""Read [tool.dockyard] of pyproject.toml and DOCKYARD_* of the environment into one frozen value.

Precedence, strongest first: the environment, pyproject.toml, the default. Every key has an environment
name: `allow-expired-release` is DOCKYARD_ALLOW_EXPIRED_RELEASE. Lists are separated by commas there.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from dockyard.errors import SettingsError

FILE = "pyproject.toml"
PREFIX = "DOCKYARD_"
NOT_SETTINGS = {"DOCKYARD_LEDGER_TOKEN", "DOCKYARD_COSIGN_KEY"}
"""Environment names that are read elsewhere, because a secret has no place in pyproject.toml."""


class Origin(NamedTuple):
    """Where a value was written, so that an error can point at it."""

    file: str
    key: str
    value: object
    table: str = "tool.dockyard"

    def error(self, wrong: str, hint: str = "") -> SettingsError:
        """Return the error that names file, key and value."""
        where = f"{self.file}: {self.key}" if self.file == "environment" else f"{self.file}: [{self.table}] {self.key}"
        return SettingsError(f"{where} = {self.value!r}: {wrong}", hint)


def parse_acceptance(text: str) -> tuple[date, str]:
    """Read until when a vulnerability is accepted and why, 'until YYYY-MM-DD: reason'; raise ValueError in words."""
    match = re.fullmatch(r"until ([0-9]{4}-[0-9]{2}-[0-9]{2}): *(\S.*)", text.strip(), re.DOTALL)
    if not match:
        raise ValueError('must be "until YYYY-MM-DD: reason"')
    try:
        return date.fromisoformat(match[1]), match[2]
    except ValueError:
        raise ValueError(f"there is no day {match[1]}") from None


Parser = Callable[[Any, Origin], Any]


def list_parsers(kind: type) -> dict[str, Parser]:
    """Return the parser that stands beside the type of each field."""
    hints = kind.__annotations__.items()
    return {name: hint.__metadata__[0] for name, hint in hints if hasattr(hint, "__metadata__")}


def match_text(pattern: str, wanted: str, *, empty: bool = False) -> Parser:
    """Return the parser of a text that a pattern fits."""

    def parse(value: Any, origin: Origin) -> str:
        if not isinstance(value, str):
            raise origin.error("must be a string", f"write it in quotes: {wanted}")
        if not (empty and not value) and not re.fullmatch(pattern, value):
            raise origin.error(f"must be {wanted}")
        return value

    return parse


def match_choice(*allowed: str) -> Parser:
    """Return the parser of one of some words."""
    return match_text("|".join(allowed), f"one of {', '.join(allowed)}")


def match_list(item: Parser, *, empty: bool = False, repeated: bool = False) -> Parser:
    """Return the parser of a list, of which each entry is parsed by another one."""

    def parse(value: Any, origin: Origin) -> tuple[Any, ...]:
        if isinstance(value, str) and origin.file == "environment":
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list):
            raise origin.error("must be a list", f'write {origin.key} = ["…", "…"]')
        if not value and not empty:
            raise origin.error("must not be empty")
        parsed = tuple(item(entry, origin._replace(value=entry)) for entry in value)
        twice = {entry for entry in parsed if parsed.count(entry) > 1}
        if twice and not repeated:
            raise origin.error(f"names {sorted(map(str, twice))[0]} more than once")
        return parsed

    return parse


def match_number(lowest: int, highest: int, what: str = "a whole number") -> Parser:
    """Return the parser of a whole number."""

    def parse(value: Any, origin: Origin) -> int:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise origin.error(f"must be {what} from {lowest} to {highest}")
        return value

    return parse


parse_port = match_number(1, 65535, "a port number")


def parse_flag(value: Any, origin: Origin) -> bool:
    """Return a flag, which the environment writes as a word."""
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if isinstance(value, str) and origin.file == "environment" and value.lower() in words:
        return words[value.lower()]
    raise origin.error("must be true or false")


def _index(value: Any, origin: Origin) -> str:
    parsed = str(_URL(value, origin))
    if "@" in parsed and origin.file != "environment":
        hidden = origin._replace(value=re.sub("//.*@", "//***@", parsed))
        name = PREFIX + origin.key.upper().replace("-", "_")
        raise hidden.error("must not hold a password", f"keep it in ~/.netrc, or in {name}")
    return parsed


def _amount(units: Mapping[str, float], wanted: str, kind: Callable[[float], float] = float) -> Parser:
    def parse(value: Any, origin: Origin) -> float:
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)", str(value).strip())
        amount = kind(float(found[1]) * units.get(found[2].lower(), 0)) if found else 0
        if isinstance(value, bool) or not amount:
            raise origin.error(f"must be {wanted}, and more than nothing")
        return amount

    return parse


_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_size = _amount(_BYTES, 'a number of bytes, or a size such as "35 MB"', int)
_seconds = _amount({"": 1, "s": 1, "ms": 0.001, "min": 60}, 'a number of seconds, or a time such as "800 ms"')


def match_table(check: Callable[[str, str], str]) -> Parser:
    """Return the parser of a table of texts; `check` says what is wrong with a name and its text, or nothing."""

    def parse(value: Any, origin: Origin) -> dict[str, str]:
        if isinstance(value, str) and origin.file == "environment":
            value = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
        if not isinstance(value, dict):
            raise origin.error("must be a table", f'write [{origin.table}.{origin.key}] above lines such as name = "…"')
        for name, text in value.items():
            wrong = check(name, text) if isinstance(text, str) else "must be a string"
            if wrong:
                raise origin.error(f"{name}: {wrong}")
        return dict(value)

    return parse


def _destinations(value: Any, origin: Origin) -> dict[str, Mapping[str, Any]]:
    # What the keys of a destination mean is for deploy.destination to say, which stands above this module.
    if isinstance(value, str) and origin.file == "environment":
        import json

        try:
            value = json.loads(value)
        except ValueError:
            raise origin.error("must be JSON", '{"production": {"kind": "swarm"}}') from None
    if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
        raise origin.error("must be a table of tables", f"write [tool.dockyard.{origin.key}.NAME] above its keys")
    return dict(value)


def _allowed(name: str, reason: str) -> str:
    # Whether there is such a rule is the policy's to say: verify.rules stands above this module.
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*(:.+)?", name):
        return "is no name of a rule, such as no-shell or no-set-uid:/usr/bin/*"
    return "" if reason.strip() else "needs a reason: why may this image break the rule?"


def _vulnerability(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9:.]+)+", name):
        return "is no identifier of a vulnerability, such as CVE-2024-1234"
    try:
        parse_acceptance(text)
    except ValueError as error:
        return str(error)
    return ""


def check_variable(name: str, _value: str) -> str:
    """Return what is wrong with the name of an environment variable, or nothing."""
    return "" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "is no name for an environment variable"


_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_APP = match_text(
    r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?|[\w./-]+ .+",
    "a WSGI or ASGI application such as package:app or package:create_app(), or a command that serves",
)
_REGISTRY = match_text(
    rf"[A-Za-z0-9.-]+(?::[0-9]+)?(?:/{_NAME})*",
    "a registry host, with port and path where needed, such as host:5000/team",
    empty=True,
)
_KEEP = match_text(
    r"/[\w./@+*?\[\]-]+", "an absolute path in the base image, * and ? allowed, such as /usr/share/misc/magic.mgc"
)
_CACHE = match_text(
    r"type=[a-z0-9]+(?:,[^\s]+)*", "a BuildKit cache such as type=registry,ref=host:5000/cache", empty=True
)
_IMAGE = match_text(rf"{_NAME}(?:/{_NAME})*", "an image name in lower case, such as ledger or team/ledger")
_FOLDER = match_text(r"(?!/)(?!.*\.\.)[^\0,]+", "a folder below the project")
_URL = match_text(r"https?://[^\s/]+\S*", "an http or https URL", empty=True)
_PATH = match_text(r"/[\w./@+-]*", "an absolute path in the image")
_PYTHON = match_text(r"3\.(9|[1-9][0-9])", "a Python version such as 3.13")
_SERVICE = match_text(r"[A-Za-z0-9._-]+", "the name of a service in compose.yaml")
_WORD = match_text(r"[^\0&|;<>!$`]+", "a word of a command, which runs without a shell")
_PLATFORM = match_text(r"linux/[a-z0-9]+(?:/v[0-9]+)?", "a platform such as linux/amd64")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Settings(NamedTuple):
    """What the project wants; `root` is the folder that holds pyproject.toml.

    Each key has its parser beside its type. No dataclass: the lock hook would take a fifth longer.
    """

    root: Path
    app: Annotated[str, _APP]
    image: Annotated[str, _IMAGE]
    sources: Annotated[tuple[str, ...], match_list(_FOLDER)] = ("src",)
    registry: Annotated[str, _REGISTRY] = ""
    pythons: Annotated[tuple[str, ...], match_list(_PYTHON)] = ("3.13",)
    python: Annotated[str, _PYTHON] = ""
    untested_pythons: Annotated[tuple[str, ...], match_list(_PYTHON, empty=True)] = ()
    ports: Annotated[tuple[int, ...], match_list(parse_port)] = (8000,)
    server: Annotated[str, match_text(r"[a-z-]+", "the name of a server, such as gunicorn", empty=True)] = ""
    health: Annotated[str, match_text(r"/[\w./?=&%~-]*", "the path of a route, such as /healthz", empty=True)] = ""
    base: Annotated[str, match_choice("auto", "registry", "debian")] = "auto"
    engine: Annotated[str, match_choice("auto", "host", "embedded")] = "auto"
    dockerfile: Annotated[str, _FOLDER] = "Dockerfile"
    keep: Annotated[tuple[str, ...], match_list(_KEEP, empty=True)] = ()
    platforms: Annotated[tuple[str, ...], match_list(_PLATFORM, empty=True)] = ()
    builder: Annotated[str, match_text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a buildx builder", empty=True)] = ""
    build_cache: Annotated[str, _CACHE] = ""
    stack: Annotated[str, match_text(r"[a-z0-9][a-z0-9_-]*", "a Compose project name in lower case")] = ""
    resolver: Annotated[str, match_choice("pip-tools", "uv")] = "pip-tools"
    hashes: Annotated[str, match_choice("all", "platform")] = "all"
    index_url: Annotated[str, _index] = ""
    audit_url: Annotated[str, _index] = ""
    ledger_url: Annotated[str, _URL] = ""
    allow_expired_release: Annotated[bool, parse_flag] = False
    size_budget: Annotated[int | None, _size] = None
    start_budget: Annotated[float | None, _seconds] = None
    memory_budget: Annotated[int | None, _size] = None
    writable: Annotated[tuple[str, ...], match_list(_PATH, empty=True)] = ("/tmp",)  # noqa: S108 - a path in the image
    allow: Annotated[Mapping[str, str], match_table(_allowed)] = _EMPTY
    accept_vulnerabilities: Annotated[Mapping[str, str], match_table(_vulnerability)] = _EMPTY
    trial_environment: Annotated[Mapping[str, str], match_table(check_variable)] = _EMPTY
    trial_tmpfs: Annotated[tuple[str, ...], match_list(_PATH, empty=True)] = ()
    trial_services: Annotated[tuple[str, ...], match_list(_SERVICE, empty=True)] = ()
    trial_release: Annotated[tuple[str, ...], match_list(_WORD, empty=True)] = ()
    deploy: Annotated[Mapping[str, Mapping[str, Any]], _destinations] = _EMPTY

    @property
    def repository(self) -> str:
        """The image's full repository name, registry included."""
        return f"{self.registry}/{self.image}" if self.registry else self.image


KEYS = {name.replace("_", "-"): parser for name, parser in list_parsers(Settings).items()}


def load(folder: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings of the project that `folder` is in; raise SettingsError naming file, key and value."""
    root = find_root(folder)
    tools = _document(root).get("tool", {})
    table = tools.get("dockyard", {}) if isinstance(tools, dict) else None
    if not isinstance(table, dict):
        raise SettingsError(f"{FILE}: [tool.dockyard] must be a table", "write [tool.dockyard] on a line of its own")
    for key in table:
        if key not in KEYS:
            raise SettingsError(f"{FILE}: [tool.dockyard] {key}: there is no such key", suggest_nearest(key, KEYS))
    names = {PREFIX + key.upper().replace("-", "_"): key for key in KEYS}
    for name in environment:
        if name.startswith(PREFIX) and name not in names and name not in NOT_SETTINGS:
            raise SettingsError(f"environment: {name}: there is no such setting", suggest_nearest(name, names))
    origins = {key: Origin(FILE, key, value) for key, value in table.items()}
    origins |= {
        key: Origin("environment", name, environment[name]) for name, key in names.items() if name in environment
    }
    values = {name: KEYS[name](origin.value, origin) for name, origin in origins.items()}
    for required, example in (("app", "package:create_app()"), ("image", "my-service")):
        if required not in values:
            raise SettingsError(f"{FILE}: [tool.dockyard] {required} is missing", f'add {required} = "{example}"')
    settings = Settings(root=root, **{name.replace("-", "_"): value for name, value in values.items()})
    python = settings.python or settings.pythons[-1]
    if python not in settings.pythons:
        raise origins["python"].error(
            f"is not among pythons: {', '.join(settings.pythons)}", "add it to pythons, or choose one of them"
        )
    if settings.hashes == "platform" and not settings.platforms:
        raise origins["hashes"].error("needs platforms", 'name those that you ship: platforms = ["linux/amd64"]')
    stack = settings.stack or re.sub(r"[^a-z0-9_-]", "-", settings.image.rsplit("/", 1)[-1])
    return settings._replace(python=python, stack=stack)


def find_root(folder: Path) -> Path:
    """Return `folder` or its nearest parent that holds a pyproject.toml; raise SettingsError where none does."""
    for candidate in (folder, *folder.parents):
        if (candidate / FILE).is_file():
            return candidate
    raise SettingsError(
        f"no {FILE} in {folder} or above", "run this inside a project, or make one with a [tool.dockyard] table"
    )


def _document(root: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((root / FILE).read_bytes().decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE}: cannot be read: {error}") from None


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for a word that nobody knows: the known word that is most like it, or all of them (pure)."""
    import difflib  # a word is misspelt rarely

    known = list(known)
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
