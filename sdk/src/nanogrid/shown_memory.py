"""Memory of a job as its status shows it to people. Pure."""

from typing import NamedTuple

from nanogrid.quantity import quantity
from nanogrid.types import Json


class ShownMemory(NamedTuple):
    """Bytes, rounded up as the status shows them; None for what it does not show.

    ``current`` exists only while code runs, or a session.
    """

    current: int | None
    peak: int | None
    limit: int | None


def shown_memory(status: Json) -> ShownMemory:
    """The memory in a status: ``memory`` is 38Mi, ``peakMemory`` is 41Mi/256Mi or 41Mi."""
    peak, _, limit = str(status.get("peakMemory") or "").partition("/")
    return ShownMemory(_bytes(status.get("memory")), _bytes(peak), _bytes(limit))


def _bytes(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return int(quantity(text.removesuffix("B")))
    except ValueError:
        return None  # a later version may show something else
