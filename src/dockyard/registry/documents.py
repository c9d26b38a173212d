"""The documents that lie beside an image: what it was made from (SLSA provenance v1) and what is in it (CycloneDX 1.6).

Both depend on the image and its lock alone, and on no time or place of writing: byte for byte the same wherever they
are made. The times of a build are optional in SLSA and left out. They refer to a pushed image (OCI 1.1) and are no part
of it; what is said of it is read from its own layers in the registry. Attaching them again changes nothing.
"""

import io
import json
import logging
import re
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from email.parser import BytesHeaderParser
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

from dockyard import __version__
from dockyard.apt import parse_installed, parse_os_release
from dockyard.engine.archive import path_of, read_layer
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.image.names import DIRTY, PREFIX, describe_revision
from dockyard.locks.check import choose_lock
from dockyard.locks.pins import Pin, parse_pins
from dockyard.registry.client import parse_reference
from dockyard.registry.content import Document, Repository, open_repository

if TYPE_CHECKING:
    from dockyard.settings import Settings

log = logging.getLogger(__name__)

PROVENANCE_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PREDICATE_KEY = "in-toto.io/predicate-type"
"""The annotation by which tools tell one in-toto statement from another without fetching it."""
BUILD_TYPE = "urn:dockyard:build:1"
BUILDER = "urn:dockyard:builder"


@dataclass(frozen=True)
class Subject:
    """One image of one platform, which statements are about, by its manifest's digest and its configuration."""

    digest: str
    config: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def architecture(self) -> str:
        """The processor that it is for, by the name that images use."""
        return str(self.config.get("architecture") or "")

    def label(self, key: str) -> str:
        """Return a label by its OCI key, or by its whole name; raise DockyardError where the image has none."""
        found = self.labels.get(PREFIX + key) or self.labels.get(key)
        if not found:
            raise DockyardError(
                f"the image {self.digest} does not say its {key.rpartition('.')[2]}: it has no such label",
                "only images made by `invoke build` say what they were made from",
            )
        return found


def make_statement(subject: Subject, path: str, lock: bytes) -> dict[str, Any]:
    """Return the provenance of an image, from its own labels and the lock of its commit at `path` in the project.

    Uncommitted changes are in no commit, so that none is named by its digest then.
    """
    revision, address = subject.label("revision"), subject.labels.get(f"{PREFIX}source", "")
    commit = revision.removesuffix(DIRTY)
    dated = datetime.fromisoformat(subject.label("created"))
    source: dict[str, Any] = {"name": "source"} | ({"uri": f"git+{address}@{commit}"} if address else {})
    if revision.endswith(DIRTY):
        source["annotations"] = {"uncommittedChangesOn": commit}
    else:
        source["digest"] = {"gitCommit": commit}
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
                        "SOURCE_DATE_EPOCH": str(int(dated.timestamp())),
                    },
                    "platform": f"{subject.config.get('os', 'linux')}/{subject.architecture}",
                },
                "resolvedDependencies": [
                    source,
                    {"name": subject.label("base.name"), "digest": _digest(subject.label("base.digest"))},
                    {"name": path, "digest": {"sha256": sha256(lock).hexdigest()}},
                ],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"dockyard": __version__}}},
        },
    }


def _digest(text: str) -> Mapping[str, str]:
    algorithm, _, value = text.partition(":")
    return {algorithm: value}


SBOM_TYPE = "application/vnd.cyclonedx+json"
WANTED = re.compile(
    r"/var/lib/dpkg/status(?:\.d/[^/]+)?|(?:/etc|/usr/lib)/os-release|.*/pyvenv\.cfg"
    r"|.*/(?:site|dist)-packages/[^/]+\.dist-info/METADATA|.*/\.wh\.[^/]+"
)
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
VERSION = re.compile(r"(?m)^version\s*=\s*(\S+)")
INTERPRETER = re.compile(r"python3\.\d+-minimal")
ALGORITHMS = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
Kept = tuple[str, bytes]


@dataclass(frozen=True)
class Inventory:
    """What an image holds that can be named: distributions as (name, version, licence), Debian packages by field."""

    distributions: tuple[tuple[str, str, str], ...] = ()
    packages: tuple[Mapping[str, str], ...] = ()
    release: Mapping[str, str] = field(default_factory=dict)
    python: str = ""


def keep_telling(member: tarfile.TarInfo, content: IO[bytes] | None) -> Kept | None:
    """Keep, of a layer's entries, those that say what is in the image; use it with archive.read_image."""
    path = path_of(member)
    return (path, content.read() if content else b"") if WANTED.fullmatch(path) else None


def collect_contents(layers: Iterable[Sequence[Kept]]) -> Inventory:
    """Return what an image holds, from what was kept of its layers, lowest first."""
    files: dict[str, bytes] = {}
    for layer in layers:
        for path, _ in layer:
            folder, _, name = path.rpartition("/")
            if name.startswith(WHITEOUT):
                gone = folder if name == OPAQUE else f"{folder}/{name.removeprefix(WHITEOUT)}"
                files = {known: data for known, data in files.items() if not f"{known}/".startswith(f"{gone}/")}
        files.update((path, data) for path, data in layer if WHITEOUT not in path)
    release = (files.get("/usr/lib/os-release") or files.get("/etc/os-release") or b"").decode()
    packages = parse_installed("\n\n".join(data.decode() for path, data in files.items() if "/dpkg/status" in path))
    python, installed = "", set[tuple[str, str, str]]()
    for path, data in sorted(files.items()):
        if path.endswith("/METADATA"):
            headers = BytesHeaderParser().parsebytes(data)
            licence = str(headers["License-Expression"] or "")
            installed.add((canonicalize_name(str(headers["Name"])), str(headers["Version"]), licence))
        elif not python and path.endswith("/pyvenv.cfg") and (said := VERSION.search(data.decode())):
            python = said[1]
    named = tuple(packages[name] for name in sorted(packages))
    return Inventory(tuple(sorted(installed)), named, parse_os_release(release), python)


