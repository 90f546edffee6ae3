"""The S3 keys are copied once into a job's namespace, and overwrite no foreign Secret."""

from collections.abc import Callable

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.kube.ensured import FRESH_SECONDS
from nanogrid_operator.kube.secrets import S3SecretReplica
from support.builders import some_settings
from support.operator_fakes import FakeKube

pytestmark = pytest.mark.security

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


async def test_each_namespace_has_its_own_secret() -> None:
    kube = FakeKube()
    replica = a_replica(kube)

    await replica.ensure("team-a")
    await replica.ensure("team-b")

    assert kube.writes == [f"POST {PATH}", "POST /api/v1/namespaces/team-b/secrets"]


@pytest.mark.parametrize("changes", [{"s3_secret_replicate": False}, {"s3_secret": ""}])
async def test_keys_are_copied_only_if_configured(changes: Json) -> None:
    kube = FakeKube()

    await a_replica(kube, **changes).ensure("team-a")

    assert kube.writes == []


async def test_an_outdated_copy_is_updated() -> None:
    kube = FakeKube()
    kube.put(PATH, a_secret(OURS, {"AWS_ACCESS_KEY_ID": "b2xk"}))

    await a_replica(kube).ensure("team-a")

    assert stored(kube)["data"] == DATA


async def test_a_current_copy_costs_no_write() -> None:
    kube = FakeKube()
    kube.put(PATH, a_secret(OURS, DATA))

    await a_replica(kube).ensure("team-a")

    assert kube.writes == [f"POST {PATH}"]


@pytest.mark.parametrize("labels", [None, {}, {"app.kubernetes.io/managed-by": "Helm"}])
async def test_a_foreign_secret_is_not_changed(labels: Json | None) -> None:
    kube = FakeKube()
    theirs = a_secret(labels, {"AWS_ACCESS_KEY_ID": "dGhlaXJz"})
    kube.put(PATH, theirs)

    await a_replica(kube).ensure("team-a")

    assert stored(kube) == theirs


async def test_an_error_is_raised_and_the_next_call_tries_again() -> None:
    kube = FakeKube()
    replica = a_replica(kube)
    kube.refuse("POST", 403, "Forbidden")

    with pytest.raises(KubeError):
        await replica.ensure("team-a")
    await replica.ensure("team-a")

    assert stored(kube)["data"] == DATA


async def test_a_recreated_namespace_gets_the_copy_again() -> None:
    kube, now = FakeKube(), 0.0
    replica = a_replica(kube, clock=lambda: now)
    await replica.ensure("team-a")
    kube.objects.clear()

    now = FRESH_SECONDS
    await replica.ensure("team-a")

    assert f"{PATH}/nanogrid-s3" in kube.objects


async def test_a_recreated_namespace_gets_the_copy_at_once_if_a_pod_lacks_it() -> None:
    kube = FakeKube()
    replica = a_replica(kube)
    await replica.ensure("team-a")
    kube.objects.clear()

    replica.forget("team-a")
    await replica.ensure("team-a")

    assert f"{PATH}/nanogrid-s3" in kube.objects
