"""The Nox sessions of this repository: those that Dockyard offers to any project."""

from dockyard.sessions import integration, lint, pipeline, tests, types

__all__ = ["integration", "lint", "pipeline", "tests", "types"]
