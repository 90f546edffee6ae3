"""The position of a queued job in its status: current enough, with few writes."""

from dataclasses import replace

from nanogrid_operator.decision.position import PositionUpdates
from support.builders import CREATED, a_job, a_pod_body, running, some_settings
from support.operator_fakes import WRITE_STATUS
from support.operator_world import World


class Positions:
    """Positions with a clock, and the number of writes."""

    def __init__(self) -> None:
        self.now, self.writes = 0.0, 0
        self.updates = PositionUpdates(lambda: self.now)

    def offer(self, uid: str, position: int) -> bool:
        due = self.updates.due(uid, position)
        if due:
            self.updates.written(uid, position)
            self.writes += 1
        return due


def test_a_job_at_position_1000_of_a_slow_queue_is_written_at_most_17_times() -> None:
    positions = Positions()
    positions.updates.written("one", 1000)
    for position in range(999, 0, -1):
        positions.now += 60
        positions.offer("one", position)

    assert 12 <= positions.writes <= 17


def test_a_fast_queue_writes_a_job_at_most_every_30_seconds() -> None:
    positions = Positions()
    positions.updates.written("one", 1000)
    for position in range(999, 0, -1):
        positions.now += 0.1
        positions.offer("one", position)

    assert 1 <= positions.writes <= 3


def test_all_jobs_together_are_written_five_times_per_second() -> None:
    positions = Positions()
    for number in range(1000):
        positions.updates.written(f"job-{number}", 2)
    positions.now = 60.0
    for _ in range(100):
        positions.now += 0.1
        for number in range(1000):
            positions.offer(f"job-{number}", 1)

    assert 40 <= positions.writes <= 51


def test_a_restarted_operator_writes_a_position_that_it_does_not_know() -> None:
    positions = Positions()
    assert not positions.offer("one", 50)
    positions.now += 31
    assert positions.offer("one", 50)
    positions.now += 31
    assert not positions.offer("one", 50)


def put_pod(world: World, name: str, *, over: bool = False) -> None:
    """The watch brings a pod of another job in the namespace."""
    phase = "Succeeded" if over else "Running"
    body = a_pod_body(job_uid="other", agent=running(), sandbox=running(), phase=phase)
    body["metadata"] |= {"name": name, "resourceVersion": str(world.kube.version)}
    world.kube.version += 1
    world.cache.put_pod(body)


async def test_the_status_shows_the_position_and_its_changes_without_events() -> None:
    world = World(some_settings(watch_namespaces="team-a", s3_secret="", max_pods=1))
    put_pod(world, "other-0")
    admission = world.parts.admission
    for number in range(3):
        admission.enqueue(
            replace(a_job(), uid=f"o{number}", name=f"a{number}", created=CREATED - 9)
        )
    world.now = CREATED + 11
    await world.reconcile()
    assert world.status["message"].count("Position 4 of 4 in the queue of the namespace") == 1

    admission.forget_job("o0")
    world.now += 10
    await world.reconcile()
    assert "Position 4 of 4" in world.status["message"], "30 s are not over"
    world.now += 25
    await world.reconcile()
    await world.reconcile()

    assert "Position 3 of 3" in world.status["message"]
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert world.events == []
