"""What Alembic runs for each command: one connection, and one migration of this database at a time."""

from alembic import context

from ledger.database import migrating
from ledger.models import db

if context.is_offline_mode():
    context.configure(dialect_name=str(db.engine.dialect.name), target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with migrating(db.engine) as connection:
        # SQLite changes a table by making it anew, which Alembic calls a batch.
        batch = connection.dialect.name == "sqlite"
        context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=batch)
        with context.begin_transaction():
            context.run_migrations()
