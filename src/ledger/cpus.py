"""Work out how many workers the container's share of the machine can feed."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# With one worker, nobody answers while it is being replaced; past eight they only queue for the one writer of SQLite.
FEWEST, MOST = 2, 8


def workers(environ: Mapping[str, str], cpus: float) -> int:
    """Return WEB_CONCURRENCY when it is set, else one worker for each CPU, within bounds."""
    wish = environ.get("WEB_CONCURRENCY")
    if not wish:
        return min(max(math.ceil(cpus), FEWEST), MOST)
    if not wish.isdecimal() or int(wish) < 1:
        raise ValueError(f"WEB_CONCURRENCY must be a whole number of workers, 1 or more, not {wish!r}")
    return int(wish)


def usable(limit: float | None, available: int) -> float:
    """Return how many CPUs can really be used: the lower of the quota and what the scheduler offers."""
    return float(available) if limit is None else min(limit, float(available))


def limit_v2(cpu_max: str) -> float | None:
    """Read cgroup v2's `cpu.max`: a quota and a period in microseconds, or `max` for no limit."""
    quota, _, period = cpu_max.strip().partition(" ")
    return _ratio(quota, period)


def limit_v1(quota: str, period: str) -> float | None:
    """Read cgroup v1's `cpu.cfs_quota_us`, -1 for no limit, and `cpu.cfs_period_us`."""
    return _ratio(quota.strip(), period.strip())


def _ratio(quota: str, period: str) -> float | None:
    """Divide; anything but two positive numbers means that there is no limit we understand."""
    if not (quota.isdecimal() and period.isdecimal()) or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)


def container_limit(root: Path = CGROUP) -> float | None:
    """Return the container's CPU quota, in CPUs, or None when it has none."""
    cpu_max = _read(root / "cpu.max")
    if cpu_max is not None:
        return limit_v2(cpu_max)
    quota, period = _read(root / "cpu" / "cpu.cfs_quota_us"), _read(root / "cpu" / "cpu.cfs_period_us")
    return None if quota is None or period is None else limit_v1(quota, period)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


COUNT: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
"""Of Python 3.13 and later; before that the affinity mask says the same, PYTHON_CPU_COUNT aside."""


def available(count: Callable[[], int | None] | None = COUNT) -> int:
    """Return how many CPUs this process may run on."""
    return (count() if count else None) or len(os.sched_getaffinity(0))
