"""A watch that goes on: over ends of connections, lost ones, and versions that are too old."""

import json
import random
import time
from collections.abc import Iterator
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from nanogrid.client.errors import ApiError, Expired, Unreachable, api_error

Json = dict[str, Any]
# Each connection lives so long: one that died silently is noticed soon after.
CHUNK_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 5.0
FAILURES: Final = 8  # in a row, about a minute of them
PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 15.0


class Api(Protocol):
    """What a watch needs of a cluster."""

    def list_with_version(
        self, path: str, labels: str = "", fields: str = ""
    ) -> tuple[list[Json], str]:
        """All objects, and the list's resourceVersion."""

    def stream(self, path: str, read_seconds: float) -> Iterator[bytes]:
        """The lines of a GET."""


class Watch:
    """One collection, watched for ``seconds`` (None: for ever)."""

    def __init__(
        self, api: Api, path: str, fields: str, labels: str, seconds: float | None
    ) -> None:
        self._api = api
        self._path = path
        self._fields = fields
        self._labels = labels
        self._end = None if seconds is None else time.monotonic() + seconds
        self._known: dict[str, tuple[str, Json]] = {}  # uid → resourceVersion, object
        self._version = ""

    def events(self, version: str | None) -> Iterator[Json]:
        """See :meth:`nanogrid.client.cluster.Cluster.watch`."""
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
                if failures >= FAILURES or not _passing(e):
                    raise
                time.sleep(min(self._left(), max(e.retry_after, _pause(failures))))

    def _left(self) -> float:
        return CHUNK_SECONDS if self._end is None else max(0.0, self._end - time.monotonic())

    def _connection(self, left: float) -> Iterator[Json]:
        # The server takes whole seconds; a fraction is waited for by the read timeout.
        seconds = min(CHUNK_SECONDS, left)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        selectors = {"fieldSelector": self._fields, "labelSelector": self._labels}
        query |= {key: value for key, value in selectors.items() if value}
        started = time.monotonic()
        try:
            for line in self._api.stream(
                f"{self._path}?{urlencode(query)}", seconds + (GRACE_SECONDS if seconds > 1 else 0)
            ):
                event = self._event(line)
                if event is not None:
                    yield event
        except Unreachable:
            # Silence for all of the time is how a watch without events ends.
            if time.monotonic() - started < seconds:
                raise

    def _event(self, line: bytes) -> Json | None:
        try:
            event: Json = json.loads(line)
        except ValueError as e:
            # The connection broke within a line; the version is that of the event before it.
            raise Unreachable(0, "NotJson", f"a watch event is not JSON: {e}.") from e
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            raise api_error(
                int(body.get("code", 0)), body.get("reason", ""), body.get("message", "")
            )
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
        there = {item["metadata"]["uid"]: item for item in items}
        gone = [body for uid, (_, body) in self._known.items() if uid not in there]
        before, self._known = (
            self._known,
            {uid: (item["metadata"]["resourceVersion"], item) for uid, item in there.items()},
        )
        yield from ({"type": "DELETED", "object": body} for body in gone)
        for uid, item in there.items():
            if uid not in before:
                yield {"type": "ADDED", "object": item}
            elif before[uid][0] != item["metadata"]["resourceVersion"]:
                yield {"type": "MODIFIED", "object": item}


def _passing(error: ApiError) -> bool:
    return error.status in (0, 429) or error.status >= 500


def _pause(failures: int) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 no secret
    return jitter * min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * float(2**failures))
