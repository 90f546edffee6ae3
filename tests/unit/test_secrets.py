"""The S3 keys reach a job's namespace when asked for, once, and overwrite nothing foreign."""

from collections.abc import Callable

import pytest

from nanogrid_operator.kube import KubeError
from nanogrid_operator.secrets import FRESH_SECONDS, S3SecretReplica
from unit.builders import Json, some_settings
from unit.fakes import FakeKube

PATH = "/api/v1/namespaces/team-a/secrets"
OURS = {"app.kubernetes.io/managed-by": "nanogrid-operator"}
DATA = {"AWS_ACCESS_KEY_ID": "a2V5", "AWS_SECRET_ACCESS_KEY": "aHVzaA=="}


def a_replica(
    kube: FakeKube, clock: Callable[[], float] = lambda: 0.0, **changes: object
) -> S3SecretReplica:
    given = {"s3_secret_replicate": True, "s3_access_key": "key", "s3_secret_key": "hush"}
    return S3SecretReplica(kube, some_settings(**{**given, **changes}), clock)


def a_secret(labels: Json | None, data: Json) -> Json:
    return {"metadata": {"name": "nanogrid-s3", "labels": labels}, "data": data}


def stored(kube: FakeKube) -> Json:
    found: Json = kube.objects[f"{PATH}/nanogrid-s3"]
    return found


async def test_the_keys_are_copied_once_per_namespace() -> None:
    kube = FakeKube()
    replica = a_replica(kube)

    for _ in range(3):
        await replica.ensure("team-a")

    assert kube.writes == [f"POST {PATH}"]
    assert stored(kube)["data"] == DATA
    assert stored(kube)["metadata"]["labels"] == OURS


async def test_each_namespace_has_its_own() -> None:
    kube = FakeKube()
    replica = a_replica(kube)

    await replica.ensure("team-a")
    await replica.ensure("team-b")

    assert kube.writes == [f"POST {PATH}", "POST /api/v1/namespaces/team-b/secrets"]


@pytest.mark.parametrize("changes", [{"s3_secret_replicate": False}, {"s3_secret": ""}])
async def test_nothing_is_copied_unless_asked_for(changes: Json) -> None:
    kube = FakeKube()

    await a_replica(kube, **changes).ensure("team-a")

    assert kube.writes == []


async def test_our_own_copy_is_brought_up_to_date() -> None:
    kube = FakeKube()
    kube.put(PATH, a_secret(OURS, {"AWS_ACCESS_KEY_ID": "b2xk"}))

    await a_replica(kube).ensure("team-a")

    assert stored(kube)["data"] == DATA


async def test_our_own_copy_that_is_up_to_date_costs_no_write() -> None:
    kube = FakeKube()
    kube.put(PATH, a_secret(OURS, DATA))

    await a_replica(kube).ensure("team-a")

    assert kube.writes == [f"POST {PATH}"]


@pytest.mark.parametrize("labels", [None, {}, {"app.kubernetes.io/managed-by": "Helm"}])
async def test_a_secret_that_is_not_ours_is_left_alone(labels: Json | None) -> None:
    kube = FakeKube()
    theirs = a_secret(labels, {"AWS_ACCESS_KEY_ID": "dGhlaXJz"})
    kube.put(PATH, theirs)

    await a_replica(kube).ensure("team-a")

    assert stored(kube) == theirs


async def test_a_refusal_is_the_callers_and_tried_again() -> None:
    kube = FakeKube()
    replica = a_replica(kube)
    kube.refuse("POST", 403, "Forbidden")

    with pytest.raises(KubeError):
        await replica.ensure("team-a")
    await replica.ensure("team-a")

    assert stored(kube)["data"] == DATA


async def test_a_namespace_that_was_made_anew_gets_its_copy_again() -> None:
    kube, now = FakeKube(), 0.0
    replica = a_replica(kube, clock=lambda: now)
    await replica.ensure("team-a")
    kube.objects.clear()

    now = FRESH_SECONDS
    await replica.ensure("team-a")

    assert f"{PATH}/nanogrid-s3" in kube.objects


async def test_it_gets_it_at_once_when_a_pod_misses_it() -> None:
    kube = FakeKube()
    replica = a_replica(kube)
    await replica.ensure("team-a")
    kube.objects.clear()

    replica.forget("team-a")
    await replica.ensure("team-a")

    assert f"{PATH}/nanogrid-s3" in kube.objects
