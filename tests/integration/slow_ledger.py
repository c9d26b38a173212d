"""The ledger with a route that takes its time: what a request in flight looks like when the server stops."""

import time

from flask import Flask

from ledger import create_app

SECONDS = 1.5


def create_slow_app() -> Flask:
    """Make the service, and add `/slow` to it."""
    app = create_app()

    @app.get("/slow")
    def slow() -> str:
        app.logger.warning("slow request began")
        time.sleep(SECONDS)
        return "answered"

    return app
