"""Load the ledger as it runs in production: 100,000 runs stored against 100, the overview and posts.

    python benchmarks/ledger_load.py [--database postgresql] [--runs 100000] [--rounds 5] [--json FILE]

Two production stacks stand beside each other on 127.0.0.1, one with few runs and one with many, and are asked in
turns by the same clients: what disturbs the machine disturbs both alike. Exit code 1 where many are too slow.
"""

import argparse
import gzip
import http.client
import json
import os
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dockyard import console
from dockyard.engine.client import Engine, find_engine
from dockyard.process import capture
from dockyard.settings import Settings, load
from dockyard.stack import stack
from dockyard.stack.ports import find_free_port
from dockyard.stack.stack import Stack, StartRequest

AIM = 1.5
"""How many times slower the ledger with many runs may be."""
FEW = 100
CLIENTS = 4
GETS, POSTS = 200, 100
"""Requests of one round."""
PROJECTS = 20
DATABASES = {
    "sqlite": {},
    "postgresql": {"COMPOSE_PROFILES": "postgresql", "DATABASE_URL": "postgresql://ledger@postgresql/ledger"},
    "mariadb": {"COMPOSE_PROFILES": "mariadb", "DATABASE_URL": "mariadb://ledger@mariadb/ledger"},
}


@dataclass(frozen=True)
class Ledger:
    """A production stack that holds so many runs."""

    name: str
    port: int
    token: str
    times: dict[str, list[float]]


def make_run(number: int, chance: random.Random, started: datetime) -> dict[str, Any]:
    """Return a run record of a usual size, some 2 kB."""
    kind = chance.choice(("build", "build", "test", "push", "verify"))
    layers = [{"size_bytes": chance.randrange(10**7), "created_by": f"COPY /layers/{layer}/ /"} for layer in range(6)]
    steps = [
        {
            "name": f"step {step} of the Dockerfile",
            "started_seconds": step * 1.5,
            "duration_seconds": 1.5,
            "cached": True,
        }
        for step in range(10)
    ]
    image = {
        "reference": "shop:production",
        "digest": f"sha256:{number:064x}",
        "size_bytes": 52_000_000,
        "layers": layers,
    }
    return {
        "schema": "dockyard.run/2",
        "id": f"{chance.getrandbits(128):032x}",
        "kind": kind,
        "project": f"project-{number % PROJECTS:02}",
        "started": started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_seconds": round(chance.uniform(1, 90), 3),
        "outcome": chance.choice(("passed", "passed", "passed", "failed")),
        "dockyard": "0.1.0",
        "git": {"commit": f"{number // 40:040x}", "branch": "main", "tag": None, "dirty": False},
        "python": chance.choice(("3.11", "3.12", "3.13", "3.14")),
        "target": chance.choice(("production", "test")),
        "platform": "linux/amd64",
        "image": image if kind in ("build", "push") else None,
        "tests": {"passed": 120, "failed": 0, "skipped": 1, "coverage_percent": 98.5} if kind == "test" else None,
        "steps": steps,
    }


def write_backup(file: Path, count: int) -> None:
    """Write so many runs as a backup of a ledger, the newest from a moment ago."""
    chance, now = random.Random(count), datetime.now(UTC)  # noqa: S311 - sample data
    with gzip.open(file, "wt", compresslevel=1, encoding="utf-8") as packed:
        packed.write('{"format": "ledger.backup/1"}\n')
        for number in range(count):
            packed.write(json.dumps({"run": make_run(number, chance, now - timedelta(minutes=5 * number))}) + "\n")
        packed.write(json.dumps({"end": count}) + "\n")


