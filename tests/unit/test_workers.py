"""Workers and resync; then whole lives of jobs, in any order of events, with every kind of trouble.

The cluster here does at any time what a real one may do. Whatever it does: an attempt has one pod
at most, failures that count are one more than ``backoffLimit`` at most, and a job ends once.
"""

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid.names import LABEL_JOB_UID
from nanogrid_operator.kube import KubeError
from nanogrid_operator.pod import pod_name
from nanogrid_operator.s3 import S3Error
from unit.builders import (
    JOB_UID,
    Json,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    a_stopped_result,
    ended,
    running,
    some_settings,
)
from unit.fakes import CREATE_POD, EVENTS, JOBS, PODS, FakeKube, World

# Workers.


async def test_a_pod_whose_job_is_gone_is_deleted_after_a_while_and_no_other() -> None:
    world = World()
    world.start()
    lost = a_pod_body(job_uid="uid-of-a-job-that-is-gone")
    lost["metadata"] |= {"name": "lost-0", "ownerReferences": []}
    foreign = copy.deepcopy(lost)
    foreign["metadata"] |= {"name": "foreign-0", "labels": {LABEL_JOB_UID: "somebody's"}}
    lost["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "nanogrid-operator"
    foreign["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "somebody else"
    mine = a_pod_body()
    mine["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "nanogrid-operator"
    for body in (lost, foreign, mine):
        world.kube.put(PODS, body)

    await world.workers.resync()
    assert not [w for w in world.kube.writes if w.startswith("DELETE")], "it may be on its way"

    world.now += 700
    await world.workers.resync()

    assert [w for w in world.kube.writes if w.startswith("DELETE")] == [
        f"DELETE {PODS}/lost-0 {lost['metadata']['uid']}"
    ]
    assert world.workers.swept == 1


async def test_a_list_brings_all_jobs_and_pods_and_primes_the_store() -> None:
    world = World()
    world.start()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    before = world.store.primed

    await world.workers.resync()

    assert (before, world.store.primed) == (False, True)
    assert world.store.uids() == [JOB_UID]
    assert world.store.pod(JOB_UID, 0) is not None
    assert len(world.queue) == 1


async def test_each_namespace_that_is_watched_is_listed() -> None:
    world = World()
    world.start()
    other = a_job_body(name="b", uid="uid-b", namespace="team-b")
    world.kube.put(JOBS.replace("team-a", "team-b"), other)
    world.workers.settings = _watching("team-a,team-b")

    await world.workers.resync()

    assert sorted(world.store.uids()) == sorted([JOB_UID, "uid-b"])


def _watching(namespaces: str) -> Any:
    return some_settings(watch_namespaces=namespaces, s3_secret="")


async def test_a_list_that_fails_is_tried_at_the_next_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.start()
    world.kube.refuse("LIST", 500)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("nanogrid_operator.workers.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await world.workers.resync_forever()

    assert pauses == [world.settings.resync_seconds] * 3
    assert world.store.uids() == [JOB_UID]


@pytest.mark.parametrize(
    "trouble", [KubeError(500, "", ""), KubeError(0, "", ""), S3Error("away"), ValueError("bug")]
)
async def test_a_worker_lives_on_and_the_job_is_tried_again(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    left = [trouble, trouble]
    real = type(world.operator).reconcile

    async def reconcile(self: Any, uid: str) -> None:
        if left:
            raise left.pop()
        await real(self, uid)

    monkeypatch.setattr(type(world.operator), "reconcile", reconcile)

    await world.work()

    assert world.kube.writes == [CREATE_POD]
    assert len(world.queue.retries) == 2


async def test_a_job_that_went_well_starts_again_at_the_shortest_back_off() -> None:
    world = World()
    world.kube.refuse("POST", 500)

    await world.work()

    assert world.queue.retry(JOB_UID) <= 0.1


# Whole lives.

LOOP = asyncio.new_event_loop()  # one for all lives: making one takes longer than a life


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


class Cluster(FakeKube):
    """Pods that are deleted get their grace; each pod that was ever made has an event."""

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


class Life(World):
    """A job in a cluster that does what it likes; each method is one thing that may happen."""

    def __init__(self, **job: Any) -> None:
        super().__init__(**job)
        self.kube = self.cluster = Cluster()
        self.kube.clock = lambda: self.now
        self.kube.put(JOBS, a_job_body(**job))
        self.start()
        self.seen: list[Json] = []
        self.last_end: Json | None = None
        self.limit: int = job.get("backoffLimit", 0)
        self.watch()

    @property
    def pod(self) -> Json | None:
        """The newest pod, while it is there."""
        pods = [self.kube.objects.get(f"{PODS}/{name}") for name in self.cluster.made]
        return pods[-1] if pods else None

    @property
    def attempt(self) -> int:
        return len(self.cluster.made) - 1

    def watch(self) -> None:
        """The watches bring what there is."""
        job = copy.deepcopy(self.kube.objects[f"{JOBS}/sales"])
        self.store.put_job(job)
        pods = [copy.deepcopy(o) for key, o in self.kube.objects.items() if key.startswith(PODS)]
        self.seen += [job, *pods]
        for pod in pods:
            self.store.put_pod(pod)
        self._notice_gone()

    def _notice_gone(self) -> None:
        for number, name in enumerate(self.cluster.made):
            known = self.store.pod(JOB_UID, number)
            if known is not None and f"{PODS}/{name}" not in self.kube.objects:
                self.store.drop_pod(known)

    def old_news(self) -> None:
        """A watch brings something that was seen long ago."""
        body = copy.deepcopy(self.seen[len(self.seen) // 2])
        is_pod = "containers" in body["spec"]
        (self.store.put_pod if is_pod else self.store.put_job)(body)

    def turn(self) -> None:
        """A worker takes the job."""
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

    def _tell(self, result: Any) -> None:
        """The agent stores the result, pushes it and ends."""
        if self.pod is None or self.pod.get("status", {}).get("phase") != "Running":
            return
        self.s3.stored[JOB_UID] = result
        self.push(a_report(result))
        code = result.exit_code
        done = "Succeeded" if code == 0 else "Failed"
        self._set(phase=done, agent=ended(0), sandbox=ended(code))

    def fails(self) -> None:
        self._tell(a_failed_result(3, attempt=self.attempt))

    def does_well(self) -> None:
        self._tell(a_result(attempt=self.attempt))

    def stops(self) -> None:
        """The kubelet and the agent do what a deletion asks for."""
        if self.pod is not None and "deletionTimestamp" in self.pod["metadata"]:
            self._tell(a_stopped_result(attempt=self.attempt))
            self.vanishes()

    def is_evicted(self) -> None:
        self._set(phase="Failed", reason="Evicted")

    def vanishes(self) -> None:
        """The pod goes; the operator sees that now, or its name is in the status."""
        if self.pod is not None:
            self.watch()
            del self.kube.objects[f"{PODS}/{self.cluster.made[-1]}"]
            self._notice_gone()

    def restarts(self) -> None:
        """The operator starts anew."""
        self.start()
        LOOP.run_until_complete(self.workers.resync())
        LOOP.run_until_complete(self.workers.call_witnesses())

    def check(self) -> None:
        """What always holds."""
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


HAPPENINGS: dict[str, Callable[[Life], object]] = {
    "turn": Life.turn,
    "watch": Life.watch,
    "old news": Life.old_news,
    "a second": lambda life: life.later(1),
    "a minute": lambda life: life.later(61),
    "six minutes": lambda life: life.later(360),
    "runs": Life.runs,
    "fails": Life.fails,
    "does well": Life.does_well,
    "stops": Life.stops,
    "is evicted": Life.is_evicted,
    "vanishes": Life.vanishes,
    "restarts": Life.restarts,
    "cancel": lambda life: life.change_spec(cancel=True),
    "suspend": lambda life: life.change_spec(suspend=True),
    "resume": lambda life: life.change_spec(suspend=False),
    "quota": lambda life: life.kube.refuse("POST", 403, "Forbidden", "exceeded quota"),
    "no create": lambda life: life.kube.refuse("POST", 500),
    "no write": lambda life: life.kube.refuse("PATCH", 500),
    "somebody labels the job": lambda life: life.kube.touch(JOBS, "sales"),
    "S3 away": lambda life: setattr(life.s3, "up", False),
    "S3 back": lambda life: setattr(life.s3, "up", True),
    "Redis away": lambda life: setattr(life.redis, "up", False),
    "Redis back": lambda life: setattr(life.redis, "up", True),
}
# A worker's turn and the watch are what happens most.
orders = st.lists(
    st.one_of(st.sampled_from(["turn", "watch", "runs"]), st.sampled_from(list(HAPPENINGS))),
    max_size=40,
)


def lived(job: Json, order: list[str]) -> Life:
    life = Life(**job)
    for happening in order:
        HAPPENINGS[happening](life)
        life.turn()
    return life


def to_the_end(life: Life) -> None:
    """From now on all is well, and the code fails each time."""
    life.kube.refusals.clear()
    life.s3.up = life.redis.up = True
    life.change_spec(suspend=False)
    for _ in range(60):
        if life.end[0] in ("Succeeded", "Failed") and life.end[2] == "Delivered":
            break
        for happening in (life.watch, life.turn, life.stops, life.runs, life.turn, life.fails):
            happening()
        life.later(61)
        life.turn()


@given(
    st.fixed_dictionaries(
        {"backoffLimit": st.integers(0, 2)},
        optional={"activeDeadlineSeconds": st.just(300)},
    ),
    orders,
)
@settings(max_examples=100)
def test_whatever_happens_an_attempt_has_one_pod_and_a_job_ends_once(
    job: Json, order: list[str]
) -> None:
    life = lived(job, order)
    to_the_end(life)

    assert life.end[0] in ("Succeeded", "Failed")
    assert life.end[2] == "Delivered"
    assert len({told.reason for told in life.redis.told}) == 1


def test_a_job_that_always_fails_has_as_many_attempts_as_it_may() -> None:
    life = lived({"backoffLimit": 2}, ["turn", "watch", "runs", "fails"] * 3)
    to_the_end(life)

    assert [a["counted"] for a in life.status["attempts"]] == [True, True, True]
    assert len(life.cluster.made) == 3
    assert life.end == ("Failed", "NonZeroExit", "Delivered")


def test_a_job_that_is_suspended_and_resumed_goes_on() -> None:
    life = lived(
        {}, ["watch", "runs", "watch", "suspend", "watch", "stops", "resume", "watch", "runs"]
    )
    life.does_well()
    life.turn()

    assert [a["reason"] for a in life.status["attempts"]] == ["Suspended", "Completed"]
    assert life.end == ("Succeeded", "Completed", "Delivered")
    assert len(life.redis.told) == 1
