"""`helm test`: what it asks for, and what it says about an installation that does not work."""

from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.self_test import (
    SelfTestError,
    SelfTestSettings,
    job_of_test,
    missing_kinds,
    problem_of,
    run,
)
from support.operator_fakes import FakeKube

PATH = "/apis/nanogrid.io/v1alpha1/namespaces/jobs/executionjobs"
PLURALS = ("executionjobs", "executionpools", "functions", "nanogridtenants")
SERVED: Json = {"resources": [{"name": name} for name in (*PLURALS, "executionjobs/status")]}
SUCCESS: Json = {"phase": "Succeeded", "reason": "Completed", "result": {"stdout": "42\n"}}


class Cluster(FakeKube):
    """A cluster whose operator ends the job with this status."""

    def __init__(self, status: Json, served: Json = SERVED) -> None:
        super().__init__()
        self.status = status
        if served:
            self.objects["/apis/nanogrid.io/v1alpha1"] = served

    async def create(self, path: str, body: Json) -> Json:
        created = await super().create(path, body)
        self.objects[f"{path}/{body['metadata']['name']}"]["status"] = self.status
        return created


async def outcome(cluster: Cluster, **changes: Any) -> list[str]:
    said: list[str] = []
    settings = SelfTestSettings(
        **{"namespace": "jobs", "job": "nanogrid-test", "timeout_seconds": 30, **changes}
    )
    await run(cluster, settings, said.append)
    return said


async def test_an_installation_that_works_passes_and_leaves_no_job() -> None:
    cluster = Cluster(SUCCESS)

    said = await outcome(cluster)

    assert said[0] == "the CRDs are installed"
    assert said[-1].startswith("a job succeeded")
    assert f"{PATH}/nanogrid-test" not in cluster.objects


def test_the_job_has_the_class_of_the_installation() -> None:
    for given, expected in (("beta", "beta"), ("", None)):
        settings = SelfTestSettings(controller_class=given)
        assert job_of_test(settings)["spec"].get("controllerClass") == expected


async def test_the_job_of_an_earlier_test_is_replaced() -> None:
    cluster = Cluster(SUCCESS)
    cluster.put(PATH, {"metadata": {"name": "nanogrid-test"}, "status": {"phase": "Failed"}})

    assert (await outcome(cluster))[-1].startswith("a job succeeded")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"phase": "Failed", "reason": "PodRejected", "message": "quota"}, "PodRejected.*quota"),
        ({"phase": "Succeeded", "result": {"stdout": "41\n"}}, "output is '41"),
    ],
)
async def test_a_job_that_fails_is_the_message(status: Json, message: str) -> None:
    cluster = Cluster(status)

    with pytest.raises(SelfTestError, match=f"jobs/nanogrid-test: .*{message}"):
        await outcome(cluster)
    assert f"{PATH}/nanogrid-test" not in cluster.objects


@pytest.mark.parametrize("served", [{}, {"resources": [{"name": "functions"}]}])
async def test_missing_crds_are_named(served: Json) -> None:
    with pytest.raises(SelfTestError, match="missing: executionjobs"):
        await outcome(Cluster(SUCCESS, served))


async def test_a_job_without_an_operator_ends_with_the_timeout() -> None:
    with pytest.raises(SelfTestError, match=r"job nanogrid-test: not ready within 5 s"):
        await outcome(Cluster({}), timeout_seconds=5)


async def test_a_refusal_of_the_api_server_reaches_the_caller() -> None:
    cluster = Cluster(SUCCESS)
    cluster.refuse("POST", 403, "Forbidden")

    with pytest.raises(KubeError, match="403"):
        await outcome(cluster)


def test_pure_parts() -> None:
    assert missing_kinds(SERVED) == []
    assert problem_of({"status": SUCCESS}) == ""
