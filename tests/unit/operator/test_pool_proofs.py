"""Who may create pods and Events adds no pod to a pool, claims none, and gets no task."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp.test_utils import make_mocked_request

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.model.claim import ClaimProofs, claimed_pod
from nanogrid_operator.server.senders import Sender
from nanogrid_operator.server.tasks import TaskApi
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.workqueue import WorkQueue
from support.builders import CREATED, JOB_UID, POD_UID, RESULT_KEY_MASTER, a_job_body, a_pod_body

pytestmark = pytest.mark.security

POOL_UID = "7f6d0a52-60f6-4d0b-8c9e-0d3c2a1b4e5f"
NAME = names.pool_pod("fast", "0a1b2c3d")
POOL: Json = {
    "apiVersion": names.API_VERSION,
    "kind": names.POOL_KIND,
    "metadata": {
        "name": "fast", "namespace": "team-a", "uid": POOL_UID, "resourceVersion": "10",
    },
    "spec": {},
}  # fmt: skip
OURS = ClaimProofs(RESULT_KEY_MASTER)
THEIRS = ClaimProofs("a key that a user has made up")
Change = Callable[[Json], None]


def waiting_pod(proofs: ClaimProofs = OURS) -> Json:
    """A pod of the pool, as the operator creates it."""
    pod = a_pod_body()
    pod["metadata"] |= {
        "name": NAME,
        "labels": {
            names.LABEL_JOB_UID: "",
            names.LABEL_POOL: "fast",
            names.LABEL_POOL_VERSION: "v",
        },
        "annotations": {names.ANNOTATION_POOL_PROOF: proofs.created(POOL_UID, NAME)},
        "ownerReferences": [{"kind": names.POOL_KIND, "name": "fast", "uid": POOL_UID}],
    }
    return pod


def claimed(proofs: ClaimProofs = OURS, attempt: int = 0, pod_uid: str = POD_UID) -> Json:
    """The same pod with the labels of a job, and a proof for an attempt and a pod."""
    pod = waiting_pod()
    pod["metadata"] |= {
        "resourceVersion": "30",
        "labels": pod["metadata"]["labels"]
        | {names.LABEL_JOB_UID: JOB_UID, names.LABEL_ATTEMPT: "0"},
        "annotations": {
            names.ANNOTATION_CLAIM: proofs.annotation(JOB_UID, attempt, pod_uid, CREATED)
        },
        "ownerReferences": [{"kind": names.KIND, "name": "sales", "uid": JOB_UID}],
    }
    return pod


def pools_with(*pods: Json) -> PoolCache:
    """An operator's knowledge of the pool after these pods."""
    pools = PoolCache(OURS, lambda _: None)
    pools.put_pool(POOL)
    for pod in pods:
        pools.put_pod(pod)
    return pools


def names_of(pools: PoolCache) -> list[str]:
    """The pods that wait in the pool."""
    (pool,) = pools.pools("team-a")
    return [pod.name for pod in pools.pods(pool)]


def no_proof(pod: Json) -> None:
    del pod["metadata"]["annotations"]


def another_name(pod: Json) -> None:
    pod["metadata"]["name"] = names.pool_pod("fast", "ffffffff")


def another_pool(pod: Json) -> None:
    pod["metadata"]["labels"][names.LABEL_POOL] = "slow"


def another_owner(pod: Json) -> None:
    pod["metadata"]["ownerReferences"][0]["uid"] = "uid-of-another-pool"


def no_owner(pod: Json) -> None:
    del pod["metadata"]["ownerReferences"]


def two_owners(pod: Json) -> None:
    pod["metadata"]["ownerReferences"] *= 2


def a_proof_of_no_key(pod: Json) -> None:
    pod["metadata"]["annotations"] = waiting_pod(THEIRS)["metadata"]["annotations"]


def an_odd_proof(pod: Json) -> None:
    pod["metadata"]["annotations"][names.ANNOTATION_POOL_PROOF] = "\ud800é"


