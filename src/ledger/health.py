"""Tell a supervisor whether the process is alive, and whether it can serve."""

import sqlite3

from flask import Blueprint, Response, jsonify

from ledger.database import get_db

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """Answer while the process lives; a database in trouble is no reason to restart it."""
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> Response:
    """Answer 200 when the database answers a query on the table that every page needs, else 503."""
    try:
        get_db().execute("SELECT id FROM runs LIMIT 1").fetchone()
    except sqlite3.Error as error:
        response = jsonify(status="unavailable", reason=f"database: {error}")
        response.status_code = 503
        return response
    return jsonify(status="ok")
