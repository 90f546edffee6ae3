"""Recorded watch streams, replayed in any order, with losses, repetitions and restarts.

The events of the cluster are fixed. What the operator observes of them, and when, is not. The end
is always the recorded one, with one pod per attempt and one message. See streams/record.py.
"""

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.model.pod_facts import pod_facts
from support.builders import JOB_UID, POD_NAME
from support.operator_fakes import JOBS, PODS, FakeKube
from support.operator_world import World
from support.snapshots import written_report

STREAMS = Path(__file__).parent / "streams"
NAMES = sorted(file.stem for file in STREAMS.glob("*.json"))
LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


class Recorded:
    """One recording: the states of the pod in order, the job at its creation and at its end."""

    def __init__(self, name: str) -> None:
        data = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
        self.pods: list[Json] = data["pods"]
        self.created_job: Json = data["jobs"][0]["object"]
        self.last: Json = data["jobs"][-1]
        self.job_deleted = self.last["type"] == "DELETED"
        status = self.last["object"].get("status", {})
        self.end = (status.get("phase"), status.get("reason"))
        self.created = datetime.fromisoformat(
            self.pods[0]["object"]["metadata"]["creationTimestamp"]
        ).timestamp()
        versions = [e["object"]["metadata"]["resourceVersion"] for e in data["jobs"] + data["pods"]]
        self.newest = max(map(int, versions))
        reports = [written_report(pod_facts(event["object"])) for event in self.pods]
        self.report: wire.Report | None = next((r for r in reports if r is not None), None)
        self.stored_at = next((n for n, r in enumerate(reports) if r is not None), len(reports))


class Cluster(FakeKube):
    """An API server whose pod has the recorded states, from its creation on."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded
        self.at = -1  # the current recorded event
        self.creates: list[str] = []
        self.version = recorded.newest

    async def create(self, path: str, body: Json) -> Json:
        if path != PODS:
            return await super().create(path, body)
        name = body["metadata"]["name"]
        if self.at >= 0 and f"{PODS}/{name}" in self.objects:
            raise KubeError(409, "AlreadyExists", name)
        self.creates.append(name)
        self.at = max(self.at, 0)
        self._show()
        return copy.deepcopy(self.recorded.pods[0]["object"])

    def go_on(self) -> None:
        """The pod gets its next state."""
        if 0 <= self.at < len(self.recorded.pods) - 1:
            self.at += 1
            self._show()

    def _show(self) -> None:
        event = self.recorded.pods[self.at]
        if event["type"] == "DELETED":
            self.objects.pop(f"{PODS}/{POD_NAME}", None)
        else:
            self.put(PODS, event["object"])


class Replay(World):
    """An operator that watches a recording."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded
        self.kube = self.cluster = Cluster(recorded)
        self.now = recorded.created + 1
        self.kube.clock = lambda: self.now
        self.kube.put(JOBS, recorded.created_job)
        self.start()
        self.cache.put_job(copy.deepcopy(recorded.created_job))

    def deliver(self, number: int) -> None:
        """The watch brings a current or old state, perhaps again."""
        if self.cluster.at < 0:
            return
        event = copy.deepcopy(self.recorded.pods[number % (self.cluster.at + 1)])
        deleted = event["type"] == "DELETED"
        (self.cache.drop_pod if deleted else self.cache.put_pod)(event["object"])

    def go_on(self) -> None:
        """The pod gets its next state; the agent stores its result before it ends."""
        self.cluster.go_on()
        if self.recorded.report is not None and self.cluster.at >= self.recorded.stored_at:
            self.s3.stored.setdefault(JOB_UID, self.recorded.report.result)

    def repeat_job_event(self) -> None:
        """The watch brings the job as it was created."""
        self.cache.put_job(copy.deepcopy(self.recorded.created_job))

    def push_report(self) -> None:
        """The agent reports, perhaps again, after the code has ended."""
        if self.recorded.report is not None and self.cluster.at >= 2:
            self.push(self.recorded.report)

    def turn(self) -> None:
        self.now += 0.01
        with contextlib.suppress(KubeError):
            LOOP.run_until_complete(self.reconcile())

    def relist(self) -> None:
        LOOP.run_until_complete(self.resync())

    def start_over(self) -> None:
        """The operator restarts."""
        self.start()
        self.relist()

    def delete_job(self) -> None:
        self.kube.objects.pop(f"{JOBS}/sales", None)
        self.kube.objects.pop(f"{PODS}/{POD_NAME}", None)
        self.cluster.version += 1

    def to_the_end(self) -> None:
        """Play all events, and let a LIST show what is left."""
        self.turn()
        while self.cluster.at < len(self.recorded.pods) - 1:
            self.go_on()
        if self.recorded.job_deleted:
            self.delete_job()
        self.cluster.refusals.clear()
        self.redis.up = self.redis.answers = True
        for _ in range(4):
            self.relist()
            self.turn()
            self.now += 40


steps = st.one_of(
    st.just("turn"), st.just("go on"), st.integers(0, 30),
    st.sampled_from(
        ["turn", "go on", "resync", "restart", "report", "no write", "conflict", "no create",
         "redis away", "answers lost", "redis back", "an old job event"]
    ),
)  # fmt: skip


def play(replay: Replay, what: Any) -> None:
    acts: dict[str, Any] = {
        "turn": replay.turn,
        "go on": replay.go_on,
        "resync": replay.relist,
        "restart": replay.start_over,
        "report": replay.push_report,
        "no write": lambda: replay.kube.refuse("PATCH", 500),
        "conflict": lambda: replay.kube.touch(JOBS, "sales"),
        "no create": lambda: replay.kube.refuse("POST", 503),
        "redis away": lambda: setattr(replay.redis, "up", False),
        "answers lost": lambda: setattr(replay.redis, "answers", False),
        "redis back": lambda: [setattr(replay.redis, a, True) for a in ("up", "answers")],
        "an old job event": lambda: replay.cache.put_job(
            copy.deepcopy(replay.recorded.created_job)
        ),
    }
    if isinstance(what, int):
        replay.deliver(what)
    else:
        acts[what]()
    replay.turn()


@pytest.mark.parametrize("name", NAMES)
@given(order=st.lists(steps, max_size=30))
@settings(max_examples=60)
def test_a_stream_with_losses_and_repetitions_in_any_order_has_the_recorded_end(
    name: str, order: list[Any]
) -> None:
    recorded = Recorded(name)
    replay = Replay(recorded)
    for what in order:
        play(replay, what)
    replay.to_the_end()

    assert replay.cluster.creates == [POD_NAME]
    if recorded.job_deleted:
        assert replay.cache.job(JOB_UID) is None
        assert len(replay.redis.messages) <= 1
        return
    assert replay.end == (*recorded.end, "Delivered")
    (published,) = replay.redis.messages
    assert (published.status, published.reason) == (
        replay.status["result"]["status"],
        replay.status["reason"],
    )
    assert published.exit_code == replay.status["result"].get("exitCode")


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_order_has_the_recorded_end(name: str) -> None:
    recorded = Recorded(name)
    replay = Replay(recorded)
    replay.turn()
    for number in range(len(recorded.pods)):
        replay.go_on()
        replay.deliver(number + 1)
        replay.turn()
    replay.to_the_end()

    assert replay.cluster.creates == [POD_NAME]
    if not recorded.job_deleted:
        assert replay.end == (*recorded.end, "Delivered")


def test_all_scenarios_are_recorded() -> None:
    assert {"success", "failure", "oom", "timeout", "pod-deleted", "job-deleted"} <= set(NAMES)
