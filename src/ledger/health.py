"""Tell a supervisor whether the process is alive, and whether it can serve."""

from flask import Blueprint, Response, jsonify
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from ledger import database
from ledger.models import Run, db

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """Answer while the process lives; a database in trouble is no reason to restart it."""
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> Response:
    """Answer 200 when the database answers a query on the table that every page needs, else 503."""
    try:
        db.session.execute(select(Run.id).limit(1))
    except SQLAlchemyError as error:
        response = jsonify(status="unavailable", reason=f"database: {database.reason(error)}")
        response.status_code = 503
        return response
    return jsonify(status="ok")
