"""Show a folder of run records with the ledger's pages, for one person on one machine: `python -m ledger.report`.

The records are read into a database that lasts as long as the program. It listens on this machine alone, and takes
nothing: new records are those that come into the folder.
"""

import contextlib
import logging
import signal
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
from flask import Flask

from ledger import create_app, records, runs, settings, static_pages
from ledger.models import Run, db

MOST_RECORDS = 5000
"""So many of the newest are read."""


class Report:
    """The ledger's pages on a folder of records."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        self.read: set[str] = set()
        self.skipped: dict[str, str] = {}
        database.touch()
        url = settings.sqlite_url(database)
        self.app: Flask = create_app({"SQLALCHEMY_DATABASE_URI": url, "TRUSTED_HOSTS": [*settings.LOOPBACK_HOSTS]})
        with self.app.app_context():
            db.create_all()
        self.app.before_request(self.catch_up)

    def catch_up(self) -> None:
        """Read the records that have come since the last time."""
        names = sorted(path.name for path in self.folder.glob("*.json"))[-MOST_RECORDS:]
        fresh = [name for name in names if name not in self.read]
        if not fresh:
            return
        self.read.update(fresh)
        with self.app.app_context():
            known = set(db.session.scalars(db.select(Run.id)))
            for name in fresh:
                record = self._valid(name)
                if record and record["id"] not in known:
                    known.add(record["id"])
                    db.session.add(runs.run_of(record))
            db.session.commit()

    def _valid(self, name: str) -> runs.Record | None:
        """Return the record in a file, or None where it is none, which is remembered."""
        try:
            record: runs.Record = records.parse((self.folder / name).read_bytes())
        except (OSError, records.MalformedJSONError) as error:
            self.skipped[name] = str(error)
            return None
        violations = records.violations(record)
        if violations:
            self.skipped[name] = f"{violations[0].path or 'the record'}: {violations[0].message}"
            return None
        return record


@contextlib.contextmanager
def open_report(folder: Path) -> Iterator[Report]:
    """Yield a report whose database is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ledger-report-") as scratch:
        report = Report(folder, Path(scratch) / "report.sqlite3")
        report.catch_up()
        yield report


def serve(app: Flask, port: int, *, browse: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; port 0 takes a free one."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        server = make_server("127.0.0.1", port, app, threaded=True)
    except (OSError, SystemExit) as error:
        raise click.ClickException(f"port {port} cannot be listened on: is it in use?") from error
    address = f"http://127.0.0.1:{server.server_port}/"
    click.echo(address)
    if browse:
        webbrowser.open(address)
    signal.signal(signal.SIGTERM, _stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--static", type=click.Path(path_type=Path, file_okay=False), help="Write the pages to this folder.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port to listen on (default: a free one).")
@click.option("--browse", is_flag=True, help="Open the browser.")
def main(folder: Path, static: Path | None, port: int, browse: bool) -> None:
    """Show the run records of FOLDER."""
    with open_report(folder) as report:
        for name, why in report.skipped.items():
            click.echo(f"{name} is left out: {why}", err=True)
        if static is None:
            serve(report.app, port, browse=browse)
            return
        try:
            written = static_pages.write_pages(report.app, static)
        except static_pages.FolderInUseError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{static / 'index.html'}")
        more = f", {written.left_out} more are left out" if written.left_out else ""
        click.echo(f"{written.pages} pages{more}", err=True)


if __name__ == "__main__":
    main()
