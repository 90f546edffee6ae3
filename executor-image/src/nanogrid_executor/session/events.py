"""The events of one execution, as server-sent events: replayed from the start, then live.

Each reader has its own position, so a slow reader does not delay the others. The log is bounded:
the oldest events are dropped, and a reader that has not read them gets one ``gap`` event instead.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

KEPT_BYTES: Final = 2 * 1024 * 1024
HEARTBEAT_SECONDS: Final = 15.0
HEARTBEAT: Final = ": heartbeat\n\n"


def encode(name: str, data: object) -> str:
    """One server-sent event; compact JSON contains no line breaks."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n"


class EventLog:
    """The events of one execution; one writer, any number of readers."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._events: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()

    def append(self, name: str, data: object) -> None:
        """Add an event."""
        event = encode(name, data)
        with self._changed:
            self._events.append(event)
            self._size += len(event)
            while self._size > self._kept_bytes and len(self._events) > 1:
                self._size -= len(self._events.popleft())
                self._dropped += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Mark the log as complete: readers end after the last event."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow(self, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> Iterator[str]:
        """All events, old and new ones; a comment after each ``heartbeat_seconds`` of silence."""
        position = 0
        while True:
            with self._changed:
                while position - self._dropped >= len(self._events) and not self._closed:
                    if not self._changed.wait(heartbeat_seconds):
                        break
                missed = max(0, self._dropped - position)
                position += missed
                index = position - self._dropped
                event = self._events[index] if index < len(self._events) else None
                if event is None and self._closed:
                    return
            if missed:
                yield encode("gap", {"events": missed})
            if event is None:
                yield HEARTBEAT
            else:
                position += 1
                yield event
