import os
import sqlite3
from importlib import resources

from flask import Flask, g


def create_app(config=None):
    app = Flask(__name__, instance_relative_config=True)
    app.config.update(config or {})
    os.makedirs(app.instance_path, exist_ok=True)
    database = app.config.setdefault("DATABASE", os.path.join(app.instance_path, "notes.db"))
    with sqlite3.connect(database) as connection:
        connection.executescript(resources.files(__package__).joinpath("schema.sql").read_text())

    from . import pages

    app.register_blueprint(pages.bp)

    @app.teardown_appcontext
    def close(_error):
        if "database" in g:
            g.pop("database").close()

    return app
