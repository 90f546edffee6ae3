"""Server-sent events: lines of text become (name, data) pairs."""

from collections.abc import Iterable, Iterator
from typing import Any

from nanogrid import json_text
from nanogrid.client.errors import Unreachable

Event = tuple[str, Any]


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Name and JSON of each event; comments (heartbeats) are skipped.

    Raises:
        Unreachable: the data of an event is not JSON.
    """
    name = ""
    data: list[str] = []
    for line in _lines(chunks):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield name, _parsed("\n".join(data))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")


def _parsed(text: str) -> Any:
    try:
        return json_text.parse(text)
    except ValueError as e:
        raise Unreachable(0, "NotJson", f"an event is not JSON: {e}.") from e