@contextmanager
def running(settings: Settings, engine: Engine, count: int) -> Iterator[Ledger]:
    """Start a production stack with so many runs, and take it down with its data."""
    own = settings._replace(stack=f"{settings.stack}-load-{count}-{secrets.token_hex(2)}")
    port = find_free_port("127.0.0.1", 18_000)
    try:
        up = stack.up(own, engine, StartRequest(production=True, port=port, timeout=300))
        (container,) = (one.id for one in up.containers if one.service == "ledger")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "backup.gz"
            write_backup(file, count)
            console.log.info(f"restoring {count} runs")
            restore = ("exec", "--interactive", container, "flask", "--app", "ledger", "ledger", "restore", "-")
            done = capture(engine.command(*restore, input=file.read_bytes(), timeout=1800))
            console.log.info(done.stdout.strip())
        token = (settings.root / ".dockyard" / "secrets" / "ledger_token").read_text(encoding="ascii").strip()
        yield Ledger(f"{count} runs", port or 0, token, {"overview": [], "post": []})
    finally:
        stack.down(Stack(own, engine), volumes=True)


def load_round(ledger: Ledger, what: str, count: int) -> None:
    """Ask so often, from several clients at once, and note how long each answer took."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask, ledger, what, count // CLIENTS) for _ in range(CLIENTS)]
        for each in asking:
            ledger.times[what] += each.result()


def ask(ledger: Ledger, what: str, count: int) -> list[float]:
    """Send requests of a kind over one connection, and return the seconds that each took."""
    connection = http.client.HTTPConnection("127.0.0.1", ledger.port, timeout=30)
    headers = {"Authorization": f"Bearer {ledger.token}", "Content-Type": "application/json"}
    chance, times = random.Random(), []  # noqa: S311 - sample data
    for _ in range(count):
        body = json.dumps(make_run(chance.randrange(10**6), chance, datetime.now(UTC))) if what == "post" else None
        started = time.perf_counter()
        if body is None:
            connection.request("GET", "/")
        else:
            connection.request("POST", "/api/runs", body, headers)
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - started)
        if answer.status not in (200, 201):
            raise RuntimeError(f"the ledger with {ledger.name} answered {what} with {answer.status}")
    connection.close()
    return times


def p99(times: list[float]) -> float:
    """Return the time that one request in a hundred took longer than."""
    return statistics.quantiles(times, n=100)[98]


def per_second(times: list[float]) -> float:
    """Return how many requests all clients together were answered in a second."""
    return CLIENTS / statistics.mean(times)


def report(few: Ledger, many: Ledger) -> dict[str, float]:
    """Print the table, and return how many times slower the ledger with many runs is, by what was measured."""
    rows, ratios = [], {}
    for what, times in few.times.items():
        others = many.times[what]
        for ledger in (few, many):
            own = ledger.times[what]
            rows.append(
                (
                    what,
                    ledger.name,
                    f"{per_second(own):.0f}",
                    f"{statistics.median(own) * 1000:.1f} ms",
                    f"{p99(own) * 1000:.1f} ms",
                )
            )
        ratios[f"{what}, requests/s"] = per_second(times) / per_second(others)
        ratios[f"{what}, p99"] = p99(others) / p99(times)
    head = ("request", "stored", "requests/s", "median", "p99")
    console.table(head, rows, title=f"{CLIENTS} clients", right=head[2:])
    worst = ", ".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items())
    console.log.info(f"times slower, aim at most {AIM}: {worst}")
    return ratios


def main(arguments: list[str]) -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    console.show_progress()
    os.environ.update(DATABASES[chosen.database])
    settings = load(Path.cwd(), os.environ)
    engine = find_engine(settings)
    with ExitStack() as standing:
        few, many = (standing.enter_context(running(settings, engine, count)) for count in (FEW, chosen.runs))
        for number in range(-1, chosen.rounds):
            console.log.info("warming up" if number < 0 else f"round {number + 1} of {chosen.rounds}")
            for what, count in (("overview", GETS), ("post", POSTS)):
                for ledger in (few, many) if number % 2 else (many, few):
                    load_round(ledger, what, count)
            if number < 0:
                for ledger in (few, many):
                    ledger.times.update({what: [] for what in ledger.times})
        ratios = report(few, many)
    if chosen.json:
        chosen.json.write_text(json.dumps({"database": chosen.database, "ratios": ratios}, indent=1), encoding="utf-8")
    return 0 if max(ratios.values()) <= AIM else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
