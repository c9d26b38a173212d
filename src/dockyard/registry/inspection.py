"""Show what an image is: in the engine or in a registry, with its layers, configuration and what refers to it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from dockyard import console
from dockyard.engine import archive
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.registry import documents
from dockyard.registry.client import parse_reference
from dockyard.registry.content import ABSENT, Document, Repository, open_repository
from dockyard.registry.errors import RegistryError
from dockyard.settings import Settings

log = logging.getLogger(__name__)

KINDS = {documents.SBOM_TYPE: "SBOM", documents.PROVENANCE_TYPE: "provenance"}
LARGEST = 64 << 20
"""Bytes beyond which something that refers to an image is only named: it is no document of ours."""


@dataclass(frozen=True)
class Attachment:
    """A document that refers to an image; `kind` is SBOM, provenance, or the type that others gave theirs."""

    kind: str
    media_type: str
    digest: str
    content: bytes


@dataclass(frozen=True)
class Image:
    """One image of one platform; `config` is what a container starts from, a layer's size that of what is stored."""

    digest: str
    platform: str
    created: str
    layers: tuple[archive.Layer[None], ...]
    config: Mapping[str, Any]
    attachments: tuple[Attachment, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all layers together: from a registry, what a pull brings."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True)
class Inspected:
    """What a reference means, and where: of an index, every platform."""

    reference: str
    where: Literal["engine", "registry"]
    digest: str
    images: tuple[Image, ...]


def inspect_image(
    settings: Settings,
    reference: str,
    *,
    engine: Engine | None = None,
    reach: Callable[[Engine, str], AbstractContextManager[Repository]] = open_repository,
) -> Inspected:
    """Look at an image: a name with a registry in it is asked of that, any other of the engine.

    What is not in the registry, but in the engine, is shown as it is there. Raise DockyardError where there is none.
    """
    wanted = parse_reference(reference)
    engine = engine or find_engine(settings)
    if wanted.host:
        try:
            with reach(engine, reference) as repository:
                top = repository.read_document(wanted.wanted)
                images = tuple(_read_remote(repository, one) for one in repository.list_images(top))
                return Inspected(str(wanted), "registry", top.digest, images)
        except RegistryError as error:
            if error.kind not in ABSENT:
                raise
            log.info(f"{wanted} is not in its registry: asking the engine")
    found: archive.Image[None] = archive.read_image(engine, str(wanted), lambda _member, _content: None)
    layers = tuple(replace(one, instruction=archive.describe_instruction(one.instruction)) for one in found.layers)
    image = _image(found.manifest or found.config_digest, found.config, layers)
    return Inspected(str(wanted), "engine", image.digest, (image,))


def select_attached(found: Inspected, kind: str) -> Iterator[bytes]:
    """Yield every attached document of a kind, whole; raise DockyardError where there is none."""
    contents = [one.content for image in found.images for one in image.attachments if one.kind == kind]
    if not contents:
        hint = "documents are attached to images in a registry: name one" if found.where == "engine" else ""
        raise DockyardError(f"no {kind} is attached to {found.reference}", hint)
    yield from contents


def describe_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a container starts from, as names and values that a person reads (pure)."""
    yield "user", str(config.get("User") or "root")
    for key, name, describe in FIELDS:
        if config.get(key):
            yield name, describe(config[key])


def _describe_check(check: Mapping[str, Any]) -> str:
    every = f", every {console.duration(check['Interval'] / 1e9)}" if check.get("Interval") else ""
    return f"{' '.join(check.get('Test') or ())}{every}"


FIELDS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Entrypoint", "entrypoint", partial(json.dumps, ensure_ascii=False)),
    ("Cmd", "command", partial(json.dumps, ensure_ascii=False)),
    ("WorkingDir", "folder", str),
    ("ExposedPorts", "ports", lambda ports: ", ".join(sorted(ports))),
    ("Healthcheck", "health check", _describe_check),
    ("StopSignal", "stops on", str),
    ("Env", "environment", lambda values: "\n".join(sorted(values))),
    ("Labels", "labels", lambda values: "\n".join(f"{key}={value}" for key, value in sorted(values.items()))),
)
"""What of a configuration is shown: its key, its name for people, and how its value is written."""


def _read_remote(repository: Repository, found: Document) -> Image:
    manifest = found.fields
    config: Mapping[str, Any] = json.loads(repository.read_blob(manifest["config"]["digest"]))
    stored: list[Mapping[str, Any]] = manifest.get("layers") or []
    absent = [""] * len(stored)  # others' configurations need not say what made a layer
    diff_ids: list[str] = [*((config.get("rootfs") or {}).get("diff_ids") or ()), *absent]
    made = [str(row.get("created_by", "")) for row in config.get("history") or () if not row.get("empty_layer")]
    layers = tuple(
        archive.Layer[None](diff_id, int(one["size"]), (), archive.describe_instruction(text))
        for one, diff_id, text in zip(stored, diff_ids, [*made, *absent], strict=False)
    )
    attached = tuple(_read_attachment(repository, one) for one in repository.list_referrers(found.digest))
    return _image(found.digest, config, layers, attached)


def _read_attachment(repository: Repository, entry: Mapping[str, Any]) -> Attachment:
    manifest = repository.read_document(entry["digest"]).fields
    media_type = str(entry.get("artifactType") or manifest.get("artifactType") or manifest["config"]["mediaType"])
    predicate = str((entry.get("annotations") or {}).get(documents.PREDICATE_KEY, documents.PREDICATE))
    foreign = media_type == documents.PROVENANCE_TYPE and predicate != documents.PREDICATE
    layers: list[Mapping[str, Any]] = manifest.get("layers") or []
    small = len(layers) == 1 and layers[0]["size"] <= LARGEST
    content = repository.read_blob(layers[0]["digest"]) if small else b""
    kind = predicate if foreign else KINDS.get(media_type, media_type)
    return Attachment(kind, media_type, entry["digest"], content)


def _image(
    digest: str,
    config: Mapping[str, Any],
    layers: tuple[archive.Layer[None], ...],
    attached: tuple[Attachment, ...] = (),
) -> Image:
    parts = (config.get("os"), config.get("architecture"), config.get("variant"))
    platform = "/".join(str(part) for part in parts if part)
    return Image(digest, platform, str(config.get("created") or ""), layers, config.get("config") or {}, attached)
