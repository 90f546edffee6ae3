"""Who measures tries to deliver results."""

from collections.abc import Callable

# Receives the target, whether it took the result, and the seconds of the try.
Attempted = Callable[[str, bool, float], None]


def unmeasured(target: str, success: bool, took: float) -> None:
    """Measure nothing."""
