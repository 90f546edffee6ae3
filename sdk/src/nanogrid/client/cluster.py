"""The Kubernetes API in a few verbs on plain dicts, synchronous.

The ``kubernetes`` package brings credentials and TLS; bodies stay dicts. Every call has a timeout.
Reads, merge patches and deletes are repeated up to four times when the server is busy or does not
answer; a create only when the server says that it did not look at it (429), because a lost answer
may hide a success: :mod:`nanogrid.client.submitting` knows how to find out.
"""

import json
import random
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from nanogrid import names
from nanogrid.client.connection import Connection, connect
from nanogrid.client.errors import ApiError, NotFound, Unreachable, api_error
from nanogrid.client.watching import Watch

Json = dict[str, Any]
Objects = list[Json]
Codes = list[int]
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0
LOG_READ_SECONDS: Final = 3600.0  # code may be silent for long
TRIES: Final = 4
PATIENCE_SECONDS: Final = 10.0  # a longer Retry-After goes to the caller
PAGE: Final = 500
USER_AGENT: Final = "nanogrid-client"
_BUSY: Final = frozenset({429})
_AGAIN: Final = frozenset({0, 429, 500, 502, 503, 504})
_JOBS: Final = f"/apis/{names.GROUP}/{names.VERSION}"


def _collection(base: str, plural: str, namespace: str | None) -> str:
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def jobs(namespace: str | None = None) -> str:
    """Path of the ExecutionJobs of a namespace, or of all."""
    return _collection(_JOBS, names.PLURAL, namespace)


def functions(namespace: str | None = None) -> str:
    """Path of the Functions of a namespace, or of all."""
    return _collection(_JOBS, names.FUNCTION_PLURAL, namespace)


def pods(namespace: str | None = None) -> str:
    """Path of the pods of a namespace, or of all."""
    return _collection("/api/v1", "pods", namespace)


def secrets(namespace: str) -> str:
    """Path of a namespace's Secrets."""
    return _collection("/api/v1", "secrets", namespace)


def events(namespace: str) -> str:
    """Path of a namespace's Events."""
    return _collection("/api/v1", "events", namespace)


