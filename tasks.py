"""The Invoke tasks of this repository: all of Dockyard's, as any project has them."""

from dockyard.tasks import namespace as ns

__all__ = ["ns"]
