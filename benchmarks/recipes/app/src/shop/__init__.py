"""A small shop: the service that every recipe of the benchmark packs."""

from flask import Flask

from shop import catalogue, database, health

__version__ = "1.0.0"


def create_app() -> Flask:
    """Return the service with its schema up to date."""
    app = Flask(__name__)
    app.register_blueprint(health.bp)
    app.register_blueprint(catalogue.bp)
    database.prepare(app)
    return app
