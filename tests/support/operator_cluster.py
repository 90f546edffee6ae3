"""A small API server with a kubelet, for operators that run as processes of their own.

It has optimistic concurrency, merge patches, LIST and WATCH of any collection. Each operator has a
port of its own, so requests have a sender. A pod that is created runs, and ends with a result.
"""

import asyncio
import contextlib
import copy
import json
import ssl
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml
from aiohttp import web

from nanogrid import names, wire
from nanogrid.kube.conventions import JOBS, collection
from nanogrid.types import Json
from support.builders import (
    RESULT_KEY_MASTER,
    a_job_body,
    a_report,
    a_result,
    ended,
    merge_patch,
    running,
    signed,
)
from support.operator_api import (
    DISCOVERY,
    failure,
    inside,
    is_collection,
    now_text,
    pod_status,
)
from support.s3_server import free_port
from support.selectors import selected_by

NAMESPACE = "team-a"
LEASE_NAMESPACE = "platform"
LEASE = "nanogrid"
REPORT_KEY = "report-key-of-the-tests"
POD_SECONDS = 1.0
CALL_SECONDS = 60.0
WATCH_SECONDS = 300.0
PODS_OF_JOBS = collection("/api/v1", "pods", NAMESPACE)
OWN_PODS = collection("/api/v1", "pods", LEASE_NAMESPACE)
JOBS_PATH = collection(JOBS, names.PLURAL, NAMESPACE)
LEASE_PATH = f"{collection('/apis/coordination.k8s.io/v1', 'leases', LEASE_NAMESPACE)}/{LEASE}"


@dataclass(frozen=True)
class Request:
    """A request of an operator; ``at`` is in monotonic seconds."""

    at: float
    sender: str
    method: str
    path: str

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"


