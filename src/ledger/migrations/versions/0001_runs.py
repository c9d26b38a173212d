"""Runs, as the first ledgers kept them: a SQLite file of theirs is taken over as it is."""

import sqlalchemy as sa
from alembic import op

from ledger.models import DOCUMENT, exact

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of runs, unless a ledger from before these migrations did."""
    if sa.inspect(op.get_bind()).has_table("runs"):
        return
    op.create_table(
        "runs",
        sa.Column("id", exact(32), primary_key=True),
        sa.Column("kind", exact(20), nullable=False),
        sa.Column("project", exact(255), nullable=False),
        sa.Column("outcome", exact(20), nullable=False),
        sa.Column("python", exact(20)),
        sa.Column("target", exact(255)),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("duration_seconds", sa.Double, nullable=False),
        sa.Column("record", DOCUMENT, nullable=False),
    )
    op.create_index("runs_by_start", "runs", ["started_us", "id"])
    op.create_index("runs_by_project", "runs", ["project", "started_us", "id"])
    op.create_index("runs_by_result", "runs", ["kind", "outcome", "started_us", "id"])
