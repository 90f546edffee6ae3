"""What every fault test proves: how often code was started, and that one result was delivered."""

import json
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from e2e.support import in_redis, in_stream, redis_of
from nanogrid import names
from scripts.devaccess import dev_access

Json = dict[str, Any]

MARK = """\
import socket
with socket.create_connection(({host!r}, {port}), 10) as mark:
    mark.sendall(socket.gethostname().encode())
    mark.recv(1)
"""


class Starts:
    """Counts how often user code was started: the code itself tells, by a TCP connection.

    Listens on one address of this machine, which only the pods of the cluster reach.
    """

    def __init__(self, host: str) -> None:
        self._socket = socket.create_server((host, 0))
        self._socket.settimeout(0.2)
        self.host, self.port = self._socket.getsockname()[:2]
        self.pods: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Starts":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                self.pods.append(connection.recv(256).decode())
                connection.sendall(b"!")

    def marked(self, code: str) -> str:
        """The code with a mark before it; it goes on when the mark is counted."""
        return MARK.format(host=self.host, port=self.port) + code

    def of(self, job: str) -> int:
        """How often a job's code was started, in whatever pod."""
        return sum(pod.startswith(f"{job}-") for pod in self.pods)

    def most(self) -> int:
        """The most starts that any one pod had."""
        return max((self.pods.count(pod) for pod in self.pods), default=0)


def one_result(request_id: str) -> Json:
    """The one result that Redis has of a request: one entry in the stream, the same in the key."""
    with dev_access() as dev:
        entries = in_stream(dev, request_id)
        assert len(entries) == 1, f"{len(entries)} entries in the stream"
        assert in_redis(dev, request_id) == entries[0], "key and stream differ"
    result: Json = json.loads(entries[0])
    return result


def delivered_once(request_ids: Iterable[str]) -> None:
    """Each request has one entry in the stream, and the same in its key."""
    with dev_access() as dev:
        client = redis_of(dev)
        entries = [fields for _, fields in client.xrevrange(names.REDIS_STREAM, count=2000)]
        for request_id in request_ids:
            found = [e["result"] for e in entries if e["requestId"] == request_id]
            assert len(found) == 1, f"{request_id}: {len(found)} entries in the stream"
            assert in_redis(dev, request_id) == found[0], f"{request_id}: key and stream differ"


def stored_result(request_id: str) -> Json:
    """The result in S3."""
    with dev_access() as dev:
        found = dev.s3.get_object(Bucket=dev.bucket, Key=names.result_object(request_id))
        result: Json = json.loads(found["Body"].read())
    return result