class OperatorCluster:
    """Its methods may be called from any thread."""

    def __init__(self, directory: Path) -> None:
        self.objects: dict[str, Json] = {}
        self.requests: list[Request] = []
        self.holders: list[tuple[float, str]] = []  # when each one got the Lease
        self.renewals: list[float] = []
        self.pods: list[str] = []  # the names of all pods that were created for jobs
        self.pod_seconds = POD_SECONDS
        self._directory = directory
        self._history: list[tuple[int, str, str, Json]] = []
        self._version = 100
        self._ports: dict[int, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runners: list[web.ServerRunner] = []

    def tls(self) -> ssl.SSLContext | None:
        """Of the API server; None: it speaks plain HTTP."""
        return None

    def start(self) -> "OperatorCluster":
        """Start the server's thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close all ports and end the thread."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def environment(self, sender: str) -> dict[str, str]:
        """The environment of an operator that has the port of its name."""
        port = free_port()
        self._call(self._listen(sender, port))
        config = self._directory / f"kubeconfig-{sender}"
        url = f"http://127.0.0.1:{port}"
        entry = {"cluster": "fake", "user": "fake"}
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "fake",
                    "clusters": [{"name": "fake", "cluster": {"server": url}}],
                    "users": [{"name": "fake", "user": {}}],
                    "contexts": [{"name": "fake", "context": entry}],
                }
            )
        )
        return {
            "KUBECONFIG": str(config),
            "NANOGRID_EXECUTOR_IMAGE": "nanogrid-executor:test",
            "NANOGRID_RESULTS_URL": "http://127.0.0.1:1/v1/results",
            "NANOGRID_RESULT_KEY_MASTER": RESULT_KEY_MASTER,
            "NANOGRID_REPORT_KEY": REPORT_KEY,
            "NANOGRID_COMPATIBILITY_NAMESPACE": NAMESPACE,
            "NANOGRID_WATCH_NAMESPACES": NAMESPACE,
            "NANOGRID_NETWORK_POLICIES": "false",
            "NANOGRID_ALLOW_UNENFORCED_NETWORK": "true",
            "NANOGRID_LEASE_NAME": LEASE,
            "NANOGRID_LEASE_NAMESPACE": LEASE_NAMESPACE,
            "NANOGRID_IDENTITY": sender,
        }

    def put(self, path: str, body: Json) -> None:
        """Create an object, or replace it."""
        name = body["metadata"]["name"]
        self._call(self._save(f"{path}/{name}", copy.deepcopy(body)))

    def remove(self, at: str) -> None:
        """Delete an object by its path."""
        self._call(self._save(at, self.objects[at], kind="DELETED"))

    def put_jobs(self, *job_names: str, **spec: Any) -> None:
        """Create jobs with inline code; keywords are fields of their spec."""
        for name in job_names:
            job = a_job_body(name=name, uid=str(uuid.uuid4()), **spec)
            job["metadata"]["creationTimestamp"] = now_text()
            self.put(JOBS_PATH, job)

    def put_finished(self, count: int) -> None:
        """Create jobs that have ended, with 12 KB of output each."""
        result = {"stdout": "x" * 12_000}
        status = {
            "phase": "Succeeded", "completionTime": now_text(), "result": result,
            "delivery": {"state": "Delivered"},
        }  # fmt: skip
        for number in range(count):
            job = a_job_body(name=f"old-{number}", uid=str(uuid.uuid4()), status=status)
            self.put(JOBS_PATH, job)

    @property
    def lease(self) -> Json:
        """The spec of the Lease; empty before there is one."""
        found: Json = self.objects.get(LEASE_PATH, {}).get("spec") or {}
        return found

    @property
    def holder(self) -> str:
        """Who holds the Lease."""
        return str(self.lease.get("holderIdentity") or "")

    def unfinished(self) -> list[str]:
        """The names of the jobs that have not ended."""
        found = [o for path, o in list(self.objects.items()) if path.startswith(f"{JOBS_PATH}/")]
        return [
            o["metadata"]["name"]
            for o in found
            if not (o.get("status") or {}).get("completionTime")
        ]

    def sent(self, sender: str) -> list[Request]:
        """The requests of an operator."""
        return [r for r in list(self.requests) if r.sender == sender]

    def watches(self, sender: str) -> int:
        """How many watches an operator has opened."""
        return sum("watch=" in r.path for r in self.sent(sender))

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _listen(self, sender: str, port: int) -> None:
        self._ports[port] = sender
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=self.tls()).start()
        self._runners.append(runner)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for runner in self._runners:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        sender = self._ports[request.transport.get_extra_info("sockname")[1]]
        self.requests.append(Request(time.monotonic(), sender, request.method, request.path_qs))
        path, query = request.path, dict(parse_qsl(request.query_string))
        if request.method != "GET":
            body = json.loads(await request.read() or b"{}")
            return await self._write(request.method, path, body)
        if query.get("watch") == "true":
            return await self._watch(request, path, query)
        if path in DISCOVERY:
            return web.json_response(DISCOVERY[path])
        if path in self.objects:
            return web.json_response(self.objects[path])
        if not is_collection(path):
            return failure(404, "NotFound", f"{path} not found")
        items = [o for at, o in self.objects.items() if inside(at, path) and selected_by(o, query)]
        begin = int(query.get("continue") or 0)
        end = begin + int(query.get("limit") or len(items) or 1)
        meta = {"resourceVersion": str(self._version)}
        meta |= {"continue": str(end)} if end < len(items) else {}
        return web.json_response({"metadata": meta, "items": items[begin:end]})

    async def _write(self, method: str, path: str, body: Json) -> web.Response:
        if method == "POST":
            return await self._create(path, body)
        target = path.removesuffix("/status")
        found = self.objects.get(target)
        if found is None:
            return failure(404, "NotFound", f"{target} not found")
        if method == "DELETE":
            return web.json_response(await self._save(target, found, kind="DELETED"))
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != found["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified")
        if target == LEASE_PATH:
            self._note_lease(body)
        return web.json_response(await self._save(target, merge_patch(found, body)))

    def _note_lease(self, body: Json) -> None:
        self.renewals.append(time.monotonic())
        holder = body["spec"].get("holderIdentity")
        if holder is not None:
            self.holders.append((time.monotonic(), holder))

    async def _create(self, path: str, body: Json) -> web.Response:
        if path.endswith("/events"):
            return web.json_response(body, status=201)
        meta = body["metadata"]
        at = f"{path}/{meta['name']}"
        if at in self.objects:
            return failure(409, "AlreadyExists", f"{at} already exists")
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now_text()}
        meta.setdefault("namespace", path.split("/")[-2])
        if path == PODS_OF_JOBS:
            self.pods.append(meta["name"])
            self._spawn(self._run_pod(at))
        return web.json_response(await self._save(at, body), status=201)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_pod(self, at: str) -> None:
        """Run a pod to its end, as the kubelet does."""
        await asyncio.sleep(0.1)
        runs = [{"name": n, "state": running()} for n in ("agent", "sandbox")]
        await self._save(at, self.objects[at] | {"status": pod_status("Running", runs)})
        await asyncio.sleep(self.pod_seconds)
        pod = self.objects.get(at)
        if pod is None:
            return
        (owner,) = pod["metadata"]["ownerReferences"]
        ref = wire.JobRef(namespace=NAMESPACE, name=owner["name"], uid=owner["uid"])
        result = signed(a_result(request_id=owner["uid"], job=ref))
        texts = {"agent": wire.dumps(a_report(result)), "sandbox": ""}
        ends = [{"name": n, "state": ended(message=text)} for n, text in texts.items()]
        await self._save(at, pod | {"status": pod_status("Succeeded", ends)})

    async def _save(self, at: str, body: Json, kind: str = "") -> Json:
        kind = kind or ("MODIFIED" if at in self.objects else "ADDED")
        self._version += 1
        meta = body["metadata"] | {"resourceVersion": str(self._version)}
        stored = body | {"metadata": meta}
        if kind == "DELETED":
            del self.objects[at]
        else:
            self.objects[at] = stored
        if at != LEASE_PATH:  # which has no watch
            self._history.append((self._version, kind, at, stored))
        async with self._changed:
            self._changed.notify_all()
        return stored

    async def _after(self, position: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._history) > position)

    async def _watch(
        self, request: web.BaseRequest, path: str, query: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        position = 0
        version = int(query.get("resourceVersion") or 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(query.get("timeoutSeconds") or WATCH_SECONDS)):
                while True:
                    for number, kind, at, body in self._history[position:]:
                        if number > version and inside(at, path) and selected_by(body, query):
                            line = json.dumps({"type": kind, "object": body})
                            await response.write(line.encode() + b"\n")
                    position = len(self._history)
                    await self._after(position)
        return response


@contextmanager
def operator_cluster(directory: Path) -> Iterator[OperatorCluster]:
    """A running cluster."""
    cluster = OperatorCluster(directory).start()
    try:
        yield cluster
    finally:
        cluster.stop()
