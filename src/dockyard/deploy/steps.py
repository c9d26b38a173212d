"""The chain of a deploy: choose the image, ask what runs, say what differs, and do that."""

import logging
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from dockyard.deploy import kubernetes
from dockyard.deploy.cluster import Cluster
from dockyard.deploy.destination import Destination, select_destination
from dockyard.deploy.docker import Docker, open_engine
from dockyard.deploy.plan import Change, compare_objects
from dockyard.deploy.single import Host
from dockyard.deploy.swarm import Swarm
from dockyard.engine.client import find_engine
from dockyard.errors import DockyardError, SettingsError, UsageError
from dockyard.git import Git, read_git
from dockyard.image import names, records
from dockyard.image.names import Variant
from dockyard.image.record_types import DeployRecord, ImageRecord, Kind
from dockyard.image.records import Recording
from dockyard.registry import documents, sign
from dockyard.registry.client import parse_reference
from dockyard.registry.content import open_repository
from dockyard.settings import Settings

log = logging.getLogger(__name__)

Connect = Callable[[Settings, Destination], Cluster]
Record = Callable[[Settings, Kind], AbstractContextManager[Recording]]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Planned:
    """A deploy that is ready to be carried out: `image` is a repository and a digest, `previous` the one that runs."""

    settings: Settings
    destination: Destination
    cluster: Cluster
    image: str
    changes: tuple[Change, ...]
    previous: str = ""


def open_cluster(settings: Settings, destination: Destination) -> Cluster:
    """Return a destination, ready to be asked."""
    if destination.kind == "kubernetes":
        return kubernetes.open_cluster(settings, destination)
    kind = Swarm if destination.kind == "swarm" else Host
    return kind(settings, destination, Docker(open_engine(settings, destination), name=destination.name))


def plan_deploy(
    settings: Settings,
    to: str,
    image: str,
    connect: Connect = open_cluster,
) -> Planned:
    """Ask a destination what runs, and return what has to change; nothing is changed."""
    destination = select_destination(settings, to)
    pinned = pin_image(settings, image) if image else find_image(settings)
    require_evidence(settings, destination, pinned, EVIDENCE)
    cluster = connect(settings, destination)
    live = cluster.read_live()
    changes = compare_objects(live.objects, cluster.make_objects(pinned))
    previous = next((one.image for one in live.versions if one.outcome == "runs"), "")
    return Planned(settings, destination, cluster, pinned, changes, previous)


def run_deploy(planned: Planned, record: Record = records.record_run) -> int:
    """Do what a plan says; return the number of the version that runs now, 0 where there was nothing to do."""
    if not planned.changes:
        return 0
    with record(planned.settings, "deploy") as recording:
        details: DeployRecord = {
            "destination": planned.destination.name,
            "kind": planned.destination.kind,
            "action": "deploy",
            "previous": planned.previous or None,
            "changes": len({change.thing for change in planned.changes}),
        }
        recording.details |= {"deploy": details, "image": _describe_image(planned.image)}
        details["number"] = planned.cluster.apply(planned.image)
    return int(details["number"] or 0)


def run_rollback(
    settings: Settings, to: str, number: int, connect: Connect = open_cluster, record: Record = records.record_run
) -> str:
    """Return a destination to an earlier version, 0 for the one before; return its image."""
    destination = select_destination(settings, to)
    with record(settings, "deploy") as recording:
        details: DeployRecord = {
            "destination": destination.name, "kind": destination.kind, "action": "rollback", "number": number or None,
        }  # fmt: skip
        recording.details["deploy"] = details
        image = connect(settings, destination).rollback(number)
        recording.details["image"] = _describe_image(image)
    return image


def _describe_image(image: str) -> ImageRecord:
    return {"reference": image, "digest": image.rpartition("@")[2], "size_bytes": 0, "layers": []}


def pin_image(settings: Settings, wanted: str) -> str:
    """Return an image as repository@digest; raise UsageError for a tag: it may move (pure)."""
    repository, _, digest = wanted.rpartition("@")
    if not DIGEST.fullmatch(digest):
        raise UsageError(
            f"--image {wanted}: only a digest says what is deployed",
            "name it as sha256:… or repository@sha256:…: `invoke push` and `invoke release` print it last",
        )
    return f"{repository or settings.repository}@{digest}"


def find_image(settings: Settings) -> str:
    """Return what the registry has for the commit that is checked out, by its digest."""
    name = choose_reference(settings, read_git(settings.root))
    reference = parse_reference(name)
    with open_repository(find_engine(settings), name) as repository:
        digest = repository.read_document(reference.tag).digest
    log.info(f"{reference} is {digest}")
    return f"{reference.name}@{digest}"


def choose_reference(settings: Settings, git: Git | None) -> str:
    """Return the name by which a commit's production image was pushed; raise UsageError where there is none (pure)."""
    if not settings.registry or git is None or git.dirty:
        raise UsageError(
            "there is no clean commit whose image a registry could have",
            "name the image by its digest: --image sha256:…",
        )
    return names.choose_tags(settings, git, Variant(names.PRODUCTION, settings.python))[-1]


@dataclass(frozen=True)
class Evidence:
    """How it is found out what an image has: provenance in its registry, a signature by a public key."""

    has_provenance: Callable[[Settings, str], bool]
    is_signed: Callable[[Settings, str, str], bool]


def require_evidence(settings: Settings, destination: Destination, pinned: str, evidence: Evidence) -> None:
    """Raise DockyardError for an image that lacks what the destination asks for: a provenance, or a signature."""
    if destination.verified and not evidence.has_provenance(settings, pinned):
        raise DockyardError(
            f"{destination.name} takes no image without provenance, and {pinned} has none",
            "`invoke release` attaches it, after all checks; `invoke inspect` shows what is there",
        )
    if destination.key and not evidence.is_signed(settings, read_key(settings.root / destination.key), pinned):
        raise DockyardError(
            f"{destination.name} takes no image without a signature by {destination.key}, and {pinned} has none",
            "`invoke release --key …` signs",
        )


def read_key(file: Path) -> str:
    """Return a public key."""
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the public key {file} cannot be read: {error}", "`cosign public-key` prints it") from None


def has_provenance(settings: Settings, pinned: str) -> bool:
    """Ask a registry whether every image that a digest means has its provenance attached."""
    with open_repository(find_engine(settings), pinned) as repository:
        top = repository.read_document(pinned.partition("@")[2])
        for one in repository.list_images(top):
            kinds = {str(entry.get("artifactType")) for entry in repository.list_referrers(one.digest)}
            if documents.PROVENANCE_TYPE not in kinds:
                return False
    return True


def is_signed(settings: Settings, key: str, pinned: str) -> bool:
    """Have cosign say whether a digest has a signature by a public key."""
    if hindrance := sign.explain_hindrance(key):
        raise DockyardError(f"the signature of {pinned} cannot be checked: {hindrance}", "install cosign")
    environment = sign.make_environment(parse_reference(pinned).host, find_engine(settings).environment, os.environ)
    return sign.has_signature(sign.Signer("", key, False, environment), pinned)


EVIDENCE = Evidence(has_provenance, is_signed)
