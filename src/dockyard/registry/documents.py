"""The documents that lie beside an image: what it was made from (SLSA provenance v1) and what is in it (CycloneDX 1.6).

Both depend on the image and its lock alone, and on no time or place of writing: byte for byte the same wherever they
are made. The times of a build are optional in SLSA and left out. Nothing here reads or writes anything.
"""

import json
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from hashlib import sha256
from typing import IO, Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

from dockyard import __version__
from dockyard.apt import parse_installed, parse_os_release
from dockyard.engine.archive import path_of
from dockyard.errors import DockyardError
from dockyard.locks.pins import Pin

PROVENANCE_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:dockyard:build:1"
BUILDER = "urn:dockyard:builder"
DIRTY = "-dirty"
PREFIX = "org.opencontainers.image."


@dataclass(frozen=True)
class Subject:
    """One image of one platform, which statements are about.

    `digest`, `media_type` and `size` are those of its manifest, `config` is its configuration.
    """

    digest: str
    config: Mapping[str, Any]
    media_type: str = "application/vnd.oci.image.manifest.v1+json"
    size: int = 0

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def architecture(self) -> str:
        """The processor that it is for, by the name that images use."""
        return str(self.config.get("architecture") or "")

    @property
    def epoch(self) -> int:
        """The time that the image is dated with, which is its commit's, in seconds since the epoch."""
        return int(datetime.strptime(self.label("created"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())

    def label(self, key: str) -> str:
        """Return a label by its OCI key, or by its whole name; raise DockyardError where the image has none."""
        found = self.labels.get(PREFIX + key) or self.labels.get(key)
        if not found:
            raise DockyardError(
                f"the image {self.digest} does not say its {key.rpartition('.')[2]}: it has no such label",
                "only images made by `invoke build` say what they were made from",
            )
        return found


@dataclass(frozen=True)
class Lock:
    """The lock that an image's packages come from: its path in the project, and what it says."""

    path: str
    content: bytes


def make_statement(subject: Subject, lock: Lock) -> dict[str, Any]:
    """Return the provenance of an image, from its own labels and the lock of its commit."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": subject.label("title"), "digest": _digest(subject.digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "target": subject.label("io.dockyard.target"),
                    "python": subject.label("io.dockyard.python"),
                    "arguments": {
                        "PYTHON_VERSION": subject.label("io.dockyard.python"),
                        "SOURCE_DATE_EPOCH": str(subject.epoch),
                    },
                    "platform": f"{subject.config.get('os', 'linux')}/{subject.architecture}",
                },
                "resolvedDependencies": [
                    _source(subject),
                    {"name": subject.label("base.name"), "digest": _digest(subject.label("base.digest"))},
                    {"name": lock.path, "digest": {"sha256": sha256(lock.content).hexdigest()}},
                ],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"dockyard": __version__}}},
        },
    }


def _source(subject: Subject) -> dict[str, Any]:
    """Return the commit; uncommitted changes are in no commit, so that none is named by its digest then."""
    revision = subject.label("revision")
    address = subject.labels.get("org.opencontainers.image.source", "")
    commit = revision.removesuffix(DIRTY)
    found: dict[str, Any] = {"name": "source"}
    if address:
        found["uri"] = f"git+{address}@{commit}"
    if revision.endswith(DIRTY):
        return {**found, "annotations": {"uncommittedChangesOn": commit}}
    return {**found, "digest": {"gitCommit": commit}}


def _digest(text: str) -> Mapping[str, str]:
    algorithm, _, value = text.partition(":")
    return {algorithm: value}


SBOM_TYPE = "application/vnd.cyclonedx+json"
WANTED = re.compile(
    r"/var/lib/dpkg/status(?:\.d/[^/]+)?|(?:/etc|/usr/lib)/os-release|.*/pyvenv\.cfg"
    r"|.*/(?:site|dist)-packages/[^/]+\.dist-info/METADATA|.*/\.wh\.[^/]+"
)
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
INTERPRETER = re.compile(r"python3\.\d+-minimal")
ALGORITHMS = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
Kept = tuple[str, bytes]


@dataclass(frozen=True)
class Contents:
    """What an image holds that can be named: distributions as (name, version, licence), Debian packages by field."""

    distributions: tuple[tuple[str, str, str], ...] = ()
    packages: tuple[Mapping[str, str], ...] = ()
    release: Mapping[str, str] = field(default_factory=dict)
    python: str = ""


def keep_telling(member: tarfile.TarInfo, content: IO[bytes] | None) -> Kept | None:
    """Keep, of a layer's entries, those that say what is in the image; use it with archive.read_image."""
    path = path_of(member)
    return (path, content.read() if content else b"") if WANTED.fullmatch(path) else None


def collect_contents(layers: Iterable[Sequence[Kept]]) -> Contents:
    """Return what an image holds, from what was kept of its layers, lowest first."""
    files: dict[str, bytes] = {}
    for layer in layers:
        for path, _ in layer:
            files = {known: data for known, data in files.items() if not _deleted(known, path)}
        files.update((path, data) for path, data in layer if WHITEOUT not in path)
    release = (files.get("/usr/lib/os-release") or files.get("/etc/os-release") or b"").decode()
    installed = {_distribution(data) for path, data in files.items() if path.endswith("/METADATA")}
    packages = parse_installed("\n\n".join(data.decode() for path, data in files.items() if "/dpkg/status" in path))
    named = tuple(packages[name] for name in sorted(packages))
    return Contents(tuple(sorted(installed)), named, parse_os_release(release), _python(files))


def make_document(subject: Subject, held: Contents, pins: Iterable[Pin]) -> dict[str, Any]:
    """Return the bill of materials of an image; `pins` are those of the lock that it was built from."""
    locked = {pin.name: pin for pin in pins}
    python = {purl: _component(purl, name, version) for purl, name, version in _interpreter(held)}
    debian = {_deb(package, held.release): package for package in held.packages}
    pypi = {_pypi(name, version): (name, version, licence) for name, version, licence in held.distributions}
    components = {
        **python,
        **{purl: _component(purl, one["Package"], one["Version"], "library") for purl, one in debian.items()},
        **{purl: _python_component(purl, *one, locked.get(one[0])) for purl, one in pypi.items()},
    }
    own = _oci(subject)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, subject.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": subject.label("created"),
            "tools": {"components": [{"type": "application", "name": "dockyard", "version": __version__}]},
            "component": _component(own, subject.label("title"), subject.digest, "container"),
        },
        "components": [components[purl] for purl in sorted(components)],
        "dependencies": list(
            _dependencies(own, (*python, *debian), {one[0]: purl for purl, one in pypi.items()}, locked)
        ),
    }


