"""A cluster in memory that brings one operator whole objects, and plays agents that report.

Each job has the life of a real one: its pod gets a node, its containers are created and run, its
agent POSTs the report, its pod ends, and both are deleted.
"""

import asyncio
import base64
import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import yaml
from aiohttp import web

from nanogrid import names, wire
from nanogrid.kube.conventions import TOKEN_REVIEWS
from nanogrid.lifecycle import finished
from nanogrid.types import Json
from support import pod_life
from support.builders import a_job_body, a_report, a_result, merge_patch, signed
from support.certificates import Certificates, certificates
from support.operator_api import failure, now_text
from support.operator_cluster import JOBS_PATH, NAMESPACE, PODS_OF_JOBS, OperatorCluster
from support.operator_fakes import reviewed

STEP_SECONDS: Final = 0.05  # between two changes of a pod
RUN_SECONDS: Final = 0.3
TOTAL_SECONDS: Final = 300.0
TAKEN: Final = 202


@dataclass
class _Life:
    """What happens to a job."""

    pod: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )  # its path, once it is created
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class LoadCluster(OperatorCluster):
    """Its API server speaks TLS, as a real one does."""

    def __init__(self, directory: Path, own: Certificates) -> None:
        super().__init__(directory)
        self._certificates = own
        self._lives: dict[str, _Life] = {}  # by the job's uid

    def environment(self, sender: str) -> dict[str, str]:
        """Without a Lease: nothing but jobs costs the operator time."""
        found = super().environment(sender)
        config = Path(found["KUBECONFIG"])
        content = yaml.safe_load(config.read_text())
        cluster = content["clusters"][0]["cluster"]
        cluster["server"] = cluster["server"].replace("http:", "https:")
        cluster["certificate-authority"] = str(self._certificates.ca)
        content["users"][0]["user"] = {"token": "the-operator"}
        config.write_text(yaml.safe_dump(content))
        return found | {"NANOGRID_LEASE_NAME": "", "NANOGRID_REPORT_KEY": ""}

    def tls(self) -> ssl.SSLContext:
        """Of the API server."""
        return self._certificates.server

    def run_jobs(self, count: int, in_flight: int, results_url: str) -> None:
        """Create so many jobs, and return when all are gone.

        Raises:
            TimeoutError: They are not after five minutes.
        """
        work = self._run_jobs(count, in_flight, results_url)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TOTAL_SECONDS + 10)

    async def _run_jobs(self, count: int, in_flight: int, results_url: str) -> None:
        free = asyncio.Semaphore(in_flight)
        # Each agent opens a connection of its own.
        connector = aiohttp.TCPConnector(force_close=True)

        async def live() -> None:
            try:
                await self._live(http, results_url)
            finally:
                free.release()

        async with (
            aiohttp.ClientSession(connector=connector) as http,
            asyncio.timeout(TOTAL_SECONDS),
            asyncio.TaskGroup() as group,
        ):
            for _ in range(count):
                await free.acquire()
                group.create_task(live())

    async def _live(self, http: aiohttp.ClientSession, results_url: str) -> None:
        """The whole life of a job."""
        uid = str(uuid.uuid4())
        name = f"job-{uid[:8]}"
        job, life = f"{JOBS_PATH}/{name}", _Life()
        self._lives[uid] = life
        await self._save(job, pod_life.stored_job(a_job_body(name=name, uid=uid), now_text()))
        pod = await life.pod
        for change in (pod_life.bound, pod_life.creating, pod_life.running):
            await asyncio.sleep(STEP_SECONDS)
            await self._save(pod, change(self.objects[pod], now_text()))
        await asyncio.sleep(RUN_SECONDS)
        report = await _report(http, results_url, self.objects[pod])
        for phase in ("Running", "Succeeded"):
            await asyncio.sleep(STEP_SECONDS)
            await self._save(pod, pod_life.ended(self.objects[pod], now_text(), phase, report))
        await life.ended.wait()
        await self._save(job, self.objects[job], kind="DELETED")
        await self._save(pod, pod_life.deleting(self.objects[pod], now_text()))
        await asyncio.sleep(STEP_SECONDS)
        await self._save(pod, self.objects[pod], kind="DELETED")
        del self._lives[uid]

    async def _write(self, method: str, path: str, body: Json) -> web.Response:
        if path == TOKEN_REVIEWS:
            status = reviewed(_pod_uid(body["spec"]["token"]))
            return web.json_response({**body, "status": status}, status=201)
        if method == "PATCH" and path.startswith(JOBS_PATH):
            return await self._write_status(path.removesuffix("/status"), body)
        return await super()._write(method, path, body)

    async def _write_status(self, at: str, body: Json) -> web.Response:
        found = self.objects[at]
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified")
        written = pod_life.written_job(merge_patch(found, body), now_text())
        answer = web.json_response(await self._save(at, written))
        if finished(written):
            self._lives[written["metadata"]["uid"]].ended.set()
        return answer

    async def _create(self, path: str, body: Json) -> web.Response:
        if path != PODS_OF_JOBS:
            return await super()._create(path, body)
        at = f"{path}/{body['metadata']['name']}"
        if at in self.objects:
            return failure(409, "AlreadyExists", f"{at} already exists")
        body["metadata"]["uid"] = str(uuid.uuid4())
        saved = await self._save(at, pod_life.stored_pod(body, now_text()))
        self._lives[body["metadata"]["labels"][names.LABEL_JOB_UID]].pod.set_result(at)
        return web.json_response(saved, status=201)


async def _report(http: aiohttp.ClientSession, url: str, pod: Json) -> str:
    """What the agent of a pod reports, once the operator has taken it."""
    (owner,) = pod["metadata"]["ownerReferences"]
    ref = wire.JobRef(namespace=NAMESPACE, name=owner["name"], uid=owner["uid"])
    report = wire.dumps(a_report(signed(a_result(request_id=owner["uid"], job=ref))))
    headers = {"Authorization": f"Bearer {_token(pod)}"}
    async with http.post(url, data=report, headers=headers) as answer:
        assert answer.status == TAKEN, await answer.text()
    return report


def _token(pod: Json) -> str:
    """A token of the pod's service account, as the kubelet projects it."""
    metadata = pod["metadata"]
    bound = {"namespace": NAMESPACE, "pod": {key: metadata[key] for key in ("name", "uid")}}
    claims = json.dumps({"kubernetes.io": bound}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{'s' * 342}"


def _pod_uid(token: str) -> str:
    text = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return str(claims["kubernetes.io"]["pod"]["uid"])


@contextmanager
def load_cluster(directory: Path) -> Iterator[LoadCluster]:
    """A running cluster."""
    cluster = LoadCluster(directory, certificates(directory))
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
