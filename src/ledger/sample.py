"""Records like those of some weeks of a real project, the same every time: for a first look, and for tests of pages."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Record = dict[str, Any]

PROJECT = "shop"
PYTHONS = ("3.13", "3.12", "3.11")
COMMITS = 16
ENGINE = {"kind": "embedded", "version": "26.1.5"}
RELEASED = {5: "1.0.0", 12: "1.1.0"}
BROKEN = 8
"""The commit whose tests fail."""
PINS = {"flask": ("3.1.1", "3.1.2"), "jinja2": ("3.1.5", "3.1.6"), "gunicorn": ("23.0.0", "27.0.0"),
        "sqlalchemy": ("2.0.40", "2.0.44")}  # fmt: skip
LAYERS = (
    ("COPY /layers/runtime/ /", 53_500_000),
    ("COPY /layers/1/ /", 5_700_000),
    ("COPY /layers/2/ /", 1_600_000),
    ("COPY /layers/application/ /", 270_000),
)


def make_records(now: datetime) -> Iterator[Record]:
    """Yield the records, oldest first, the last of them a little before `now`."""
    for number in range(COMMITS):
        at = now - timedelta(hours=31 * (COMMITS - number) - 30)
        yield from _commit(number, at)


def _commit(number: int, at: datetime) -> Iterator[Record]:
    """Yield what one commit brought about: locks now and then, a build, its tests, what verify and audit said."""
    if number % 5 == 3:
        changes = [{"name": name, "from": old, "to": new} for name, (old, new) in [*PINS.items()][number // 5 :][:1]]
        yield _record(number, "lock", at, 14.2, lock={"locks": 12, "changes": changes})
    yield _build(number, at + timedelta(minutes=1))
    for place, python in enumerate(PYTHONS):
        failed = 2 if number == BROKEN and python == "3.13" else 0
        tests = {"passed": 180 + 4 * number - failed, "failed": failed, "skipped": number % 3, "coverage_percent": None}
        took = 9.5 + place + 0.2 * number
        yield _record(
            number, "test", at + timedelta(minutes=3), took, "failed" if failed else "passed",
            python=python, target="test", tests=tests,
        )  # fmt: skip
    yield _verify(number, at + timedelta(minutes=4))
    if number % 2:
        yield _audit(number, at + timedelta(minutes=5))
    if number in RELEASED:
        yield from _release(number, at + timedelta(minutes=8))


def _build(number: int, at: datetime) -> Record:
    cold = number % 7 == 0
    cached = 0 if cold else 9 + number % 4
    took = 24.0 + number / 3 if cold else 2.6 + (number * 7 % 5) / 3
    steps = [
        ("base images", 0.0, 0.3, False), ("[internal] load build context", 0.4, 0.1, False),
        ("[runtime 1/1] RUN python /dockyard runtime /layers", 0.5, took * 0.3, not cold),
        ("[packages 1/2] COPY requirements", 0.5, 0.1, not cold),
        ("[packages 2/2] RUN python /dockyard install", 0.7, took * 0.6, not cold),
        ("[application 1/1] COPY src /app", 0.8, 0.4, False), ("exporting to image", took * 0.8, took * 0.2, False),
    ]  # fmt: skip
    told = [
        {"name": name, "started_seconds": round(start, 3), "duration_seconds": 0.0 if cached_step else round(length, 3),
         "cached": cached_step} for name, start, length, cached_step in steps
    ]  # fmt: skip
    return _record(number, "build", at, took, target="production", steps=told, cache={"steps": 14, "cached": cached},
                   image=_image(number))  # fmt: skip


def _image(number: int) -> Record:
    layers = [
        {"size_bytes": size + (number // 4) * 90_000 * place, "created_by": made_by,
         "digest": _digest(f"{made_by}{number if place == 3 else number // 4 if place else 0}")}
        for place, (made_by, size) in enumerate(LAYERS)
    ]  # fmt: skip
    packages = [
        {"name": name, "version": versions[number > 4 * place + 3], "type": "python"}
        for place, (name, versions) in enumerate(PINS.items())
    ]
    size = 20_500_000 + 40_000 * number
    return {"reference": f"{PROJECT}:{_commit_hash(number)[:12]}", "digest": _digest(f"image {number}"),
            "size_bytes": size, "layers": layers, "packages": packages}  # fmt: skip


def _verify(number: int, at: datetime) -> Record:
    found = [{"rule": "layer-size", "severity": "warning", "message": "a layer holds files that a later one replaces",
              "path": "", "accepted": "it is small"}]  # fmt: skip
    image = {key: value for key, value in _image(number).items() if key in ("reference", "digest", "packages")}
    image["pull_bytes"] = 20_500_000 + 60_000 * number
    start = 0.38 + (number * 5 % 7) / 60
    verify = {"rules": 41, "violations": 0, "accepted": 1, "start_seconds": round(start, 3), "stop_seconds": 0.2,
              "memory_bytes": 38_000_000 + 200_000 * number, "findings": found}  # fmt: skip
    return _record(number, "verify", at, 6.1, target="production", image=image, verify=verify)


def _audit(number: int, at: datetime) -> Record:
    known = [("jinja2", "high", 8.1, "3.1.6"), ("gunicorn", "medium", 5.3, "24.0.0"), ("flask", "low", None, "3.1.2")]
    found = [
        {"id": f"SAMPLE-2026-{place + 1:04d}", "package": name, "version": PINS[name][0], "severity": severity,
         "score": score, "fixed_in": [mended], "accepted": severity == "low"}
        for place, (name, severity, score, mended) in enumerate(known[: 3 - number // 6])
    ]  # fmt: skip
    counts = any(not one["accepted"] for one in found)
    return _record(number, "audit", at, 1.4, "failed" if counts else "passed",
                   audit={"packages": 31, "vulnerabilities": found})  # fmt: skip


def _release(number: int, at: datetime) -> Iterator[Record]:
    version = RELEASED[number]
    image = {"reference": f"registry.example/{PROJECT}:{version}", "digest": _digest(f"image {number}"),
             "pull_bytes": 20_900_000}  # fmt: skip
    yield _record(number, "reproduce", at, 21.7, target="production", reproduce={
        "verdict": "identical", "existing": image["digest"], "rebuilt": image["digest"], "differences": 0})  # fmt: skip
    yield _record(number, "push", at + timedelta(minutes=1), 3.2, target="production", image=image)
    signed = version != "1.0.0"
    release = {
        "version": version,
        "tags": [version, version[:3], "latest"],
        "signed": signed,
        "unsigned_because": None if signed else "no key is set",
        "sbom": True,
        "provenance": True,
        "changed": True,
    }
    names = ("verify", "reproduce", "test", "push", "attest", "sign", "tag", "move", "notes")
    steps = [{"name": name, "started_seconds": 4.0 * place, "duration_seconds": 3.9, "outcome": "passed"}
             for place, name in enumerate(names)]  # fmt: skip
    yield _record(number, "release", at + timedelta(minutes=2), 36.0, target="production", image=image,
                  release=release, steps=steps)  # fmt: skip
    deploy = {"destination": "production", "kind": "swarm", "action": "deploy", "number": len(version) + number,
              "previous": None, "changes": 2}  # fmt: skip
    yield _record(number, "deploy", at + timedelta(minutes=4), 18.0, image=image, deploy=deploy)


def _record(number: int, kind: str, at: datetime, took: float, outcome: str = "passed", **more: Any) -> Record:
    key = f"{kind} {number} {more.get('python', '')}"
    error = {"test": "2 tests failed", "audit": "known vulnerabilities in the locks"}.get(kind)
    return {
        "schema": "dockyard.run/2",
        "id": hashlib.sha256(key.encode()).hexdigest()[:32],
        "kind": kind,
        "project": PROJECT,
        "started": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_seconds": round(took, 3),
        "outcome": outcome,
        "dockyard": "0.1.0",
        "ci": "GitHub Actions" if number % 3 else None,
        "error": error if outcome == "failed" else None,
        "git": {"commit": _commit_hash(number), "branch": "main", "tag": f"v{RELEASED[number]}" if number in RELEASED
                else None, "dirty": False},
        "python": "3.13",
        "platform": "linux/amd64",
        "engine": ENGINE,
        **more,
    }  # fmt: skip


def _digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _commit_hash(number: int) -> str:
    return hashlib.sha1(f"commit {number}".encode(), usedforsecurity=False).hexdigest()
