"""Put values into words for the page."""

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400
MONTH, YEAR = 30 * DAY, 365 * DAY
UNITS = ((YEAR, "year"), (MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"))
SIZES = ("bytes", "kB", "MB", "GB", "TB")


def ago(started: datetime, now: datetime) -> str:
    """Say how long ago something was, in its largest unit; a clock a little ahead counts as now."""
    seconds = (now - started).total_seconds()
    if seconds < -MINUTE:
        return "in the future"
    for length, name in UNITS:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def date(started: datetime, _now: datetime) -> str:
    """Write when something was, for a page that is read at any time."""
    return f"{started:%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """Write a duration with about two digits that matter: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"


def seconds(number: float) -> str:
    """Write the seconds of something quick: 0.41 s, 12.3 s."""
    return f"{number:.2f} s" if number < 9.995 else f"{number:.1f} s"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: 1 package, 2 vulnerabilities."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def size(number: float) -> str:
    """Write a number of bytes in decimal units, as `docker images` does."""
    for unit in SIZES[:-1]:
        if number < 999.5:
            return f"{number:.0f} {unit}" if number >= 99.95 or unit == SIZES[0] else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {SIZES[-1]}"
