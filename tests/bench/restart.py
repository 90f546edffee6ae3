"""The operator's start with thousands of finished jobs: memory, and the time until a new job.

``python -m tests.bench.restart [--jobs 10000]``: an HTTP server in another process serves the LISTs
page by page; the measured process reads them as the operator does. Results in MiB and seconds.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import web
from kubernetes.aio import client

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import PAGE, collection
from nanogrid.kube.transport import Transport
from nanogrid.types import Json
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.resync import Resync
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.workqueue import WorkQueue
from support.pool_parts import no_pools

NAMESPACE = "bench"


def a_job(number: int, *, finished: bool = True) -> Json:
    """A job with 4 KB of code that printed 12 KB."""
    meta = {
        "name": f"job-{number}", "namespace": NAMESPACE, "uid": f"uid-{number}",
        "generation": 1, "resourceVersion": str(number + 1),
        "creationTimestamp": "2025-10-09T08:53:20Z",
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:code": {}}}}],
    }  # fmt: skip
    status: Json = {}
    if finished:
        status = {
            "phase": "Succeeded", "completionTime": "2025-10-09T08:54:20Z",
            "delivery": {"state": "Delivered"}, "result": {"stdout": "x" * 12_000},
            "conditions": [{"type": f"C{n}", "message": "m" * 80} for n in range(8)],
        }  # fmt: skip
    return {"metadata": meta, "spec": {"code": {"inline": "y" * 4_000}}, "status": status}


def a_pod(number: int) -> Json:
    """The pod of a job, with the usual environment and volumes."""
    uid, name = f"uid-{number}", f"job-{number}-0"
    containers = [
        {"name": n, "env": [{"name": "NANOGRID_TASK", "value": "t" * 5_000}],
         "resources": {"limits": {"memory": "256Mi"}},
         "volumeMounts": [{"name": f"v{m}", "mountPath": f"/v{m}"} for m in range(4)]}
        for n in ("agent", "sandbox")
    ]  # fmt: skip
    states = [
        {"name": n, "image": "i" * 60, "state": {"terminated": {"exitCode": 0, "reason": "Done"}}}
        for n in ("agent", "sandbox")
    ]
    meta = {
        "name": name, "namespace": NAMESPACE, "uid": f"pod-{number}",
        "resourceVersion": str(number + 1), "creationTimestamp": "2025-10-09T08:53:20Z",
        "labels": {"nanogrid.io/job-uid": uid, "nanogrid.io/attempt": "0"},
        "ownerReferences": [{"uid": uid}],
    }  # fmt: skip
    status = {"phase": "Succeeded", "containerStatuses": states}
    return {"metadata": meta, "spec": {"containers": containers}, "status": status}


def serve(count: int, pipe: Connection) -> None:
    """The API server: LISTs of ``count`` finished jobs and their pods, and of one new job."""

    def page(make: Callable[[int], Json], extra: list[Json]) -> Callable[[web.Request], Any]:
        # Built before the measurement: the real server is in Go and faster than this.
        pages = {}
        for start in range(0, count, PAGE):
            stop = min(count, start + PAGE)
            meta: Json = {"resourceVersion": str(count + 10)}
            items = [make(n) for n in range(start, stop)]
            if stop < count:
                meta["continue"] = str(stop)
            else:
                items += extra
            pages[start] = json.dumps({"items": items, "metadata": meta}).encode()

        async def handle(request: web.Request) -> web.Response:
            body = pages[int(request.query.get("continue", 0))]
            return web.Response(body=body, content_type="application/json")

        return handle

    async def main() -> None:
        app = web.Application()
        jobs = collection("/apis/nanogrid.io/v1alpha1", "executionjobs", NAMESPACE)
        app.router.add_get(jobs, page(a_job, [a_job(count, finished=False)]))
        app.router.add_get(collection("/api/v1", "pods", NAMESPACE), page(a_pod, []))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


def rss() -> float:
    """The resident memory of this process, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


async def measure(port: int) -> Json:
    """Read the LISTs, then wait until a worker gets the new job."""
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    configuration.retries = None
    api = client.ApiClient(configuration)
    kube = KubeApi(Transport(api=api, timeout_seconds=60.0, user_agent="nanogrid-bench"))
    cache, queue, waiting = JobCache(), WorkQueue(), no_pools()
    settings = Settings(executor_image="e", results_url="r", watch_namespaces=NAMESPACE)
    resync = Resync(
        settings=settings, selection=Selection(""), cache=cache, pools=waiting.pools,
        proofs=waiting.proofs, queue=queue, kube=kube,
        liveness=Liveness(queue, 300), on_job=lambda job: None,
    )  # fmt: skip
    before, began = rss(), time.monotonic()
    await resync.resync()
    listed = time.monotonic() - began
    turns = 0
    while True:
        body = cache.job(await queue.get())
        turns += 1
        if body is not None and not job_facts(body).finished:
            break
    seconds = time.monotonic() - began
    after = rss()
    await resync.resync()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await kube.close()
    return {
        "rssBeforeMiB": round(before, 1), "rssAfterMiB": round(after, 1),
        "rssPeakMiB": round(peak, 1), "rssAfterSecondListMiB": round(rss(), 1),
        "listSeconds": round(listed, 2), "newJobSeconds": round(seconds, 2), "turns": turns,
    }  # fmt: skip


def main() -> None:
    """Measure once and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="finished jobs")
    count = parser.parse_args().jobs
    near, far = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(count, far))
    server.start()
    try:
        print(json.dumps(asyncio.run(measure(near.recv())), indent=2))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
