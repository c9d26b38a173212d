"""Which module knows which kind of destination."""

from dockyard.deploy import kubernetes, single, swarm
from dockyard.deploy.cluster import Cluster
from dockyard.deploy.destination import Destination
from dockyard.settings import Settings


def open_cluster(settings: Settings, destination: Destination) -> Cluster:
    """Return a destination, ready to be asked."""
    if destination.kind == "swarm":
        return swarm.open_cluster(settings, destination)
    if destination.kind == "compose":
        return single.open_cluster(settings, destination)
    return kubernetes.open_cluster(settings, destination)
