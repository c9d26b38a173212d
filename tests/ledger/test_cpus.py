"""From the container's CPU limit to a number of workers."""

import os
from pathlib import Path

import pytest

from ledger import cpus


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0.25, 2), (1, 2), (2, 2), (2.1, 3), (4, 4), (8, 8), (64, 8)],
)
def test_workers_follow_the_cpus(count: float, expected: int) -> None:
    """A started CPU counts, within the bounds."""
    assert cpus.workers({}, count) == expected


@pytest.mark.parametrize(("wish", "expected"), [("1", 1), ("20", 20), ("", 4)])
def test_workers_on_request(wish: str, expected: int) -> None:
    """WEB_CONCURRENCY wins, out of bounds too; an empty one counts as unset."""
    assert cpus.workers({"WEB_CONCURRENCY": wish}, 4) == expected


@pytest.mark.parametrize("wish", ["0", "-1", "two", "1.5", "²"])
def test_bad_request(wish: str) -> None:
    """A wish that is no number of workers is refused by name."""
    with pytest.raises(ValueError, match="WEB_CONCURRENCY must be a whole number"):
        cpus.workers({"WEB_CONCURRENCY": wish}, 4)


@pytest.mark.parametrize(("limit", "available", "expected"), [(None, 4, 4), (1.5, 4, 1.5), (8, 2, 2)])
def test_usable(limit: float | None, available: int, expected: float) -> None:
    """The lower of quota and affinity counts."""
    assert cpus.usable(limit, available) == expected


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("", None),
        ("1 0", None),
    ],
)
def test_cgroup_v2(text: str, limit: float | None) -> None:
    """A quota is divided by its period; what is not understood is no limit."""
    assert cpus.limit_v2(text) == limit


@pytest.mark.parametrize(
    ("quota", "period", "limit"), [("-1\n", "100000\n", None), ("200000\n", "100000\n", 2), ("1", "0", None)]
)
def test_cgroup_v1(quota: str, period: str, limit: float | None) -> None:
    """Minus one is no limit."""
    assert cpus.limit_v1(quota, period) == limit


def test_container_limit_is_read(tmp_path: Path) -> None:
    """Version 2's file is preferred, version 1's are found, and no file is no limit."""
    assert cpus.container_limit(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n", encoding="ascii")
    assert cpus.container_limit(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert cpus.container_limit(tmp_path) == 3
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="ascii")
    assert cpus.container_limit(tmp_path) is None


def test_available_falls_back_to_the_affinity_mask() -> None:
    """Python before 3.13, or one that cannot tell, asks the scheduler."""
    assert cpus.available(lambda: None) == cpus.available(None) == len(os.sched_getaffinity(0))


def test_available_prefers_what_python_says() -> None:
    """Python 3.13 and later have the answer."""
    assert cpus.available(lambda: 7) == 7
