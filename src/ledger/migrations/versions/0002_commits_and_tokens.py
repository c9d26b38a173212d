"""The commit of each run, and tokens of their own for whoever posts them."""

import json

import sqlalchemy as sa
from alembic import op

from ledger.models import exact

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

AT_A_TIME = 1000


def upgrade() -> None:
    """Add the column, fill it from the records, and make the table of tokens."""
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("git_commit", exact(40)))
    _fill(op.get_bind())
    op.create_index("runs_by_commit", "runs", ["git_commit", "started_us", "id"])
    op.create_index("runs_by_kind", "runs", ["project", "kind", "started_us", "id"])
    op.create_table(
        "tokens",
        sa.Column("id", exact(16), primary_key=True),
        sa.Column("name", exact(100), nullable=False, unique=True),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("scopes", exact(200), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("revoked_us", sa.BigInteger),
    )


def _fill(connection: sa.Connection) -> None:
    """Read the commit out of each record, some records at a time: all at once may not fit into memory."""
    runs = sa.table("runs", sa.column("id"), sa.column("record"), sa.column("git_commit"))
    last = ""
    while True:
        page = sa.select(runs.c.id, runs.c.record).where(runs.c.id > last).order_by(runs.c.id).limit(AT_A_TIME)
        rows = connection.execute(page).all()
        if not rows:
            return
        for run_id, record in rows:
            commit = (json.loads(record).get("git") or {}).get("commit")
            if commit:
                connection.execute(runs.update().where(runs.c.id == run_id).values(git_commit=commit))
        last = rows[-1].id
