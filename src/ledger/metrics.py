"""Metrics for Prometheus at /metrics: requests, their times, and the runs that were recorded.

With several workers each writes to files of its own in the folder that PROMETHEUS_MULTIPROC_DIR names, which
gunicorn's settings make before this module is imported, and an answer adds them up.
"""

import os
import time
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
REQUESTS = Counter("ledger_requests", "Requests answered", ("method", "endpoint", "status"))
SECONDS = Histogram(
    "ledger_request_seconds",
    "Seconds from a request's arrival to its answer",
    ("endpoint",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
RECORDED = Counter("ledger_runs_recorded", "Runs recorded", ("kind", "outcome"))
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


def init_app(app: Flask) -> None:
    """Measure every request, and answer /metrics."""
    app.before_request(_start)
    app.after_request(_measure)
    app.add_url_rule("/metrics", "metrics", show)


def _start() -> None:
    g.arrived = time.perf_counter()


def _measure(response: Response) -> Response:
    # Never a path or a method as it came: each would be another series that is kept for good.
    endpoint = request.endpoint or "none"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(method, endpoint, response.status_code).inc()
    SECONDS.labels(endpoint).observe(time.perf_counter() - g.get("arrived", time.perf_counter()))
    return response


def show() -> Response:
    """Return the metrics of all workers."""
    registry = REGISTRY
    if os.environ.get(FOLDER):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def forget(process: int) -> None:
    """Drop what a worker that ended measured of itself alone."""
    if os.environ.get(FOLDER):
        done: Any = mark_process_dead
        done(process)
