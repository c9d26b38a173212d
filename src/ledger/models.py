"""The tables: runs as they were posted, and the tokens that may post them."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, Double, Index, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all tables have in common."""


db = SQLAlchemy(model_class=Base)


def exact(length: int) -> String:
    """Return a type of text that tells upper from lower case and accents apart on every engine, as SQLite does."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


DOCUMENT = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
NAME_LENGTH = 255
"""What an index of every engine can hold; a longer name is cut in the column, and whole in the record."""


class Run(Base):
    """One run record: the document as it came, and the columns by which it is found."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_start", "started_us", "id"),
        Index("runs_by_project", "project", "started_us", "id"),
        Index("runs_by_result", "kind", "outcome", "started_us", "id"),
        Index("runs_by_commit", "git_commit", "started_us", "id"),
        Index("runs_by_kind", "project", "kind", "started_us", "id"),
    )

    id: Mapped[str] = mapped_column(exact(32), primary_key=True)
    kind: Mapped[str] = mapped_column(exact(20))
    project: Mapped[str] = mapped_column(exact(NAME_LENGTH))
    outcome: Mapped[str] = mapped_column(exact(20))
    python: Mapped[str | None] = mapped_column(exact(20))
    target: Mapped[str | None] = mapped_column(exact(NAME_LENGTH))
    started_us: Mapped[int] = mapped_column(BigInteger)
    """Microseconds since 1970, so that times with and without a fraction sort alike."""
    duration_seconds: Mapped[float] = mapped_column(Double)
    git_commit: Mapped[str | None] = mapped_column(exact(40))
    record: Mapped[str] = mapped_column(DOCUMENT)


class Token(Base):
    """A bearer token: only its digest is kept, so that a copy of the database lets nobody write."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(exact(16), primary_key=True)
    name: Mapped[str] = mapped_column(exact(100), unique=True)
    digest: Mapped[str] = mapped_column(exact(64))
    """SHA-256, in hexadecimal: a token is 256 random bits, which no slow hash needs to protect."""
    scopes: Mapped[str] = mapped_column(exact(200))
    """Separated by spaces, as in OAuth 2.0 (RFC 6749, section 3.3)."""
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int | None] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)
