"""Formats durations, sizes and times for people. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

import nanogrid.quantity
from nanogrid.sizes import size_text

MIB: Final = 1 << 20


def millis(value: Any) -> str:
    """312 ms, 8.2 s, 3 min 20 s, 2 h 5 min; empty for no value."""
    if not isinstance(value, int | float):
        return ""
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 59_950:
        return f"{value / 1000:.1f} s"
    seconds = round(value / 1000)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(value: Any) -> str:
    """900B, 12Ki, 41Mi, 19.6Gi; empty for no value."""
    return size_text(value) if isinstance(value, int | float) else ""


def quantity(text: Any) -> int | None:
    """Bytes of a Kubernetes quantity such as 256Mi; None for any other text."""
    try:
        return int(nanogrid.quantity.quantity(text))
    except ValueError:
        return None


def epoch(stamp: Any) -> float | None:
    """Epoch seconds of a Kubernetes timestamp; None for any other text."""
    try:
        return datetime.fromisoformat(str(stamp)).timestamp() if stamp else None
    except ValueError:
        return None


def utc(stamp: Any) -> str:
    """2026-11-21 10:56:05 UTC; empty for no value."""
    seconds = epoch(stamp)
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
