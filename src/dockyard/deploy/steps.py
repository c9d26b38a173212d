"""The chain of a deploy: choose the image, ask what runs, say what differs, do that, and keep a record."""

import re
from dataclasses import dataclass

from dockyard.deploy.cluster import Cluster
from dockyard.deploy.destination import Destination, select_destination
from dockyard.deploy.kinds import open_cluster
from dockyard.deploy.plan import Change, compare_objects
from dockyard.errors import UsageError
from dockyard.settings import Settings

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Planned:
    """A deploy that is ready to be carried out: `image` is a repository and a digest."""

    settings: Settings
    destination: Destination
    cluster: Cluster
    image: str
    changes: tuple[Change, ...]


def plan_deploy(settings: Settings, to: str, image: str) -> Planned:
    """Ask a destination what runs, and return what has to change; nothing is changed."""
    destination = select_destination(settings, to)
    pinned = pin_image(settings, image)
    cluster = open_cluster(settings, destination)
    changes = compare_objects(cluster.read_live().objects, cluster.make_objects(pinned))
    return Planned(settings, destination, cluster, pinned, changes)


def pin_image(settings: Settings, wanted: str) -> str:
    """Return an image as repository@digest; raise UsageError for a tag: it may move (pure)."""
    repository, _, digest = wanted.rpartition("@")
    if not DIGEST.fullmatch(digest):
        raise UsageError(
            f"--image {wanted}: only a digest says what is deployed",
            "name it as sha256:… or repository@sha256:…: `invoke push` and `invoke release` print it last",
        )
    return f"{repository or settings.repository}@{digest}"
