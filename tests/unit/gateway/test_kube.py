"""What the gateway adds to the asynchronous client of the SDK."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_gateway.kube.client import MESSAGE_CHARS, Kube
from support.kube_server import ApiServer, Observed, connected, status

READ: Json = {"metadata": {"name": "a", "uid": "u-1", "resourceVersion": "7"}}


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[Kube]:
    async with connected(server, Observed()) as cluster:
        kube = Kube(cluster, "team-a", 60.0)
        kube.jobs, kube.functions = "/jobs", "/functions"
        yield kube


async def test_an_object_that_does_not_exist_is_none(kube: Kube, server: ApiServer) -> None:
    server.answers = [status(404, "NotFound", "no job")]

    assert await kube.get(kube.jobs, "a") is None


async def test_a_delete_is_of_the_object_as_it_was_read(kube: Kube, server: ApiServer) -> None:
    await kube.delete(kube.functions, READ)

    (request,) = server.requests
    assert request.path == "/functions/a"
    assert request.body == {"preconditions": {"uid": "u-1", "resourceVersion": "7"}}


async def test_a_delete_tells_who_was_second(kube: Kube, server: ApiServer) -> None:
    """Only the first one may delete its files in S3."""
    server.answers = [status(404, "NotFound", "no function")]

    with pytest.raises(KubeError) as error:
        await kube.delete(kube.functions, READ)

    assert error.value.code == 404


@pytest.mark.parametrize(
    "use",
    [
        lambda kube: kube.delete(kube.jobs, READ),
        lambda kube: kube.patch(kube.jobs, "a", {}),
        lambda kube: kube.create(kube.jobs, {}),
        lambda kube: kube.get(kube.jobs, "a"),
    ],
    ids=["delete", "patch", "create", "get"],
)
async def test_a_conflict_is_an_error_also_of_a_delete(
    kube: Kube, server: ApiServer, use: Callable[[Kube], Any]
) -> None:
    """Another object of that name may be there, and its files in S3 must stay."""
    server.answers = [status(409, "Conflict", "another uid")]

    with pytest.raises(KubeError) as error:
        await use(kube)

    assert error.value.code == 409


async def test_readiness_reads_one_object_of_each_kind(kube: Kube, server: ApiServer) -> None:
    await kube.check()

    assert [one.path for one in server.requests] == ["/jobs", "/functions"]
    assert [one.query for one in server.requests] == [{"limit": "1"}] * 2


async def test_a_long_message_is_cut(kube: Kube, server: ApiServer) -> None:
    server.answers = [status(422, "Invalid", "x" * 5000)]

    with pytest.raises(KubeError) as error:
        await kube.create(kube.jobs, {})

    assert (error.value.code, error.value.reason) == (422, "Invalid")
    assert error.value.message == "x" * MESSAGE_CHARS


async def test_a_log_comes_in_pieces(kube: Kube, server: ApiServer) -> None:
    server.answers = [(200, "one\ntwo\n")]

    assert b"".join([chunk or b"" async for chunk in kube.log("p", "sandbox")]) == b"one\ntwo\n"
