"""Hypothesis without a clock and without chance: a failure here is one everywhere."""

import gc

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    deadline=None,
    max_examples=50,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Modules and tests live until the end, so the garbage collector need not visit them again."""
    gc.freeze()
