"""Whether the shop can serve."""
# What the shop imports is installed in its images alone.
# mypy: ignore-errors

from flask import Blueprint, current_app
from sqlalchemy import text

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> dict[str, str]:
    """Ask the database for a sign of life."""
    with current_app.extensions["shop"].connect() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok"}
