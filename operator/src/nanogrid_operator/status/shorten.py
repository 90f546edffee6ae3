"""Shortens texts and lists to a number of bytes of JSON, which is what etcd stores. Pure."""

from nanogrid.result_copy import json_bytes
from nanogrid.types import Json

MESSAGE_CAP_BYTES = 1024


def tail(text: str, cap: int) -> str:
    """The end of a text whose JSON has at most ``cap`` bytes."""
    text = text[-cap:]
    while (size := json_bytes(text)) > cap:
        # A character has at most six bytes of JSON, so this never drops more than necessary.
        text = text[max(1, (size - cap) // 6) :]
    return text


def head(text: str, cap: int) -> str:
    """The beginning of a text whose JSON has at most ``cap`` bytes."""
    text = text[:cap]
    while (size := json_bytes(text)) > cap:
        text = text[: len(text) - max(1, (size - cap) // 6)]
    return text


def first(items: list[Json], cap: int) -> list[Json]:
    """The first items that together have at most ``cap`` bytes of JSON."""
    kept, total = 0, 0
    for item in items:
        total += json_bytes(item) + 2
        if total > cap:
            break
        kept += 1
    return items[:kept]
