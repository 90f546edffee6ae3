"""Times and sizes as text. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

from nanogrid.sizes import size_text

DURATION_HINT: Final = "Use seconds or a unit: 90, 90s, 5m, 1h, 1d."
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: str | None) -> float | None:
    """Parse an RFC 3339 time into seconds since the epoch; None for empty text."""
    if not text:
        return None
    return datetime.fromisoformat(text).timestamp()


def clock(seconds: float | None) -> str:
    """The time of day in UTC, as HH:MM:SS."""
    if seconds is None:
        return "--:--:--"
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def age(since: str | None, now: float) -> str:
    """The age as kubectl shows it: 12s, 4m, 3h, 2d."""
    start = parse_time(since)
    if start is None:
        return ""
    seconds = max(0, int(now - start))
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNITS[unit]:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def duration(millis: Any) -> str:
    """Format milliseconds: 312ms, 8.2s, 2m05s; empty for None."""
    if millis is None:
        return ""
    if millis < 1000:
        return f"{int(millis)}ms"
    if millis < 60_000:
        return f"{millis / 1000:.1f}s"
    minutes, seconds = divmod(round(millis / 1000), 60)
    return f"{minutes}m{seconds:02d}s"


def parse_duration(text: str) -> int:
    """Parse ``90``, ``90s``, ``5m``, ``1h`` or ``1d`` into whole seconds.

    Raises:
        ValueError: the text has another form, or is zero.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not number.isdecimal() or int(number) == 0:
        raise ValueError(f"{text!r} is not a duration")
    return int(number) * _UNITS[unit]


def amount(count: int | None) -> str:
    """Format bytes: 13Ki, 256Mi; empty for None."""
    return "" if count is None else size_text(count)


def cell(value: Any) -> str:
    """A table cell: the value as text, empty for None."""
    return "" if value is None else str(value)
