"""Copies of all that a ledger keeps, which any engine can take back: JSON Lines, compressed with gzip."""

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger import records, runs
from ledger.models import Run, Token

FORMAT = "ledger.backup/1"
AT_A_TIME = 500
TOKEN_COLUMNS = tuple(column.name for column in Token.__table__.columns)


class BackupError(ValueError):
    """A file that is no whole backup, or a database that cannot take it; the message says which."""


def write(session: Session, file: Path) -> int:
    """Write runs and tokens to a file, whole or not at all, and return how many runs there are.

    The tokens' digests are in it, as in the database; the file is for its owner alone.
    """
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as raw:
            count = write_to(session, raw)
        os.replace(name, file)  # noqa: PTH105 - both are names in one folder
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return count


def write_to(session: Session, raw: IO[bytes]) -> int:
    """Write runs and tokens to an open file, and return how many runs there are; its last line says the same."""
    count = 0
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        for line in _lines(session):
            count += "run" in line
            packed.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        packed.write(json.dumps({"end": count}).encode() + b"\n")
    return count


def _lines(session: Session) -> Iterator[dict[str, Any]]:
    yield {"format": FORMAT}
    for token in session.scalars(select(Token).order_by(Token.id)):
        yield {"token": {name: getattr(token, name) for name in TOKEN_COLUMNS}}
    for text in session.scalars(select(Run.record).order_by(Run.id).execution_options(yield_per=AT_A_TIME)):
        yield {"run": json.loads(text)}


def restore(session: Session, raw: IO[bytes], file: str) -> tuple[int, int]:
    """Take a backup into the database, all or nothing; return how many runs are new, and how many were there.

    The file's name is for messages. Raises BackupError, with nothing changed, where the file is broken or a run differs
    from the one of the same id.
    """
    new = known = 0
    try:
        with session.begin():
            for lines in _batches(_read(raw, file)):
                found = [line["run"] for line in lines if "run" in line]
                known_ids = _known(session, found)
                fresh = [record for record in found if record["id"] not in known_ids]
                session.add_all(runs.run_of(record) for record in fresh)
                for token in (line["token"] for line in lines if "token" in line):
                    if session.get(Token, token["id"]) is None:
                        session.add(Token(**{name: token[name] for name in TOKEN_COLUMNS}))
                session.flush()
                session.expunge_all()
                new, known = new + len(fresh), known + len(known_ids)
    except (OSError, EOFError, gzip.BadGzipFile, KeyError, TypeError, records.MalformedJSONError) as error:
        raise BackupError(f"{file} is no whole backup of a ledger: {error}; nothing was changed") from error
    return new, known


def _known(session: Session, found: list[runs.Record]) -> set[str]:
    there = select(Run.id, Run.record).where(Run.id.in_([record["id"] for record in found]))
    kept = {run_id: json.loads(text) for run_id, text in session.execute(there)}
    for record in found:
        if kept.get(record["id"], record) != record:
            raise BackupError(f"the run {record['id']} is in the database with other content; nothing was changed")
    return set(kept)


def _read(raw: IO[bytes], file: str) -> Iterator[dict[str, Any]]:
    """Yield the lines between the first and the last, each run checked; raise where a line or the end is missing."""
    with gzip.open(raw, "rb") as packed:
        first = records.parse(next(packed, b""))
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise BackupError(f"{file} is no backup that this ledger knows: it begins with no {FORMAT}")
        count = 0
        for number, text in enumerate(packed, start=2):
            line = records.parse(text)
            if "end" in line:
                if line["end"] != count:
                    raise BackupError(
                        f"{file} has {count} runs where it should have {line['end']}; nothing was changed"
                    )
                return
            if "run" in line:
                count += 1
                wrong = records.violations(line["run"])
                if wrong:
                    raise BackupError(f"{file}, line {number}: {wrong[0].path} {wrong[0].message}; nothing was changed")
            yield line
    raise BackupError(f"{file} ends too early; nothing was changed")


def _batches(lines: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(lines, AT_A_TIME)):
        yield batch