class Cluster:
    """One API server and the namespace that is meant when none is named. Safe for threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def connect(
        cls,
        context: str | None = None,
        kubeconfig: str | None = None,
        namespace: str | None = None,
    ) -> "Cluster":
        """With a pod's service account, or with a kubeconfig; nothing is sent yet.

        Args:
            context: of the kubeconfig; default is its current one.
            kubeconfig: path; default is $KUBECONFIG, then ~/.kube/config.
            namespace: default is $NANOGRID_NAMESPACE, then the context's own.

        Raises:
            NotConfigured: there are no credentials.
        """
        return cls(connect(context, kubeconfig, namespace))

    @property
    def namespace(self) -> str:
        """The namespace of calls that name none."""
        return self.connection.namespace

    def get(self, path: str) -> Json:
        """One object (or any document of the API) by its full path.

        Raises:
            ApiError: see :mod:`nanogrid.client.errors`; so for all verbs.
        """
        return self._call("GET", path)

    def list(self, path: str, labels: str = "", fields: str = "") -> Objects:
        """All objects of a collection, read in pages."""
        return self.list_with_version(path, labels, fields)[0]

    def list_with_version(
        self, path: str, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """All objects, and the resourceVersion from which a watch goes on."""
        query = _selectors(labels, fields) | {"limit": str(PAGE)}
        items: Objects = []
        while True:
            page = self._call("GET", f"{path}?{urlencode(query)}")
            items += page.get("items", [])
            more = page["metadata"].get("continue")
            if not more:
                return items, str(page["metadata"].get("resourceVersion", ""))
            query["continue"] = more

    def create(self, path: str, body: Json) -> Json:
        """Create an object.

        Raises:
            Conflict: one of that name exists.
            Unreachable: no answer came; the object may exist all the same.
        """
        return self._call("POST", path, body, again=_BUSY)

    def patch(self, path: str, name: str, body: Json, subresource: str | None = None) -> Json:
        """Merge-patch an object, or one of its subresources such as status."""
        below = f"/{subresource}" if subresource else ""
        return self._call("PATCH", f"{path}/{name}{below}", body)

    def delete(self, path: str, name: str, uid: str | None = None) -> None:
        """Delete an object; with ``uid`` only if it still is that one (else Conflict).

        Raises:
            NotFound: there was none. After a lost answer, that is taken for success.
        """
        body = {"preconditions": {"uid": uid}} if uid else None
        lost: Codes = []
        try:
            self._call("DELETE", f"{path}/{name}", body, lost=lost)
        except NotFound:
            if not lost:
                raise

    def watch(
        self,
        path: str,
        fields: str = "",
        labels: str = "",
        resource_version: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[Json]:
        """What happens to a collection: events ``{"type": ADDED|MODIFIED|DELETED, "object": …}``.

        Without a resource_version it begins with what is there (ADDED). A version that is too old
        (410) leads to a fresh list: what changed comes as MODIFIED, what vanished as DELETED.

        Args:
            path: the collection's.
            fields: field selector, for example metadata.name=hello.
            labels: label selector.
            resource_version: go on after this one.
            timeout_seconds: the iterator ends after so long; default is never.
        """
        return Watch(self, path, fields, labels, timeout_seconds).events(resource_version)

    def stream(self, path: str, read_seconds: float) -> Iterator[bytes]:
        """The lines of a GET as they come; ends when the server ends it.

        Raises:
            Unreachable: also when nothing came for ``read_seconds``.
        """
        pending = b""
        for chunk in self._chunks(path, read_seconds):
            *lines, pending = (pending + chunk).split(b"\n")
            yield from lines
        if pending:
            yield pending

    def _chunks(self, path: str, read_seconds: float) -> Iterator[bytes]:
        answer = self._send("GET", path, None, read_seconds, preload=False)
        try:
            if answer.status >= 300:
                raise _refusal(answer.status, answer.read(), answer.headers)
            yield from answer.stream(1 << 16, decode_content=True)
        except (HTTPError, OSError) as e:
            raise _no_answer(self.connection.host, e) from e
        finally:
            # Closed, not given back: what has not been read would be the next answer.
            answer.close()

    def pod_log(
        self, namespace: str, pod: str, container: str, follow: bool = False, stream: str = ""
    ) -> Iterator[bytes]:
        """A container's log in pieces as they come; with ``follow`` until the container ends.

        Args:
            namespace: of the pod.
            pod: its name.
            container: its name.
            follow: go on until the container ends.
            stream: Stdout or Stderr alone; "" gives both, and needs no support by the server.
        """
        asked = {"container": container, "follow": str(follow).lower(), "stream": stream}
        query = urlencode({key: value for key, value in asked.items() if value})
        seconds = LOG_READ_SECONDS if follow else READ_SECONDS
        return self._chunks(f"{pods(namespace)}/{pod}/log?{query}", seconds)

    def can(self, verb: str, resource: str, namespace: str | None = None, group: str = "") -> bool:
        """Whether these credentials may do that (SelfSubjectAccessReview).

        Args:
            verb: create, get, list, watch, patch, delete …
            resource: plural, for example executionjobs or pods/log.
            namespace: None asks for all namespaces.
            group: API group; "" is the core group.
        """
        base, _, below = resource.partition("/")
        asked = {"verb": verb, "resource": base, "group": group, "subresource": below}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked | {"namespace": namespace or ""}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        # A review stores nothing, so it may be repeated.
        answer = self._call("POST", path, review)
        return bool(answer["status"].get("allowed"))

    def version(self) -> Json:
        """The API server's version document, with gitVersion."""
        return self._call("GET", "/version")

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        again: frozenset[int] = _AGAIN,
        lost: Codes | None = None,
    ) -> Json:
        for attempt in range(TRIES):
            try:
                answer = self._send(method, path, body, READ_SECONDS)
                if answer.status >= 300:
                    raise _refusal(answer.status, answer.data, answer.headers)
                return _json(answer.data)
            except ApiError as e:
                last = attempt == TRIES - 1
                if e.status not in again or last or e.retry_after > PATIENCE_SECONDS:
                    raise
                if lost is not None:
                    lost.append(e.status)
                time.sleep(max(e.retry_after, 0.2 * 2**attempt) * random.uniform(1.0, 1.5))  # noqa: S311 jitter
        raise AssertionError("the loop returns or raises")

    def _send(
        self, method: str, path: str, body: Json | None, read_seconds: float, preload: bool = True
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if body is not None:
            kind = "merge-patch+json" if method == "PATCH" else "json"
            headers["Content-Type"] = f"application/{kind}"
        headers |= self.connection.auth_headers()
        try:
            return self.connection.pool.request(
                method,
                self.connection.host + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                retries=False,
                preload_content=preload,
            )
        except (HTTPError, OSError) as e:
            raise _no_answer(self.connection.host, e) from e


def _selectors(labels: str, fields: str) -> dict[str, str]:
    wanted = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in wanted.items() if value}


def _json(data: bytes) -> Json:
    try:
        found: Json = json.loads(data)
    except ValueError as e:
        raise Unreachable(0, "NotJson", f"the API server's answer is not JSON: {e}.") from e
    return found


def _no_answer(host: str, error: Exception) -> Unreachable:
    return Unreachable(0, type(error).__name__, f"{host} does not answer: {error}.")


def _refusal(status: int, data: bytes, headers: Any) -> ApiError:
    after = headers.get("Retry-After", "")
    seconds = float(after) if after.isdecimal() else 0.0
    try:
        told = json.loads(data)
        reason, message = str(told.get("reason", "")), str(told.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", data[:500].decode(errors="replace")
    return api_error(status, reason, message, retry_after=seconds)
