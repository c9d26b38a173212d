"""Ledger: a service that records builds and shows how they went."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["create_app"]


def create_app(config: Mapping[str, Any] | None = None) -> "Flask":
    """Make the application: see ledger.application."""
    # The health check imports this package too, every few seconds, and must not wait for Flask.
    from ledger import application

    return application.create_app(config)
