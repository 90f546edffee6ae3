"""A watch that continues after the end of a connection, a lost connection, or a 410."""

import json
from collections.abc import Iterator
from typing import Final, Protocol
from urllib.parse import urlencode

from nanogrid.backoff import exponential, jitter
from nanogrid.client.errors import ApiError, Expired, Unreachable, of_kube
from nanogrid.client.timing import Timing
from nanogrid.kube.conventions import watch_error, watch_query
from nanogrid.types import Json

# Longest life of one connection. A connection that died silently is noticed soon after.
CHUNK_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 5.0
FAILURES: Final = 8  # consecutive; about one minute
PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 15.0


class Api(Protocol):
    """The part of a cluster that a watch uses."""

    @property
    def timing(self) -> Timing:
        """Clock and pauses."""

    def list_with_version(
        self, path: str, labels: str = "", fields: str = ""
    ) -> tuple[list[Json], str]:
        """All objects, and the resourceVersion of the list."""

    def stream(self, path: str, read_seconds: float) -> Iterator[bytes]:
        """The lines of a GET."""


class Watch:
    """A watch of one collection for ``seconds`` (None: without end)."""

    def __init__(
        self, api: Api, path: str, fields: str, labels: str, seconds: float | None
    ) -> None:
        self._api = api
        self._path = path
        self._fields = fields
        self._labels = labels
        self._now = api.timing.now
        self._end = None if seconds is None else self._now() + seconds
        self._known: dict[str, tuple[str, Json]] = {}  # uid → resourceVersion, object
        self._version = ""

    def events(self, version: str | None) -> Iterator[Json]:
        """See :meth:`nanogrid.client.kube.cluster.Cluster.watch`."""
        if version is None:
            yield from self._list()
        else:
            self._version = version
        failures = 0
        while (left := self._left()) > 0:
            try:
                for event in self._connection(left):
                    failures = 0
                    yield event
            except Expired:
                yield from self._list()
            except ApiError as e:
                failures += 1
                if failures >= FAILURES or not e.transient:
                    raise
                self._api.timing.sleep(min(self._left(), max(e.retry_after, _pause(failures))))

    def _left(self) -> float:
        return CHUNK_SECONDS if self._end is None else max(0.0, self._end - self._now())

    def _connection(self, left: float) -> Iterator[Json]:
        # The server accepts whole seconds; the read timeout covers fractions.
        seconds = min(CHUNK_SECONDS, left)
        query = watch_query(self._version, int(seconds), self._labels, self._fields)
        started = self._now()
        try:
            for line in self._api.stream(
                f"{self._path}?{urlencode(query)}", seconds + (GRACE_SECONDS if seconds > 1 else 0)
            ):
                event = self._event(line)
                if event is not None:
                    yield event
        except Unreachable:
            # A watch without events is silent until its timeout. That is a normal end.
            if self._now() - started < seconds:
                raise

    def _event(self, line: bytes) -> Json | None:
        try:
            event: Json = json.loads(line)
        except ValueError as e:
            # The connection broke within a line. The version is still that of the last event.
            raise Unreachable(0, "NotJson", f"a watch event is not JSON: {e}.") from e
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            raise of_kube(watch_error(body))
        self._version = body["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return None
        uid = body["metadata"]["uid"]
        if kind == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = (self._version, body)
        return event

    def _list(self) -> Iterator[Json]:
        items, self._version = self._api.list_with_version(self._path, self._labels, self._fields)
        listed = {item["metadata"]["uid"]: item for item in items}
        gone = [body for uid, (_, body) in self._known.items() if uid not in listed]
        before, self._known = (
            self._known,
            {uid: (item["metadata"]["resourceVersion"], item) for uid, item in listed.items()},
        )
        yield from ({"type": "DELETED", "object": body} for body in gone)
        for uid, item in listed.items():
            if uid not in before:
                yield {"type": "ADDED", "object": item}
            elif before[uid][0] != item["metadata"]["resourceVersion"]:
                yield {"type": "MODIFIED", "object": item}


def _pause(failures: int) -> float:
    return jitter(exponential(failures, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
