"""`invoke report`: what the runs recorded here have cost, on the ledger's pages."""

import logging
import os
import sys

from invoke.context import Context

from dockyard.errors import UsageError
from dockyard.tasks.boundary import settings, task
from dockyard.tasks.stack import number

log = logging.getLogger(__name__)


@task(
    help={
        "static": "write the pages to this folder instead, for a CI to keep",
        "port": "the port of this machine to listen on (default: a free one)",
        "no_open": "open no browser",
        "send": "only send what a ledger has missed while it was down",
    },
)
def report(_context: Context, static: str = "", port: str = "", no_open: bool = False, send: bool = False) -> None:
    """Show the records of this project's runs as pages, until Ctrl-C: sizes, times, tests, vulnerabilities."""
    from dockyard.image.records import make_outbox
    from dockyard.image.report import Request, show_report

    chosen = settings()
    if send:
        if not chosen.ledger_url:
            raise UsageError("there is no ledger to send to", "name one: ledger-url in [tool.dockyard]")
        outbox = make_outbox(chosen)
        outbox.flush(seconds=60)
        log.info(f"{len(outbox.waiting())} run records are waiting to be sent")
        return
    screen = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    listen = number(port, "--port", 65535) if port else 0
    try:
        show_report(chosen, Request(static, listen, browse=screen and not no_open))
    except KeyboardInterrupt:
        log.info("\nstopped")
