"""Gunicorn's settings for a container: `gunicorn --config python:ledger.gunicorn_conf "ledger:create_app()"`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ledger import cpus, create_app


def address(port: str) -> str:
    """Return the address to listen on; raises ValueError when the port is none."""
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"PORT must be a number from 1 to 65535, not {port!r}")
    # Every address of the container's own network; what is published is the host's choice.
    return f"0.0.0.0:{port}"


def heartbeat_folder(memory: Path = Path("/dev/shm")) -> str | None:  # noqa: S108 - only unlinked files go there
    """Return a folder in memory, which a read-only root file system leaves writable; None for gunicorn's choice."""
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else None


def metrics_folder(memory: str | None) -> str:
    """Make a folder in which the workers' metrics are added up, and return it; it lives as long as the container."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(prefix="ledger-metrics-", dir=memory)


bind = address(os.environ.get("PORT") or "8000")
workers = cpus.workers(os.environ, cpus.usable(cpus.container_limit(), cpus.available()))
worker_class = "gthread"
threads = 4
# Each worker opens the database itself, and HUP imports new code.
preload_app = False
worker_tmp_dir = heartbeat_folder()
# `docker stop` waits ten seconds before it kills.
graceful_timeout = 8
# Its socket would be made below HOME, which is not writable, and nothing here uses it.
control_socket_disable = True
accesslog = "-"
errorlog = "-"
logger_class = "ledger.logs.JSONLogger"


def on_starting(server: Any) -> None:
    """Check the settings and the database once, before any worker: a mistake is one line, not a restart loop.

    A SQLite file belongs to this one container, so that it is made and brought up to date here, for a start with no
    set-up. Any other database is migrated by whoever deploys, once, and only looked at.
    """
    # Before prometheus_client is imported, which looks at it once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder(worker_tmp_dir)
    from ledger import database
    from ledger.settings import DATA_FOLDER, SettingsError

    try:
        app = create_app()
        url = app.config["SQLALCHEMY_DATABASE_URI"]
        if url.get_backend_name() != "sqlite":
            database.check(app)
            return
        database.migrate(app)
        if not (os.environ.get("LEDGER_DATABASE") or os.environ.get("DATABASE_URL")) and not Path(
            str(url.database)
        ).is_relative_to(DATA_FOLDER):
            server.log.warning(
                "%s is not writable: runs are kept in %s and may not outlive the container", DATA_FOLDER, url.database
            )
    except SettingsError as error:
        server.log.error("%s", error)  # noqa: TRY400 - a user's mistake, which no traceback explains
        sys.exit(2)


def child_exit(_server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that is gone."""
    from ledger import metrics

    metrics.forget(worker.pid)
