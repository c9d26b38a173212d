"""Values in words."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger import present

NOW = datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3600, "in the future"),
        (-30, "just now"),
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (2 * 86400, "2 days ago"),
        (45 * 86400, "1 month ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    """The largest unit that fits is enough."""
    assert present.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """Short ones have a decimal, and rounding never writes sixty seconds."""
    assert present.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (135_000_000, "135 MB"),
        (2_500_000_000, "2.5 GB"),
        (7_000_000_000_000_000, "7000.0 TB"),
    ],
)
def test_size(count: int, text: str) -> None:
    """About three digits, in decimal units."""
    assert present.size(count) == text
