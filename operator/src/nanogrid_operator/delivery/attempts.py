"""Who measures tries to deliver results, and the names of their targets."""

from collections.abc import Callable

# Receives the target, whether it took the result, and the seconds of the try.
Attempted = Callable[[str, bool, float], None]

REDIS, S3, WEBHOOK = TARGETS = ("redis", "s3", "webhook")


def unmeasured(target: str, success: bool, took: float) -> None:
    """Measure nothing."""
