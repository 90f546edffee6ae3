"""Histories of jobs: events in any order, with every kind of failure.

The cluster here does at any time what a real one may do. Three things always hold. An attempt has
at most one pod. At most one failure more than ``backoffLimit`` counts. A job ends once.
"""

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid.kube.conventions import KubeError
from nanogrid.live_memory import MemoryUse
from nanogrid.s3.errors import S3Error
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pod_name
from support.builders import (
    JOB_UID,
    MIB,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    a_stopped_result,
    ended,
    running,
)
from support.operator_fakes import EVENTS, JOBS, PODS, FakeKube
from support.operator_world import World, run_for

LOOP = asyncio.new_event_loop()  # one for all histories: creating one takes longer than a history


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


class Cluster(FakeKube):
    """An API server whose pods have a grace period, and whose created pods have an Event."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    async def create(self, path: str, body: Json) -> Json:
        answer = await super().create(path, body)
        if path == PODS:
            self.made.append(body["metadata"]["name"])
            about = {"kind": "Pod", "name": self.made[-1]}
            event = {"metadata": {"name": f"{self.made[-1]}.1"}, "involvedObject": about}
            self.put(EVENTS, event)
        return answer

    async def delete(self, path: str, name: str, uid: str) -> None:
        self.writes.append(f"DELETE {path}/{name} {uid}")
        if f"{path}/{name}" in self.objects:
            self.objects[f"{path}/{name}"]["metadata"]["deletionTimestamp"] = "2099-01-01T00:00:00Z"
            self.touch(path, name)


class History(World):
    """A job in a cluster. Each method is something that can happen."""

    def __init__(self, **job: Any) -> None:
        super().__init__(**job)
        self.kube = self.cluster = Cluster()
        self.kube.clock = lambda: self.now
        self.kube.put(JOBS, a_job_body(**job))
        self.start()
        self.delivered: list[Json] = []
        self.last_end: Json | None = None
        self.limit: int = job.get("backoffLimit", 0)
        self.watch()

    @property
    def pod(self) -> Json | None:
        """The newest pod, while it exists."""
        pods = [self.kube.objects.get(f"{PODS}/{name}") for name in self.cluster.made]
        return pods[-1] if pods else None

    @property
    def attempt(self) -> int:
        return len(self.cluster.made) - 1

    def watch(self) -> None:
        """The watches bring all current objects."""
        job = copy.deepcopy(self.kube.objects[f"{JOBS}/sales"])
        self.cache.put_job(job)
        pods = [copy.deepcopy(o) for key, o in self.kube.objects.items() if key.startswith(PODS)]
        self.delivered += [job, *pods]
        for pod in pods:
            self.cache.put_pod(pod)
        self._notice_gone()

    def _notice_gone(self) -> None:
        for number, name in enumerate(self.cluster.made):
            known = self.cache.pod(JOB_UID, number)
            if known is not None and f"{PODS}/{name}" not in self.kube.objects:
                self.cache.drop_pod(known)

    def repeat_event(self) -> None:
        """A watch brings an old version again."""
        body = copy.deepcopy(self.delivered[len(self.delivered) // 2])
        is_pod = "containers" in body["spec"]
        (self.cache.put_pod if is_pod else self.cache.put_job)(body)

    def reconcile_once(self) -> None:
        """A worker reconciles the job."""
        with contextlib.suppress(KubeError, S3Error):
            LOOP.run_until_complete(self.reconcile())
        self.check()

    def later(self, seconds: float) -> None:
        self.now += seconds

    def _set(self, **state: Any) -> None:
        if self.pod is not None:
            status = a_pod_body(**state)["status"]
            self.pod["status"] = status
            self.kube.touch(PODS, self.cluster.made[-1])

    def runs(self) -> None:
        self._set(phase="Running", agent=running(), sandbox=running())

    def _report(self, result: Any) -> None:
        """The agent stores the result, reports it and ends."""
        if self.pod is None or self.pod.get("status", {}).get("phase") != "Running":
            return
        self.s3.stored[JOB_UID] = result
        self.push(a_report(result))
        code = result.exit_code
        done = "Succeeded" if code == 0 else "Failed"
        self._set(phase=done, agent=ended(0), sandbox=ended(code))

    def reports_memory(self) -> None:
        """The agent of the newest attempt reports its memory, and the job gets its turn."""

        async def report() -> None:
            use = MemoryUse(200 * MIB, 222 * MIB)
            self.parts.memory.take(JOB_UID, max(0, self.attempt), use, 256 * MIB)
            await run_for(0, self.parts.memory.run())

        LOOP.run_until_complete(report())

    def fails(self) -> None:
        self._report(a_failed_result(3, attempt=self.attempt))

    def succeeds(self) -> None:
        self._report(a_result(attempt=self.attempt))

    def stops(self) -> None:
        """The kubelet and the agent finish a deletion."""
        if self.pod is not None and "deletionTimestamp" in self.pod["metadata"]:
            self._report(a_stopped_result(attempt=self.attempt))
            self.disappears()

    def is_evicted(self) -> None:
        self._set(phase="Failed", reason="Evicted")

    def disappears(self) -> None:
        """The pod is deleted. The operator observes it, or its name is in the status."""
        if self.pod is not None:
            self.watch()
            del self.kube.objects[f"{PODS}/{self.cluster.made[-1]}"]
            self._notice_gone()

    def restarts(self) -> None:
        """The operator restarts."""
        LOOP.run_until_complete(self.restart())

    def check(self) -> None:
        """Check what always holds."""
        made = self.cluster.made
        assert made == [pod_name("sales", JOB_UID, n) for n in range(len(made))]
        attempts = self.status.get("attempts", [])
        assert [a["number"] for a in attempts] == list(range(len(attempts)))
        finished = self.status.get("phase") in ("Succeeded", "Failed")
        counted = sum(a["counted"] for a in attempts)
        assert counted <= self.limit + finished
        if self.last_end is not None:
            assert {k: self.status.get(k) for k in self.last_end} == self.last_end
        elif finished:
            self.last_end = {k: self.status[k] for k in ("phase", "reason", "attempts", "result")
                             if k in self.status}  # fmt: skip
            self.pods_at_end = len(made)
        if self.last_end is not None:
            assert len(made) == self.pods_at_end
        shown = self.status.get("memory"), self.status.get("peakMemory")
        if self.status.get("phase") != "Running":
            assert shown in ((None, None), (None, "41Mi/256Mi")), "memory is shown after the end"


STEPS: dict[str, Callable[[History], object]] = {
    "reconcile": History.reconcile_once,
    "watch": History.watch,
    "an old event": History.repeat_event,
    "a second": lambda history: history.later(1),
    "a minute": lambda history: history.later(61),
    "six minutes": lambda history: history.later(360),
    "runs": History.runs,
    "reports memory": History.reports_memory,
    "fails": History.fails,
    "succeeds": History.succeeds,
    "stops": History.stops,
    "is evicted": History.is_evicted,
    "disappears": History.disappears,
    "restarts": History.restarts,
    "cancel": lambda history: history.change_spec(cancel=True),
    "suspend": lambda history: history.change_spec(suspend=True),
    "resume": lambda history: history.change_spec(suspend=False),
    "quota": lambda history: history.kube.refuse("POST", 403, "Forbidden", "exceeded quota"),
    "no create": lambda history: history.kube.refuse("POST", 500),
    "no write": lambda history: history.kube.refuse("PATCH", 500),
    "a client labels the job": lambda history: history.kube.touch(JOBS, "sales"),
    "S3 away": lambda history: setattr(history.s3, "up", False),
    "S3 back": lambda history: setattr(history.s3, "up", True),
    "Redis away": lambda history: setattr(history.redis, "up", False),
    "Redis back": lambda history: setattr(history.redis, "up", True),
}
# Passes of a worker and watch events are the most frequent.
orders = st.lists(
    st.one_of(st.sampled_from(["reconcile", "watch", "runs"]), st.sampled_from(list(STEPS))),
    max_size=40,
)


def played(job: Json, order: list[str]) -> History:
    history = History(**job)
    for step in order:
        STEPS[step](history)
        history.reconcile_once()
    return history


def to_the_end(history: History) -> None:
    """From now on everything works, and the code fails each time."""
    history.kube.refusals.clear()
    history.s3.up = history.redis.up = True
    history.change_spec(suspend=False)
    for _ in range(60):
        if history.end[0] in ("Succeeded", "Failed") and history.end[2] == "Delivered":
            break
        for step in (
            history.watch,
            history.reconcile_once,
            history.stops,
            history.runs,
            history.reconcile_once,
            history.fails,
        ):
            step()
        history.later(61)
        history.reconcile_once()


@given(
    st.fixed_dictionaries(
        {"backoffLimit": st.integers(0, 2)},
        optional={"activeDeadlineSeconds": st.just(300)},
    ),
    orders,
)
@settings(max_examples=100)
def test_in_every_history_an_attempt_has_one_pod_and_a_job_ends_once(
    job: Json, order: list[str]
) -> None:
    history = played(job, order)
    to_the_end(history)

    assert history.end[0] in ("Succeeded", "Failed")
    assert history.end[2] == "Delivered"
    assert len({result.reason for result in history.redis.offered}) == 1


def test_a_job_that_always_fails_uses_all_its_attempts() -> None:
    history = played({"backoffLimit": 2}, ["reconcile", "watch", "runs", "fails"] * 3)
    to_the_end(history)

    assert [a["counted"] for a in history.status["attempts"]] == [True, True, True]
    assert len(history.cluster.made) == 3
    assert history.end == ("Failed", "NonZeroExit", "Delivered")


def test_a_suspended_and_resumed_job_completes() -> None:
    history = played(
        {}, ["watch", "runs", "watch", "suspend", "watch", "stops", "resume", "watch", "runs"]
    )
    history.succeeds()
    history.reconcile_once()

    assert [a["reason"] for a in history.status["attempts"]] == ["Suspended", "Completed"]
    assert history.end == ("Succeeded", "Completed", "Delivered")
    assert len(history.redis.offered) == 1


def test_memory_of_an_attempt_is_shown_while_it_runs() -> None:
    history = played({"backoffLimit": 1}, ["watch", "runs", "watch", "a minute", "reports memory"])
    assert history.status["memory"] == "200Mi"

    history.fails()
    history.reconcile_once()
    assert history.status["reason"] == "Retrying"
    assert "memory" not in history.status
