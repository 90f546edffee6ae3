"""How often the operator calls the API server for a job: no noise touches these numbers.

The job comes and its pod changes as the watch shows it. Nothing is read: the cache has everything.
"""

import asyncio
import copy
from collections import Counter
from typing import Any

import pytest

from nanogrid import names, pod_identity
from nanogrid.kube.client import Trim
from nanogrid.kube.conventions import PAGE
from nanogrid.types import Json
from nanogrid_operator.settings import Settings
from support.builders import (
    CREATED,
    JOB_UID,
    a_failed_result,
    a_report,
    a_result,
    an_object,
    ended,
    running,
    some_settings,
    time_text,
    waiting,
)
from support.operator_fakes import EVENTS, JOBS, PODS, FakeKube
from support.operator_world import World

POD, EVENT, STATUS = "create pods", "create events", "patch executionjobs/status"
INPUT: Json = {"name": "in", "mountPath": "/app/data", "s3": {"key": "k"}}
CLAIM = "patch pods"


class CountingKube(FakeKube):
    """Counts all requests: ``calls`` by verb and resource."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def _count(self, verb: str, path: str, more: str = "") -> None:
        self.calls[f"{verb} {path.rpartition('/')[2]}{more}"] += 1

    async def list(
        self,
        path: str,
        *,
        labels: str = "",
        fields: str = "",
        trim: Trim | None = None,
        limit: int = PAGE,
    ) -> tuple[list[Json], str]:
        self._count("list", path)
        return await super().list(path, labels=labels, fields=fields, trim=trim, limit=limit)

    async def get(self, path: str, name: str) -> Json:
        self._count("get", path)
        return await super().get(path, name)

    async def create(self, path: str, body: Json) -> Json:
        self._count("create", path)
        made = await super().create(path, body)
        return self._store(f"{path}/{body['metadata']['name']}", made) if path == EVENTS else made

    async def replace(self, path: str, name: str, body: Json) -> Json:
        self._count("update", path)
        return self._store(f"{path}/{name}", body)

    async def patch(self, path: str, name: str, body: Json) -> Json:
        self._count("patch", path)
        return await super().patch(path, name, body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        self._count("patch", path, "/status")
        return await super().patch_status(path, name, body)

    async def delete(self, path: str, name: str, *args: Any, **kwargs: Any) -> Json | None:
        self._count("delete", path)
        return await super().delete(path, name, *args, **kwargs)


class Counted(World):
    """A job, and an operator whose requests are counted. Its queue decides when it works."""

    def __init__(self, settings: Settings | None = None, **job: Any) -> None:
        super().__init__(settings, **job)
        self.kube = self.api = _copy(self.kube)
        self.kube.clock = lambda: self.now
        self.start()
        self.seen = ""  # the job's version that the watch has brought
        self.watch_job("ADDED")

    def watch_job(self, kind: str = "MODIFIED") -> None:
        """The watch brings the job."""
        self.parts.handlers.on_job(kind, copy.deepcopy(self.kube.objects[f"{JOBS}/sales"]))

    @property
    def pod_name(self) -> str:
        """The name of the job's newest pod."""
        pods = [body for key, body in self.kube.objects.items() if PODS in key]
        own = [pod for pod in pods if pod_identity.job_uid(pod) == JOB_UID]
        return max(str(pod["metadata"]["name"]) for pod in own)

    async def goes(self, after: float = 0.2, **state: Any) -> None:
        """The newest pod gets this state after some seconds; the watch brings it."""
        self.now += after
        key = f"{PODS}/{self.pod_name}"
        status = self.kube.objects[key].setdefault("status", {})
        status |= {"phase": state.pop("phase", "Pending")}
        status["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        sync = state.pop("sync", None)
        if sync is not None:
            status["initContainerStatuses"] = [{"name": "sync-input", "state": sync}]
        status["containerStatuses"] = [{"name": n, "state": s} for n, s in state.items()]
        self.kube.touch(PODS, self.pod_name)
        self.parts.handlers.on_pod("MODIFIED", copy.deepcopy(self.kube.objects[key]))
        await self.settle()

    async def settle(self) -> None:
        """Workers do all that is ready; the watch brings what they wrote."""
        while self.queue.depth:
            key = await self.queue.get()
            await self.parts.reconciler.reconcile(key)
            self.queue.forget(key)
            self.queue.done(key)
            await asyncio.sleep(0)  # Events are sent
            version = self.kube.objects[f"{JOBS}/sales"]["metadata"]["resourceVersion"]
            if version != self.seen:
                self.seen = version
                self.watch_job()

    async def runs_and_reports(self, result: Any = None) -> None:
        """The code runs for 0.3 s, the agent reports, and the kubelet says so."""
        at = self.now - CREATED
        await self.goes(agent=running(at), sandbox=running(at), phase="Running")
        self.now += 0.3
        self.push(a_report(result or a_result()))
        self.queue.add(JOB_UID)
        await self.settle()
        code = 0 if result is None else result.exit_code
        phase = "Succeeded" if code == 0 else "Failed"
        await self.goes(agent=ended(0), sandbox=ended(code), phase=phase)


def _copy(kube: FakeKube) -> CountingKube:
    counting = CountingKube()
    counting.objects = kube.objects
    return counting


async def test_a_cold_job_costs_three_writes() -> None:
    world = Counted()
    await world.settle()
    await world.goes()
    await world.runs_and_reports()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.api.calls == {POD: 1, EVENT: 1, STATUS: 1}


@pytest.mark.parametrize("wait", [1.0, 3.5], ids=["soon", "late"])
async def test_a_cold_job_with_inputs_costs_three_writes_also_if_its_pod_waits(
    wait: float,
) -> None:
    world = Counted(inputs=[INPUT])
    await world.settle()
    await world.goes(wait)
    at = world.now - CREATED
    await world.goes(sync=running(at), sandbox=waiting())
    synced = ended(0)
    synced["terminated"]["startedAt"] = time_text(at)
    await world.goes(0.5, sync=synced, sandbox=waiting())
    await world.runs_and_reports()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.api.calls == {POD: 1, EVENT: 1, STATUS: 1}


async def test_a_job_that_runs_long_costs_one_write_more() -> None:
    world = Counted()
    await world.settle()
    await world.goes(agent=running(1), sandbox=running(1), phase="Running")
    world.now += 5
    world.queue.add(JOB_UID)  # its time has come
    await world.settle()
    assert world.status["phase"] == "Running"
    await world.runs_and_reports()

    assert world.api.calls == {POD: 1, EVENT: 1, STATUS: 2}


async def test_each_attempt_of_a_job_costs_four_writes_but_the_last() -> None:
    world = Counted(backoffLimit=1)
    await world.settle()
    await world.runs_and_reports(a_failed_result())
    assert world.status["reason"] == "Retrying"
    world.now += 60
    world.queue.add(JOB_UID)  # the pause is over
    await world.settle()
    await world.runs_and_reports(a_result(attempt=1))

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.api.calls == {POD: 2, EVENT: 3, STATUS: 2}
    assert world.events == ["PodCreated", "Retrying", "PodCreated"]


async def test_a_warm_job_costs_two_writes_and_the_event_of_its_claim() -> None:
    settings = some_settings(watch_namespaces="team-a", s3_secret="")
    world = Counted(settings, poolRef={"name": "warm"})
    pool = an_object(
        names.POOL_KIND,
        {"name": "warm", "uid": "pool-uid", "generation": 1, "resourceVersion": "11"},
        {},
    )
    world.parts.pools.put_pool(pool)
    known = world.parts.pools.pool("team-a/warm")
    assert known is not None
    pod = world.parts.claims.templates.pod(known, "0123abcd")
    pod["metadata"] |= {
        "uid": "pod-uid",
        "resourceVersion": "50",
        "creationTimestamp": "2025-10-09T08:00:00Z",
    }
    pod["status"] = {"phase": "Running"}
    world.kube.put(PODS, pod)
    world.parts.handlers.on_pod("ADDED", copy.deepcopy(pod))
    with world.parts.agents.request("pod-uid") as task:
        await world.settle()
        assert task.result().task.uid == JOB_UID
    await world.runs_and_reports()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.status["start"] == "Warm"
    assert world.api.calls == {EVENT: 1, CLAIM: 1, STATUS: 1}
    assert world.events == ["PodClaimed"]
