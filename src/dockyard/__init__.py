"""Dockyard: from requirements to a reproducible, tested, running container image."""

__version__ = "0.1.0"
