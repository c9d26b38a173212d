"""The shop's database: MySQL where DATABASE_URL names one, else one in memory."""
# What the shop imports is installed in its images alone.
# mypy: ignore-errors

import os

import pymysql
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from shop.models import Base


def prepare(app: Flask) -> None:
    """Open the database and bring its schema up to date."""
    engine = connect(os.environ.get("DATABASE_URL", "sqlite://"))
    migrate(engine)
    app.extensions["shop"] = engine


def connect(url: str) -> Engine:
    """Return an engine for a URL; the one in memory lives as long as the process."""
    if url == "sqlite://":
        return create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    return create_engine(url, module=pymysql)


def migrate(engine: Engine) -> None:
    """Create the tables, and the index that lists are sorted by."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        Operations(MigrationContext.configure(connection)).create_index("by_name", "product", ["name"])
