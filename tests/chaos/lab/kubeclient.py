"""A small, fast client of the API server that bypasses every fault proxy.

kubectl costs a process and 50 ms of CPU per call. Code that watches or creates thousands of objects
needs a persistent connection.
"""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

from chaos.lab.apiserver import credentials
from nanogrid import names
from nanogrid.types import Json

CALL_SECONDS = 60.0
PAGE = 500


def jobs_path(namespace: str) -> str:
    """The collection of a namespace's ExecutionJobs."""
    return f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}/{names.PLURAL}"


def core_path(namespace: str, plural: str) -> str:
    """A collection of the core API in a namespace."""
    return f"/api/v1/namespaces/{namespace}/{plural}"


class KubeCallError(Exception):
    """The API server answered with an error; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class KubeClient:
    """Thread-safe: each thread has its own connection."""

    def __init__(self) -> None:
        server, self._ssl = credentials()
        self._host = urlsplit(server).netloc
        self._local = threading.local()

    def connect(self, seconds: float = CALL_SECONDS) -> http.client.HTTPSConnection:
        """A new connection."""
        return http.client.HTTPSConnection(self._host, context=self._ssl, timeout=seconds)

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send one request; reconnect once if the server has closed the connection.

        Raises:
            KubeCallError: the server answered with an error.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        for last in (False, True):
            connection = getattr(self._local, "connection", None) or self.connect()
            self._local.connection = connection
            try:
                connection.request(method, path, data, {"Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, ConnectionError):
                connection.close()
                self._local.connection = None
                if last:
                    raise
        if answer.status >= 300:
            raise KubeCallError(answer.status, text.decode(errors="replace")[:500])
        found: Json = json.loads(text)
        return found

    def list(self, path: str, labels: str = "") -> tuple[list[Json], str]:
        """All objects of a collection, and the list's resourceVersion."""
        query: Json = {"limit": PAGE}
        if labels:
            query["labelSelector"] = labels
        items: list[Json] = []
        while True:
            page = self.call("GET", f"{path}?{urlencode(query)}")
            items += page["items"]
            if not (more := page["metadata"].get("continue")):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = more

    def delete_all(self, path: str, *, grace_seconds: int | None = None, labels: str = "") -> None:
        """Delete a collection."""
        body: Json = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        self.call("DELETE", path + query, body)


class Watch:
    """One watch of a collection from a resourceVersion; :meth:`close` ends it from any thread."""

    def __init__(self, client: KubeClient, path: str, version: str) -> None:
        self._connection = client.connect(CALL_SECONDS * 10)
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        self._connection.request("GET", f"{path}?{urlencode(query)}")
        self._answer = self._connection.getresponse()

    def __iter__(self) -> Iterator[Json]:
        """The events, until the server or :meth:`close` ends the watch."""
        try:
            while line := self._answer.readline():
                yield json.loads(line)
        finally:
            self._connection.close()

    def close(self) -> None:
        """End the watch; the iteration ends in a thread that waits for an event."""
        # The thread that reads may close the connection meanwhile.
        if (sock := self._connection.sock) is not None:
            sock.shutdown(socket.SHUT_RDWR)