def encode(made: Mapping[str, Any]) -> bytes:
    """Return a document as the bytes that are attached: in one form, and readable."""
    return (json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _component(purl: str, name: str, version: str, kind: str = "platform") -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _python_component(purl: str, name: str, version: str, licence: str, pin: Pin | None) -> dict[str, Any]:
    """Return the component of a distribution: the hashes are those of every file that the lock would take for it."""
    hashes = [digest.partition(":") for digest in (pin.hashes if pin and pin.version in ("", version) else ())]
    known = [{"alg": ALGORITHMS[name], "content": content} for name, _, content in hashes if name in ALGORITHMS]
    return {
        **_component(purl, name, version, "library"),
        **({"hashes": known} if known else {}),
        **({"licenses": [{"expression": licence}]} if licence else {}),
    }


def _dependencies(
    own: str, system: Iterable[str], installed: Mapping[str, str], locked: Mapping[str, Pin]
) -> Iterator[dict[str, Any]]:
    """Yield who needs whom: the lock says it of distributions; the image itself needs what nobody else asks for."""
    askers = {
        name: {asker for asker in (locked[name].via if name in locked else ()) if asker in installed}
        for name in installed
    }
    wanted = {name: locked[name].via if name in locked else () for name in installed}
    direct = [
        purl for name, purl in installed.items() if not askers[name] or any(one.startswith("-") for one in wanted[name])
    ]
    yield {"ref": own, "dependsOn": sorted((*system, *direct))}
    for name, purl in sorted(installed.items(), key=lambda pair: pair[1]):
        yield {"ref": purl, "dependsOn": sorted(installed[one] for one in installed if name in askers[one])}
    for purl in sorted(system):
        yield {"ref": purl}


def _pypi(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{quote(version, safe='')}"


def _deb(package: Mapping[str, str], release: Mapping[str, str]) -> str:
    """Return a Debian package's purl; `upstream` is its source, by which advisories know it."""
    system = release.get("ID", "debian")
    source = package.get("Source", "").partition(" ")
    qualifiers = {
        "arch": package.get("Architecture", ""),
        "distro": f"{system}-{release.get('VERSION_ID') or release.get('VERSION_CODENAME', '')}".rstrip("-"),
        "upstream": source[0] + (f"@{source[2].strip('()')}" if source[2] else ""),
    }
    said = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items() if value)
    return f"pkg:deb/{system}/{quote(package['Package'], safe='')}@{quote(package['Version'], safe='')}?{said}"


def _oci(subject: Subject) -> str:
    name = subject.label("title").rpartition("/")[2]
    return f"pkg:oci/{name}@{quote(subject.digest, safe='')}?arch={quote(subject.architecture, safe='')}"


def _interpreter(held: Contents) -> Iterator[tuple[str, str, str]]:
    """Yield the interpreter where no package brings it: the official images compile their own."""
    if held.python and not any(INTERPRETER.fullmatch(package["Package"]) for package in held.packages):
        yield f"pkg:generic/python@{held.python}", "python", held.python


def _deleted(path: str, entry: str) -> bool:
    folder, _, name = entry.rpartition("/")
    if name == OPAQUE:
        return path.startswith(f"{folder}/")
    gone = f"{folder}/{name.removeprefix(WHITEOUT)}"
    return name.startswith(WHITEOUT) and (path == gone or path.startswith(f"{gone}/"))


def _distribution(metadata: bytes) -> tuple[str, str, str]:
    headers = BytesHeaderParser().parsebytes(metadata)
    return canonicalize_name(str(headers["Name"])), str(headers["Version"]), str(headers["License-Expression"] or "")


def _python(files: Mapping[str, bytes]) -> str:
    said = (data.decode() for path, data in sorted(files.items()) if path.endswith("/pyvenv.cfg"))
    return next((found[1] for found in (re.search(r"(?m)^version\s*=\s*(\S+)", text) for text in said) if found), "")
