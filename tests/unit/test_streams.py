"""Recorded watch streams, replayed with losses, repetitions, restarts, in any order.

What the cluster did is fixed; what the operator sees of it, and when, is not. The end always is the
recorded one, with one pod per attempt and one message. See tests/unit/streams/record.py.
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
from nanogrid_operator.facts import pod_facts
from nanogrid_operator.kube import KubeError
from nanogrid_operator.outcome import read_report
from unit.builders import JOB_UID, POD_NAME, Json
from unit.fakes import JOBS, PODS, FakeKube, World

STREAMS = Path(__file__).parent / "streams"
NAMES = sorted(file.stem for file in STREAMS.glob("*.json"))
LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


class Recorded:
    """One recording: the pod's states one after another, the job as it was made and as it ended."""

    def __init__(self, name: str) -> None:
        data = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
        self.pods: list[Json] = data["pods"]
        self.made: Json = data["jobs"][0]["object"]
        self.last: Json = data["jobs"][-1]
        self.job_deleted = self.last["type"] == "DELETED"
        status = self.last["object"].get("status", {})
        self.end = (status.get("phase"), status.get("reason"))
        self.created = datetime.fromisoformat(
            self.pods[0]["object"]["metadata"]["creationTimestamp"]
        ).timestamp()
        versions = [e["object"]["metadata"]["resourceVersion"] for e in data["jobs"] + data["pods"]]
        self.newest = max(map(int, versions))
        told = [read_report(pod_facts(event["object"])) for event in self.pods]
        self.report: wire.Report | None = next((r for r in told if r is not None), None)
        self.stored_at = next((n for n, r in enumerate(told) if r is not None), len(told))


class Cluster(FakeKube):
    """Its pod is the recorded one, which begins when it is created and goes on by itself."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded
        self.at = -1  # the recorded event that is true now
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
        """The next thing happens to the pod."""
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
    """The operator, in front of a recording."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded
        self.kube = self.cluster = Cluster(recorded)
        self.now = recorded.created + 1
        self.kube.clock = lambda: self.now
        self.kube.put(JOBS, recorded.made)
        self.start()
        self.store.put_job(copy.deepcopy(recorded.made))

    def deliver(self, number: int) -> None:
        """The watch brings something that is or was true, perhaps again."""
        if self.cluster.at < 0:
            return
        event = copy.deepcopy(self.recorded.pods[number % (self.cluster.at + 1)])
        deleted = event["type"] == "DELETED"
        (self.store.drop_pod if deleted else self.store.put_pod)(event["object"])

    def go_on(self) -> None:
        """The next thing happens to the pod; the agent stores its result before it ends."""
        self.cluster.go_on()
        if self.recorded.report is not None and self.cluster.at >= self.recorded.stored_at:
            self.s3.stored.setdefault(JOB_UID, self.recorded.report.result)

    def push_report(self) -> None:
        """The agent's report comes, perhaps again, once the code has ended."""
        if self.recorded.report is not None and self.cluster.at >= 2:
            self.push(self.recorded.report)

    def turn(self) -> None:
        self.now += 0.01
        with contextlib.suppress(KubeError):
            LOOP.run_until_complete(self.reconcile())

    def resync(self) -> None:
        LOOP.run_until_complete(self.workers.resync())

    def restart(self) -> None:
        self.start()
        self.resync()

    def delete_job(self) -> None:
        self.kube.objects.pop(f"{JOBS}/sales", None)
        self.kube.objects.pop(f"{PODS}/{POD_NAME}", None)
        self.cluster.version += 1

    def to_the_end(self) -> None:
        """Everything has happened, and a LIST shows what is left of it."""
        self.turn()
        while self.cluster.at < len(self.recorded.pods) - 1:
            self.go_on()
        if self.recorded.job_deleted:
            self.delete_job()
        self.cluster.refusals.clear()
        self.redis.up = self.redis.answers = True
        for _ in range(4):
            self.resync()
            self.turn()
            self.now += 40


happenings = st.one_of(
    st.just("turn"), st.just("go on"), st.integers(0, 30),
    st.sampled_from(
        ["turn", "go on", "resync", "restart", "report", "no write", "conflict", "no create",
         "redis away", "answers lost", "redis back", "job old news"]
    ),
)  # fmt: skip


def happen(replay: Replay, what: Any) -> None:
    acts: dict[str, Any] = {
        "turn": replay.turn,
        "go on": replay.go_on,
        "resync": replay.resync,
        "restart": replay.restart,
        "report": replay.push_report,
        "no write": lambda: replay.kube.refuse("PATCH", 500),
        "conflict": lambda: replay.kube.touch(JOBS, "sales"),
        "no create": lambda: replay.kube.refuse("POST", 503),
        "redis away": lambda: setattr(replay.redis, "up", False),
        "answers lost": lambda: setattr(replay.redis, "answers", False),
        "redis back": lambda: [setattr(replay.redis, a, True) for a in ("up", "answers")],
        "job old news": lambda: replay.store.put_job(copy.deepcopy(replay.recorded.made)),
    }
    if isinstance(what, int):
        replay.deliver(what)
    else:
        acts[what]()
    replay.turn()


@pytest.mark.parametrize("name", NAMES)
@given(order=st.lists(happenings, max_size=30))
@settings(max_examples=60)
def test_a_stream_in_any_order_with_losses_and_repetitions_has_one_end(
    name: str, order: list[Any]
) -> None:
    recorded = Recorded(name)
    replay = Replay(recorded)
    for what in order:
        happen(replay, what)
    replay.to_the_end()

    assert replay.cluster.creates == [POD_NAME]
    if recorded.job_deleted:
        assert replay.store.job(JOB_UID) is None
        assert len(replay.redis.messages) <= 1
        return
    assert replay.end == (*recorded.end, "Delivered")
    (told,) = replay.redis.messages
    assert (told.status, told.reason) == (
        replay.status["result"]["status"],
        replay.status["reason"],
    )
    assert told.exit_code == replay.status["result"].get("exitCode")


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_as_it_was_has_its_recorded_end(name: str) -> None:
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
