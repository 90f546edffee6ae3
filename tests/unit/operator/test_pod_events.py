"""A pod event that changes nothing for its job causes no work, and no decision differs for it."""

import asyncio
import copy
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.decision.pod_use import NamespaceUse, pod_use
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.model.remembered import Remembered
from support.builders import CREATED, JOB_UID, a_job_body, a_pod_body, ended, running, waiting
from support.operator_fakes import PODS
from support.operator_world import World

LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


def bound(body: Json, version: int, node: str = "True") -> Json:
    """The pod as the scheduler leaves it, with more that no decision reads."""
    found = copy.deepcopy(body)
    found["metadata"]["resourceVersion"] = str(version)
    found["spec"]["nodeName"] = "n"
    status = found.setdefault("status", {})
    status["conditions"] = [
        {"type": "PodScheduled", "status": node, "lastTransitionTime": "2025-10-09T08:53:21Z"},
        {"type": "Initialized", "status": "True"},
    ]
    return found


async def enqueued(world: World, body: Json, kind: str = "MODIFIED") -> bool:
    """Whether an event of the pod enqueues the job."""
    world.parts.handlers.on_pod(kind, body)
    if not len(world.queue):
        return False
    world.queue.done(await world.queue.get())
    return True


async def created() -> tuple[World, Json]:
    """A job whose pod the operator has created, and the pod as the API server has it."""
    world = World()
    await world.reconcile()
    (body,) = [o for key, o in world.kube.objects.items() if key.startswith(PODS)]
    return world, copy.deepcopy(body)


async def test_the_echo_of_a_created_pod_enqueues_nothing() -> None:
    world, body = await created()

    assert not await enqueued(world, body, "ADDED")


async def test_a_pod_that_gets_its_node_is_counted_and_enqueues_nothing() -> None:
    world, body = await created()
    use = world.parts.admission._namespaces["team-a"].use
    assert use.unscheduled == 1

    assert not await enqueued(world, bound(body, 5000))
    assert use.unscheduled == 0


async def test_an_event_derives_the_facts_of_its_pod_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world, body = await created()
    derived: list[str] = []
    derive = pod_facts._derive

    def counted(body: Json) -> Pod:
        derived.append(body["metadata"]["resourceVersion"])
        return derive(body)

    monkeypatch.setattr(pod_facts, "_derive", counted)
    await enqueued(world, bound(body, 5000))
    await world.reconcile()

    assert derived == ["5000"]


async def test_the_node_of_a_pod_of_kueue_enqueues_its_job() -> None:
    world, body = await created()
    body["metadata"]["labels"][names.LABEL_KUEUE_MANAGED] = "true"
    body["metadata"]["resourceVersion"] = "4000"
    await enqueued(world, body)

    assert await enqueued(world, bound(body, 5000))


async def test_a_pod_that_starts_or_ends_enqueues_its_job() -> None:
    world = World()
    states: list[Json] = [
        {"phase": "Pending"},
        {"phase": "Pending", "sync": running()},
        {"phase": "Running", "sandbox": running()},
        {"phase": "Succeeded", "sandbox": ended()},
    ]
    for version, state in enumerate(states, 100):
        assert await enqueued(world, a_pod_body(version=version, **state)), state


containers = st.none() | st.sampled_from(
    [running(), running(3), waiting(), waiting("ErrImagePull", "no"), ended(0), ended(1, age=9)]
)
states = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
        "reason": st.sampled_from(["", "Evicted"]),
        "deleting": st.booleans(),
        "ready": st.booleans(),
        "unschedulable": st.sampled_from(["", "no node has room"]),
        "gated": st.sampled_from(["", "a gate"]),
        "disrupted": st.sampled_from(["", "DeletionByTaintManager"]),
        "memory": st.sampled_from(["256Mi", "512Mi"]),
        "sync": containers,
        "agent": containers,
        "sandbox": containers,
    },
)
changes = st.sampled_from(["nothing", "address", "node", "no node", "condition", "ready flag"])


def changed(body: Json, change: str, version: int) -> Json:
    """The next version of a pod, with a change that may mean nothing."""
    found = copy.deepcopy(body)
    found["metadata"]["resourceVersion"] = str(version)
    status = found["status"]
    others = [c for c in status["conditions"] if c["type"] != "PodScheduled"]
    match change:
        case "address":
            status |= {"podIP": f"10.0.0.{version}", "hostIP": "10.1.1.1"}
        case "node":
            status["conditions"] = [*others, {"type": "PodScheduled", "status": "True"}]
        case "no node":
            status["conditions"] = others
        case "condition":
            status["conditions"].append({"type": "Initialized", "status": "True"})
        case "ready flag":
            for container in status["containerStatuses"]:
                container["ready"] = True
    return found


@given(
    st.fixed_dictionaries(
        {}, optional={"activeDeadlineSeconds": st.just(5), "backoffLimit": st.just(1)}
    ),
    st.lists(st.tuples(st.none() | states, changes), min_size=1, max_size=12),
    st.sampled_from([1.0, 3.0, 5.0, 400.0]),
)
@settings(max_examples=150)
def test_no_decision_differs_after_an_event_that_enqueues_nothing(
    job: Json, events: list[tuple[Json | None, str]], age: float
) -> None:
    world = World(**job)
    world.now = CREATED + age
    reconciler, cache = world.parts.reconciler, world.cache

    async def play() -> None:
        body = a_pod_body()
        for version, (state, change) in enumerate(events, 200):
            body = body if state is None else a_pod_body(**state)
            body = changed(body, change, version)
            known = cache.job(JOB_UID)
            assert known is not None
            had_pod = cache.pod(JOB_UID, 0) is not None
            before = decide(reconciler._snapshot(job_facts(known)))
            if not await enqueued(world, body):
                assert had_pod
                assert as_decided(decide(reconciler._snapshot(job_facts(known)))) == as_decided(
                    before
                )
            fresh = NamespaceUse()
            pod = cache.pod(JOB_UID, 0)
            assert pod is not None
            fresh.observe(pod["metadata"]["name"], pod_use(pod))
            use = world.parts.admission._namespaces.get("team-a")
            counted = use.use if use is not None else NamespaceUse()
            assert vars_of(counted) == vars_of(fresh)

    LOOP.run_until_complete(play())


def as_decided(action: object) -> str:
    """An action without what a pod's node changes in the facts that it carries."""
    text = repr(action)
    for fact in ("scheduled=True", "scheduled=False"):
        text = text.replace(fact, "")
    return text


def vars_of(use: NamespaceUse) -> tuple[int, ...]:
    return (
        use.live, use.waiting, use.unscheduled, use.unschedulable, use.cpu_millis,
        use.memory_bytes,
    )  # fmt: skip


def test_facts_are_derived_once_for_each_version_and_kept_for_a_bounded_number() -> None:
    numbers = itertools.count(1)
    facts = Remembered(lambda body: next(numbers), most=2)
    first, second, third = ({"metadata": {"uid": uid}} for uid in "abc")

    assert [facts(first), facts(first), facts(second), facts(first)] == [1, 1, 2, 1]
    assert facts(copy.deepcopy(first)) == 3, "another version"
    assert facts(third) == 4
    assert len(facts) == 2
    assert facts(second) == 5, "the one that was not used for longest is forgotten"


def test_the_facts_of_a_job_follow_its_versions() -> None:
    body = a_job_body()
    newer = {**body, "status": {"phase": "Running"}}

    assert job_facts(body).status == {}
    assert job_facts(newer).status == {"phase": "Running"}
    assert job_facts(body).status == {}