def make_document(subject: Subject, held: Inventory, pins: Iterable[Pin]) -> dict[str, Any]:
    """Return the bill of materials of an image; `pins` are those of the lock that it was built from."""
    locked = {pin.name: pin for pin in pins}
    components: dict[str, dict[str, Any]] = {}
    # The official images compile their own interpreter: no package brings it.
    if held.python and not any(INTERPRETER.fullmatch(package["Package"]) for package in held.packages):
        purl = f"pkg:generic/python@{held.python}"
        components[purl] = _component(purl, "python", held.python)
    for package in held.packages:
        purl = _deb(package, held.release)
        components[purl] = _component(purl, package["Package"], package["Version"], "library")
    system, installed = tuple(components), dict[str, str]()
    for name, version, licence in held.distributions:
        purl = installed[name] = f"pkg:pypi/{name}@{quote(version, safe='')}"
        components[purl] = _component(purl, name, version, "library")
        pin = locked.get(name)
        # The hashes are those of every file that the lock would take for it.
        hashes = [digest.partition(":") for digest in (pin.hashes if pin and pin.version in ("", version) else ())]
        known = [{"alg": ALGORITHMS[kind], "content": content} for kind, _, content in hashes if kind in ALGORITHMS]
        components[purl] |= {"hashes": known} if known else {}
        components[purl] |= {"licenses": [{"expression": licence}]} if licence else {}
    own = f"pkg:oci/{subject.label('title').rpartition('/')[2]}@{quote(subject.digest, safe='')}"
    own += f"?arch={quote(subject.architecture, safe='')}"
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
        "dependencies": list(_dependencies(own, system, installed, locked)),
    }


def encode(made: Mapping[str, Any]) -> bytes:
    """Return a document as the bytes that are attached: in one form, and readable."""
    return (json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _component(purl: str, name: str, version: str, kind: str = "platform") -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _dependencies(
    own: str, system: Iterable[str], installed: Mapping[str, str], locked: Mapping[str, Pin]
) -> Iterator[dict[str, Any]]:
    """Yield who needs whom: the lock says it of distributions; the image itself needs what nobody else asks for."""
    via = {name: set(locked[name].via) if name in locked else set() for name in installed}
    direct = [
        purl
        for name, purl in installed.items()
        if not via[name] & installed.keys() or any(one.startswith("-") for one in via[name])
    ]
    yield {"ref": own, "dependsOn": sorted((*system, *direct))}
    for name, purl in sorted(installed.items(), key=lambda pair: pair[1]):
        yield {"ref": purl, "dependsOn": sorted(installed[one] for one in installed if name in via[one])}
    for purl in sorted(system):
        yield {"ref": purl}


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


def attest_image(
    settings: "Settings",
    reference: str,
    *,
    engine: Engine | None = None,
    reach: Callable[[Engine, str], AbstractContextManager[Repository]] = open_repository,
) -> tuple[Document, ...]:
    """Attach both documents to every platform of an image that was pushed; return the manifests that name them."""
    with reach(engine or find_engine(settings), reference) as repository:
        images = repository.list_images(repository.read_document(parse_reference(reference).wanted))
        return tuple(one for image in images for one in _attach(repository, image, settings))


def read_lock(settings: "Settings", subject: Subject) -> tuple[str, bytes]:
    """Return the path and content of an image's lock; raise DockyardError where this tree is of another commit."""
    target, python = subject.label("io.dockyard.target"), subject.label("io.dockyard.python")
    here, revision = describe_revision(read_git(settings.root)), subject.label("revision")
    if here != revision:
        text = f"the image was made from {revision}, and this tree is {here or 'in no repository'}: its lock may differ"
        raise DockyardError(text, f"git checkout {revision.removesuffix(DIRTY)[:12]}, or push a new image")
    path = choose_lock(settings.root, target, python)
    try:
        return path, (settings.root / path).read_bytes()
    except OSError as error:
        raise DockyardError(f"the lock of the image cannot be read: {error}", "run `invoke lock`") from None


def _attach(repository: Repository, found: Document, settings: "Settings") -> Iterator[Document]:
    config = json.loads(repository.read_blob(found.fields["config"]["digest"]))
    subject = Subject(found.digest, config)
    path, lock = read_lock(settings, subject)
    layers = []
    for layer in found.fields.get("layers") or ():
        content = repository.read_blob(layer["digest"])
        blob = io.BufferedReader(io.BytesIO(content))
        layers.append(read_layer(blob, keep_telling, layer["digest"], len(content)).items)
    bill = make_document(subject, collect_contents(layers), parse_pins(lock.decode("utf-8-sig")))
    created = {f"{PREFIX}created": subject.label("created")}
    for kind, media_type, document, said in (
        ("SBOM", SBOM_TYPE, bill, created),
        ("provenance", PROVENANCE_TYPE, make_statement(subject, path, lock), {**created, PREDICATE_KEY: PREDICATE}),
    ):
        made, new = repository.attach(found.descriptor, encode(document), media_type, said)
        platform = f"{subject.config.get('os')}/{subject.architecture}"
        how = "attached" if new else "was attached already"
        log.info(f"{kind} of {found.digest[:19]} ({platform}) {how}: {made.digest}")
        yield made
