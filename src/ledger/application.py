"""Put the parts of the service together."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from ledger import api, database, errors, headers, health, pages, settings

MAX_RECORD_BYTES = 1024 * 1024


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application, its database ready to use.

    Without `config` the settings come from the environment; with it the environment is not read,
    so a test never depends on the machine it runs on. Raises SettingsError when it cannot start.
    """
    app = Flask("ledger")
    app.config.from_mapping(LEDGER_DATABASE=None, LEDGER_TOKEN=None, MAX_CONTENT_LENGTH=MAX_RECORD_BYTES)
    app.config.from_mapping(settings.load(os.environ) if config is None else config)
    database.init_app(app)
    errors.init_app(app)
    headers.init_app(app)
    for blueprint in (health.bp, api.bp, pages.bp):
        app.register_blueprint(blueprint)
    return app