FORGED = (
    no_proof, another_name, another_pool, another_owner, no_owner, two_owners,
    a_proof_of_no_key, an_odd_proof,
)  # fmt: skip


@pytest.mark.parametrize("change", FORGED)
def test_a_pod_that_a_user_creates_is_no_pod_of_the_pool(change: Change) -> None:
    forged = waiting_pod()
    change(forged)

    pools = pools_with(forged)

    assert names_of(pools) == []
    assert pools.waiting_pod(POD_UID) is None
    assert names_of(pools_with(waiting_pod())) == [NAME]


@pytest.mark.parametrize(
    "forged",
    [
        claimed(THEIRS),
        claimed(attempt=1),
        claimed(pod_uid="another-pod"),
        waiting_pod() | {"metadata": claimed()["metadata"] | {"annotations": {}}},
    ],
    ids=["another-key", "another-attempt", "another-pod", "no-proof"],
)
def test_labels_of_a_job_on_a_pod_are_no_claim(forged: Json) -> None:
    cache = JobCache(proofs=OURS)
    cache.put_job(a_job_body())

    cache.put_pod(forged)
    pools = pools_with(forged)

    assert cache.pod(JOB_UID, 0) is None
    assert pools.attempt_of(POD_UID) is None
    cache.put_pod(claimed())
    assert cache.pod(JOB_UID, 0) is not None
    assert pools_with(claimed()).attempt_of(POD_UID) == (JOB_UID, 0)


def test_an_event_of_a_user_names_no_pod() -> None:
    def event(value: str, uid: str = POD_UID) -> Json:
        metadata = {"name": "e", "annotations": {names.ANNOTATION_CLAIM: value}}
        return {"metadata": metadata, "related": {"name": NAME, "uid": uid}}

    genuine = OURS.annotation(JOB_UID, 0, POD_UID, CREATED)

    assert claimed_pod(event(genuine), OURS, JOB_UID, 0) == (NAME, POD_UID)
    for forged in (
        event(THEIRS.annotation(JOB_UID, 0, POD_UID, CREATED)),
        event(genuine, "another-pod"),
        event(genuine.replace(":", "1:")),
        event(""),
    ):
        assert claimed_pod(forged, OURS, JOB_UID, 0) is None
    assert claimed_pod(event(genuine), OURS, "another-job", 0) is None
    assert claimed_pod(event(genuine), OURS, JOB_UID, 1) is None


async def answer_to(pod: Json, sender: Sender) -> int | str:
    """What the operator does with an agent that asks for a task: its status, or ``waits``."""

    async def silent(_: str) -> None:
        raise AssertionError("no task was sent")

    waits = asyncio.Event()
    api = TaskApi(
        pools=pools_with(pod),
        agents=WaitingAgents(lambda _: waits.set()),
        queue=WorkQueue(),
        task_of=lambda _: None,
        silent=silent,
    )
    request = make_mocked_request("GET", names.TASK_PATH)
    asking = asyncio.create_task(api.answer(request, sender))
    asking.add_done_callback(lambda _: waits.set())
    await waits.wait()
    if asking.done():
        return asking.result().status
    asking.cancel()
    return "waits"


@pytest.mark.parametrize(
    ("change", "sender", "answer"),
    [
        (lambda _: None, Sender(pod_uid=POD_UID), "waits"),
        (no_proof, Sender(pod_uid=POD_UID), 503),
        (lambda _: None, Sender(pod_uid="another-pod"), 503),
        (lambda _: None, Sender(job_uid=JOB_UID), 403),
    ],
    ids=["own-pod", "forged-pod", "another-pod", "a-job"],
)
async def test_only_a_pod_of_the_pool_waits_for_a_task(
    change: Change, sender: Sender, answer: int | str
) -> None:
    pod = waiting_pod()
    change(pod)

    assert await answer_to(pod, sender) == answer
