"""Which module knows which kind of destination."""

from dockyard.deploy import single, swarm
from dockyard.deploy.cluster import Cluster
from dockyard.deploy.destination import Destination
from dockyard.errors import UsageError
from dockyard.settings import Settings


def open_cluster(settings: Settings, destination: Destination) -> Cluster:
    """Return a destination, ready to be asked."""
    if destination.kind == "swarm":
        return swarm.open_cluster(settings, destination)
    if destination.kind == "compose":
        return single.open_cluster(settings, destination)
    raise UsageError(f"deploys to {destination.kind} are not there yet")
