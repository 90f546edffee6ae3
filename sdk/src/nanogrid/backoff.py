"""Pauses between retries: exponential growth and jitter. All durations are in seconds."""

import math
from typing import Final

MOST_DOUBLINGS: Final = 32  # a float overflows after 1,024, which an outage of hours reaches


def jitter(seconds: float, least: float = 0.5, most: float = 1.0) -> float:
    """``seconds`` times a random factor between ``least`` and ``most``.

    Clients that fail together must not retry together:
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    import random  # late: without a retry, a job's containers do not need it

    return seconds * random.uniform(least, most)  # noqa: S311 jitter is not a secret


def exponential(attempt: int, first: float, longest: float = math.inf) -> float:
    """The pause after failure number ``attempt`` (from 0): it doubles up to ``longest``."""
    return min(first * 2.0 ** min(attempt, MOST_DOUBLINGS), longest)
