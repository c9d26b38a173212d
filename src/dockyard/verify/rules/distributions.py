"""Rules on installed packages: they are those of the lock, and their files are those that were published."""

import base64
import csv
import io
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser

from packaging.utils import canonicalize_name

from dockyard.locks.markers import holds_on
from dockyard.locks.pins import Pin, equal_versions, parse_pins
from dockyard.verify.model import Case, Entry, Facts, Scope, Violation, rule

METADATA = re.compile(
    r"(?P<folder>.*/(?:site|dist)-packages)/(?P<info>[^/]+\.(?:dist|egg)-info)(?:/METADATA|/PKG-INFO|)"
)
RUNS_BY_ITSELF = re.compile(r"[^/]+\.pth|sitecustomize\.py|usercustomize\.py")
"""What Python runs at every start without being asked."""


@dataclass(frozen=True)
class Distribution:
    """One installed distribution: its normal name, the folder that it lies in, its metadata, and its list of files.

    `brought` has the path of each, and its SHA-256 in hexadecimal, empty where RECORD gives none.
    """

    name: str
    version: str
    folder: str
    info: Entry
    record: Entry | None
    brought: tuple[tuple[str, str], ...]


@rule(
    "locked-distributions",
    "install the lock and nothing else: --no-deps --require-hashes -r LOCK; `invoke lock` brings it up to date",
    Scope.EVERY,
)
def locked(case: Case) -> Iterator[Violation]:
    """The installed distributions are those of the lock, by name and version: none more, none missing."""
    pins = case.expected.pins
    if pins is None:
        yield Violation(f"there is no lock to compare with: {case.expected.lock}", hint="run `invoke lock`")
        return
    found = list(find_distributions(case))
    for one in found:
        pin = pins.get(one.name)
        if pin is None and one.name != canonicalize_name(case.expected.own):
            yield _at(one, f"{one.name} {one.version} is installed, but is not in {case.expected.lock}")
        elif pin and pin.version and not equal_versions(pin.version, one.version):
            yield _at(one, f"{one.name} {one.version} is installed, but {case.expected.lock} says {pin.version}")
    names = Counter(one.name for one in found)
    for pin in pins.values():
        if pin.name not in names:
            yield Violation(f"{pin.name} {pin.version} is in {case.expected.lock}, but not installed")
    yield from (Violation(f"{name} is installed more than once") for name, times in names.items() if times > 1)


@rule(
    "unchanged-distributions",
    "find the step that changes the files after the install; a patched package belongs into an index of your own",
    Scope.EVERY,
)
def unchanged(case: Case) -> Iterator[Violation]:
    """Every file of a distribution has the hash that its RECORD says."""
    files = case.facts.files
    owned: set[str] = set()
    folders: set[str] = set()
    for one in find_distributions(case):
        folders.add(one.folder)
        if one.record is None and one.info.path.endswith("/METADATA"):
            yield _at(one, f"{one.name} has no RECORD: nothing tells which files it brought")
        for path, digest in one.brought:
            owned.add(path)
            held = files.get(path)
            if path.endswith(".pyc") or (held and digest in ("", held.sha256)):  # nobody publishes bytecode
                continue
            missing = "is missing, although RECORD names it"
            wrong = "is not the file that was published: its hash differs from RECORD" if held else missing
            yield Violation(f"{path} {wrong} ({one.name} {one.version})", path, (held or one.info).layer)
    for entry in files.values():
        folder, _, name = entry.path.rpartition("/")
        if folder in folders and RUNS_BY_ITSELF.fullmatch(name) and entry.path not in owned:
            yield Violation.at(entry, "runs at every start of Python, and no distribution brought it")


def find_distributions(case: Case) -> Iterator[Distribution]:
    """Yield the distributions that count: all of a minimal image, else those of a virtual environment."""
    prefix = "" if case.expected.scope is Scope.MINIMAL else find_virtual_environment(case.facts)
    for entry in case.facts.files.values():
        match = METADATA.fullmatch(entry.path)
        if match and entry.kind == "file" and entry.data and entry.path.startswith(prefix):
            headers, folder = BytesHeaderParser().parsebytes(entry.data), match["folder"]
            record = case.facts.files.get(f"{entry.path.rpartition('/')[0]}/RECORD")
            brought = tuple(read_record(record.data, folder)) if record else ()
            name = canonicalize_name(headers["Name"] or match["info"])
            yield Distribution(name, headers["Version"] or "", folder, entry, record, brought)


def find_owners(case: Case) -> dict[str, Distribution]:
    """Return the files that locked distributions have brought, by their paths, links in bin with them."""
    pins = case.expected.pins or {}
    return {path: one for one in find_distributions(case) if one.name in pins for path, _ in one.brought}


def find_virtual_environment(facts: Facts) -> str:
    """Return the first folder on PATH that is a virtual environment's, with a slash behind it, or nothing."""
    for folder in facts.environment.get("PATH", "").split(":"):
        prefix = folder.rpartition("/")[0]
        if prefix and f"{prefix}/pyvenv.cfg" in facts.files:
            return f"{prefix}/"
    return ""


def read_record(record: bytes, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the paths that a RECORD names, and the SHA-256 in hexadecimal, empty where it gives none."""
    for row in csv.reader(io.StringIO(record.decode("utf-8", "replace"))):
        if row and row[0]:
            algorithm, _, value = (row[1] if len(row) > 1 else "").partition("=")
            padded = value + "=" * (-len(value) % 4)
            digest = base64.urlsafe_b64decode(padded).hex() if algorithm == "sha256" else ""
            yield posixpath.normpath(posixpath.join(folder, row[0])), digest


def read_pins(text: str, facts: Facts, python: str) -> dict[str, Pin]:
    """Return what a lock pins for the platform of an image, wherever it is looked at, by normal name (pure)."""
    said = facts.environment.get("PYTHON_VERSION", "")  # Python's images say it in full
    full = said if said.startswith(f"{python}.") else f"{python}.0"
    architecture, variant = (str(facts.config.get(key) or "") for key in ("architecture", "variant"))
    platform = f"linux/{architecture}/{variant}".rstrip("/")
    return {pin.name: pin for pin in parse_pins(text) if holds_on(pin.marker, platform, python, full)}


def _at(one: Distribution, message: str) -> Violation:
    return Violation(message, one.info.path.rpartition("/")[0], one.info.layer)
