"""Gunicorn's settings for a container: `gunicorn --config python:ledger.gunicorn_conf "ledger:create_app()"`."""

import os
import sys
from pathlib import Path
from typing import Any

from ledger import cpus, database, settings


def address(port: str) -> str:
    """Return the address to listen on; raises ValueError when the port is none."""
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"PORT must be a number from 1 to 65535, not {port!r}")
    # Every address of the container's own network; what is published is the host's choice.
    return f"0.0.0.0:{port}"


def heartbeat_folder(memory: Path = Path("/dev/shm")) -> str | None:  # noqa: S108 - only unlinked files go there
    """Return a folder in memory, which a read-only root file system leaves writable; None for gunicorn's choice."""
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else None


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
    """Check the settings and the database once, before any worker: a mistake is one line, not a restart loop."""
    try:
        configured = settings.load(os.environ)["LEDGER_DATABASE"]
        # The workers then take this path as given, so the choice is logged once.
        os.environ["LEDGER_DATABASE"] = str(database.prepare(configured))
    except settings.SettingsError as error:
        server.log.error("%s", error)  # noqa: TRY400 - a user's mistake, which no traceback explains
        sys.exit(2)
