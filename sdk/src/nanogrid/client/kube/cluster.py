"""The Kubernetes API in a few verbs on plain dicts, synchronous.

The ``kubernetes`` package provides credentials and TLS; bodies stay dicts. Every call has a
timeout. Reads, merge patches and deletes are tried up to four times when the server is busy or does
not answer. A create is retried only after 429, because a lost answer may hide a success;
:mod:`nanogrid.client.jobs.submit` then looks for the job.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from nanogrid.client.errors import ApiError, NotFound, Unreachable, of_kube
from nanogrid.client.kube.access_review import access_review
from nanogrid.client.kube.connection import Connection, connect
from nanogrid.client.kube.paths import pods
from nanogrid.client.kube.watch import Watch
from nanogrid.client.timing import DEFAULT_TIMING, Timing
from nanogrid.kube.conventions import (
    MERGE_PATCH,
    PAGE,
    Retry,
    refusal,
    selectors,
)
from nanogrid.kube.reviews import allowed
from nanogrid.types import Json

Objects = list[Json]
Codes = list[int]
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0
LOG_READ_SECONDS: Final = 3600.0  # code may be silent for long
USER_AGENT: Final = "nanogrid-client"
ACCEPT: Final = "application/json"
# A server that does not know the first form answers in the second.
METADATA: Final = f"{ACCEPT};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{ACCEPT}"
_RETRY: Final = Retry(
    codes=frozenset({0, 429, 500, 502, 503, 504}), first=0.2, patience=10.0, most=1.5
)
_RETRY_CREATE: Final = replace(_RETRY, codes=frozenset({429}))


class Cluster:
    """One API server and a default namespace. Safe for threads."""

    def __init__(self, connection: Connection, timing: Timing = DEFAULT_TIMING) -> None:
        self.connection = connection
        self.timing = timing

    @classmethod
    def connect(
        cls,
        context: str | None = None,
        kubeconfig: str | None = None,
        namespace: str | None = None,
    ) -> "Cluster":
        """Use a pod's service account, or a kubeconfig; nothing is sent yet.

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
        """The namespace of calls that give none."""
        return self.connection.namespace

    def get(self, path: str) -> Json:
        """One object, or any other document of the API, by its full path.

        Raises:
            ApiError: see :mod:`nanogrid.client.errors`; the same for all verbs.
        """
        return self._call("GET", path)

    def list(self, path: str, labels: str = "", fields: str = "") -> Objects:
        """All objects of a collection, read in pages."""
        return self.list_with_version(path, labels, fields)[0]

    def list_metadata(self, path: str, labels: str = "") -> Objects:
        """All objects of a collection with their metadata only."""
        return self._pages(path, labels, "", METADATA)[0]

    def list_with_version(
        self, path: str, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """All objects, and the resourceVersion from which a watch continues."""
        return self._pages(path, labels, fields, ACCEPT)

    def _pages(self, path: str, labels: str, fields: str, accept: str) -> tuple[Objects, str]:
        query = selectors(labels, fields) | {"limit": str(PAGE)}
        items: Objects = []
        while True:
            page = self._call("GET", f"{path}?{urlencode(query)}", accept=accept)
            items += page.get("items", [])
            more = page["metadata"].get("continue")
            if not more:
                return items, str(page["metadata"].get("resourceVersion", ""))
            query["continue"] = more

    def create(self, path: str, body: Json) -> Json:
        """Create an object.

        Raises:
            Conflict: an object with this name exists.
            Unreachable: no answer came; the object may exist.
        """
        return self._call("POST", path, body, retry=_RETRY_CREATE)

    def patch(self, path: str, name: str, body: Json, subresource: str | None = None) -> Json:
        """Merge-patch an object, or one of its subresources such as status."""
        below = f"/{subresource}" if subresource else ""
        return self._call("PATCH", f"{path}/{name}{below}", body)

    def delete(self, path: str, name: str, uid: str | None = None) -> None:
        """Delete an object; with ``uid`` only if the object still has it (otherwise Conflict).

        Raises:
            NotFound: the object does not exist. After a lost answer this counts as success.
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
        """Changes of a collection: events ``{"type": ADDED|MODIFIED|DELETED, "object": …}``.

        Without a resource_version, existing objects come first (ADDED). When a version is too old
        (410), a new list replaces it: changed objects come as MODIFIED, missing ones as DELETED.

        Args:
            path: the collection's.
            fields: field selector, for example metadata.name=hello.
            labels: label selector.
            resource_version: continue after this version.
            timeout_seconds: end of the iterator; default is never.
        """
        return Watch(self, path, fields, labels, timeout_seconds).events(resource_version)

    def stream(self, path: str, read_seconds: float) -> Iterator[bytes]:
        """The lines of a GET as they arrive, until the server ends the response.

        Raises:
            Unreachable: also when nothing arrives for ``read_seconds``.
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
                raise of_kube(refusal(answer.status, answer.read(), answer.headers))
            yield from answer.stream(1 << 16, decode_content=True)
        except (HTTPError, OSError) as e:
            raise _no_answer(self.connection.host, e) from e
        finally:
            # Do not return it to the pool: the next request would read the rest of this body.
            answer.close()

    def pod_log(
        self, namespace: str, pod: str, container: str, follow: bool = False, stream: str = ""
    ) -> Iterator[bytes]:
        """A container's log in pieces as they arrive; with ``follow`` until the container ends.

        Args:
            namespace: of the pod.
            pod: its name.
            container: its name.
            follow: continue until the container ends.
            stream: Stdout or Stderr; "" gives both and works with every server.
        """
        asked = {"container": container, "follow": str(follow).lower(), "stream": stream}
        query = urlencode({key: value for key, value in asked.items() if value})
        seconds = LOG_READ_SECONDS if follow else READ_SECONDS
        return self._chunks(f"{pods(namespace)}/{pod}/log?{query}", seconds)

    def can(
        self,
        verb: str,
        resource: str,
        namespace: str | None = None,
        group: str = "",
        service_account: str = "",
    ) -> bool:
        """Whether an action is allowed, by an access review.

        Args:
            verb: for example get.
            resource: plural name, with a subresource as in pods/log.
            namespace: None means all namespaces.
            group: API group; "" is the core group.
            service_account: NAMESPACE:NAME to ask about; default is the current user. It needs
                the permission to create SubjectAccessReviews.
        """
        path, review = access_review(verb, resource, namespace, group, service_account)
        answer = self._call("POST", path, review)  # it stores nothing, so a retry is safe
        return allowed(answer)

    def version(self) -> Json:
        """The API server's version document, with gitVersion."""
        return self._call("GET", "/version")

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        accept: str = ACCEPT,
        retry: Retry = _RETRY,
        lost: Codes | None = None,
    ) -> Json:
        attempt = 0
        while True:
            try:
                answer = self._send(method, path, body, READ_SECONDS, accept=accept)
                if answer.status >= 300:
                    raise of_kube(refusal(answer.status, answer.data, answer.headers))
                return _json(answer.data)
            except ApiError as e:
                pause = retry.pause(e.status, e.retry_after, attempt)
                if pause is None:
                    raise
                if lost is not None:
                    lost.append(e.status)
                self.timing.sleep(pause)
                attempt += 1

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None,
        read_seconds: float,
        preload: bool = True,
        accept: str = ACCEPT,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": accept, "User-Agent": USER_AGENT}
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
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


def _json(data: bytes) -> Json:
    try:
        found: Json = json.loads(data)
    except ValueError as e:
        raise Unreachable(0, "NotJson", f"the API server's answer is not JSON: {e}.") from e
    return found


def _no_answer(host: str, error: Exception) -> Unreachable:
    return Unreachable(0, type(error).__name__, f"{host} does not answer: {error}.")
