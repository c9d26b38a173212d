import sqlite3
from importlib import metadata

from flask import Blueprint, current_app, g, request

from ._version import version

bp = Blueprint("pages", __name__)


def database():
    if "database" not in g:
        g.database = sqlite3.connect(current_app.config["DATABASE"])
    return g.database


@bp.get("/")
def index():
    return "\n".join(text for (text,) in database().execute("SELECT text FROM note ORDER BY id"))


@bp.post("/")
def add():
    with database() as connection:
        connection.execute("INSERT INTO note (text) VALUES (?)", (request.form["text"],))
    return "", 201


@bp.get("/healthz")
def healthz():
    database().execute("SELECT 1")
    return {"version": version, "installed": metadata.version("notes")}
