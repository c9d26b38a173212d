"""Commands for whoever runs a ledger: `flask --app ledger ledger …`."""

import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from sqlalchemy.exc import SQLAlchemyError

from ledger import backups, database, runs, sample, tokens
from ledger.models import db
from ledger.settings import SettingsError

P = ParamSpec("P")
R = TypeVar("R")

UNITS = {"h": 3600, "d": 86400, "w": 604800, "y": 365 * 86400}
STDIO = Path("-")
"""How a command is told to use its own input or output: a container may have no folder to write to."""
group = AppGroup("ledger", help="Look after the ledger's database and its tokens.")


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(group)


def told(command: Callable[P, R]) -> Callable[P, R]:
    """End a command whose user made a mistake, or whose database is gone, with one line and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SettingsError, tokens.TokenError, backups.BackupError) as error:
            raise click.ClickException(str(error)) from error
        except SQLAlchemyError as error:
            raise click.ClickException(f"the database cannot be used: {database.reason(error)}") from error

    return run


def duration(_context: object, _parameter: object, value: str | None) -> float | None:
    """Read 90d, 12h, 6w or 1y as seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdwy])", value)
    if not found:
        raise click.BadParameter("write a whole number and h, d, w or y, such as 90d")
    return float(int(found[1]) * UNITS[found[2]])


@group.command("migrate")
@click.option("--wait", default=database.WAIT_SECONDS, show_default=True, help="Seconds to wait for the database.")
@click.option("--sample", "with_sample", is_flag=True, help="Put an invented project into a database without any run.")
@told
def migrate(wait: int, with_sample: bool) -> None:
    """Bring the database up to date; two at a time are safe."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    revision = database.migrate(app, wait)
    click.echo(f"{database.shown(app.config['SQLALCHEMY_DATABASE_URI'])} is at revision {revision}")
    if with_sample and not runs.find(db.session(), runs.Filters(limit=1)).records:
        _add_sample()


@group.command("sample")
@told
def add_sample() -> None:
    """Add the runs of an invented project, to look around; those that are there already stay as they are."""
    _add_sample()


def _add_sample() -> None:
    session = db.session()
    added = [runs.add(session, record) for record in sample.make_records(datetime.now(UTC))]
    click.echo(f"{added.count(runs.Added.NEW)} runs of the project {sample.PROJECT} are added")


@group.command("prune")
@click.option("--keep", required=True, callback=duration, help="Keep what is younger, such as 90d.")
@click.option("--releases", is_flag=True, help="Remove old releases and deploys too.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@told
def prune(keep: float, releases: bool, dry_run: bool) -> None:
    """Remove old runs; releases and deploys stay unless asked for."""
    before = datetime.fromtimestamp(time.time() - keep, UTC)
    kinds = tuple(kind for kind in runs.KINDS if releases or kind not in ("release", "deploy"))
    count = runs.prune(db.session(), tokens.microseconds(before.timestamp()), kinds, dry_run=dry_run)
    click.echo(f"{count} runs from before {before:%Y-%m-%d %H:%M} UTC {'would be' if dry_run else 'are'} removed")


@group.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@told
def backup(file: Path) -> None:
    """Write all runs and tokens to FILE, - for stdout, which any database can take back."""
    count = _written(file)
    click.echo(f"{count} runs are in {'the backup' if file == STDIO else file}", err=file == STDIO)


def _written(file: Path) -> int:
    try:
        if file == STDIO:
            return backups.write_to(db.session(), sys.stdout.buffer)
        return backups.write(db.session(), file)
    except OSError as error:
        raise backups.BackupError(f"{file} cannot be written: {error.strerror or error}") from error


@group.command("restore")
@click.argument("file", type=click.File("rb"))
@told
def restore(file: IO[bytes]) -> None:
    """Take the runs and tokens of FILE, - for stdin, into the database, all or nothing."""
    new, known = backups.restore(db.session(), file, getattr(file, "name", "the input"))
    click.echo(f"{new} runs restored, {known} were there already")


@group.group("token")
def token() -> None:
    """Make, list and revoke the tokens that may write."""


@token.command("add")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(tokens.SCOPES), multiple=True, default=(tokens.WRITE,))
@click.option("--expires", callback=duration, help="How long it counts, such as 90d; without it, until it is revoked.")
@told
def add_token(name: str, scopes: tuple[str, ...], expires: float | None) -> None:
    """Make a token and print it, once: only its digest is kept."""
    now = time.time()
    until = None if expires is None else now + expires
    click.echo(tokens.add(db.session(), name, tuple(dict.fromkeys(scopes)), until, now))


@token.command("list")
@told
def list_tokens() -> None:
    """Show every token's name, scopes and state; never the token."""
    now = time.time()
    rows = [("name", "scopes", "state", "created", "expires")]
    rows += [
        (each.name, each.scopes, tokens.state(each, now), _day(each.created_us), _day(each.expires_us))
        for each in tokens.listing(db.session())
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _day(microseconds: int | None) -> str:
    return "never" if microseconds is None else f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d}"


@token.command("revoke")
@click.argument("name")
@told
def revoke_token(name: str) -> None:
    """End a token at once."""
    tokens.revoke(db.session(), name, time.time())
    click.echo(f"{name} counts no more")
