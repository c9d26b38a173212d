"""Put the parts of the service together."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from ledger import (
    api,
    commands,
    database,
    errors,
    headers,
    health,
    metrics,
    pages,
    request_ids,
    settings,
    tokens,
)

MAX_RECORD_BYTES = 1024 * 1024


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application; nothing is opened before it is used.

    Without `config` the settings come from the environment; with it the environment is not read,
    so a test never depends on the machine it runs on. Raises SettingsError when it cannot start.
    """
    app = Flask("ledger")
    app.config.from_mapping(LEDGER_TOKEN=None, LEDGER_PROXIES=0, MAX_CONTENT_LENGTH=MAX_RECORD_BYTES)
    # No page sets a cookie; one that ever does sends it over TLS alone (browsers take localhost for that too).
    app.config.from_mapping(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Strict")
    app.config.from_mapping(settings.load(os.environ) if config is None else config)
    database.init_app(app)
    commands.init_app(app)
    errors.init_app(app)
    metrics.init_app(app)
    request_ids.init_app(app)
    app.extensions["ledger-failures"] = tokens.Failures()
    headers.init_app(app)
    for blueprint in (health.bp, api.bp, pages.bp):
        app.register_blueprint(blueprint)
    if proxies := app.config["LEDGER_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, proxies, proxies, proxies)  # type: ignore[method-assign]
    return app
