"""The verbs of the asynchronous client: paths, bodies, pages, watches, logs."""

import json
from typing import Any

import pytest

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from support.kube_server import CUT, PODS, ApiServer, status


def a_page(*names: str, more: str = "", version: str = "7") -> tuple[int, Json]:
    items = [{"metadata": {"name": name}} for name in names]
    return 200, {"metadata": {"resourceVersion": version, "continue": more}, "items": items}


async def test_a_status_is_a_merge_patch_of_its_subresource(
    kube: KubeApi, server: ApiServer
) -> None:
    await kube.patch_status("/jobs", "sales", {"status": {"phase": "Running"}})

    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/jobs/sales/status")
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.body == {"status": {"phase": "Running"}}


async def test_an_object_is_patched_as_a_whole(kube: KubeApi, server: ApiServer) -> None:
    await kube.patch("/secrets", "s", {"data": {}})

    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/secrets/s")


async def test_get_reads_one_object(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, {"metadata": {"name": "p"}})]

    assert await kube.get(PODS, "p") == {"metadata": {"name": "p"}}
    assert (server.requests[0].method, server.requests[0].path) == ("GET", f"{PODS}/p")


async def test_a_name_cannot_leave_its_collection(kube: KubeApi, server: ApiServer) -> None:
    await kube.get(PODS, "../secrets")

    assert server.requests[0].path == f"{PODS}/../secrets"  # decoded: one segment was sent


async def test_a_probe_reads_one_object_at_most(kube: KubeApi, server: ApiServer) -> None:
    await kube.probe(PODS)

    assert server.requests[0].query == {"limit": "1"}


async def test_a_list_reads_all_pages(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [a_page("a", "b", more="token=="), a_page("c", version="9")]

    items, version = await kube.list(PODS, labels="nanogrid.io/job-uid")

    assert [i["metadata"]["name"] for i in items] == ["a", "b", "c"]
    assert version == "9"
    assert [r.query for r in server.requests] == [
        {"limit": "500", "labelSelector": "nanogrid.io/job-uid"},
        {"limit": "500", "labelSelector": "nanogrid.io/job-uid", "continue": "token=="},
    ]


async def test_a_delete_is_meant_for_one_uid(kube: KubeApi, server: ApiServer) -> None:
    await kube.delete(PODS, "p", "u-1")

    (request,) = server.requests
    assert (request.method, request.body) == ("DELETE", {"preconditions": {"uid": "u-1"}})


@pytest.mark.parametrize("code", [404, 409])
async def test_an_object_that_is_gone_or_another_need_not_be_deleted(
    kube: KubeApi, server: ApiServer, code: int
) -> None:
    server.answers = [status(code, "Gone", "")]

    await kube.delete(PODS, "p", "u-1")

    assert len(server.requests) == 1


async def test_a_list_whose_pages_expire_starts_again(kube: KubeApi, server: ApiServer) -> None:
    page: Json = {"items": [{"n": 1}], "metadata": {"resourceVersion": "7", "continue": "c"}}
    whole: Json = {"items": [{"n": 1}, {"n": 2}], "metadata": {"resourceVersion": "9"}}
    server.answers = [(200, page), (410, {"reason": "Expired"}), (200, whole)]

    items, version = await kube.list(PODS)

    assert (items, version) == ([{"n": 1}, {"n": 2}], "9")
    assert [r.query.get("continue") for r in server.requests] == [None, "c", None]
    assert {r.query["limit"] for r in server.requests} == {"500"}


async def test_a_list_whose_pages_always_expire_is_an_error(
    kube: KubeApi, server: ApiServer
) -> None:
    server.answers = [(410, {"reason": "Expired"})]

    with pytest.raises(KubeError) as error:
        await kube.list(PODS)

    assert error.value.code == 410
    assert len(server.requests) == 3


async def test_what_is_listed_is_trimmed_page_by_page(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, {"items": [{"n": 1}], "metadata": {"resourceVersion": "7"}})]

    items, _ = await kube.list(PODS, trim=lambda item: {"trimmed": item["n"]})

    assert items == [{"trimmed": 1}]


async def test_a_delete_may_have_its_own_codes_for_gone(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [status(409, "Conflict", "another uid")]

    with pytest.raises(KubeError) as error:
        await kube.delete(PODS, "p", "u-1", gone=frozenset({404}))

    assert error.value.code == 409


async def test_a_page_is_read_as_the_query_says(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [a_page("a", more="token")]

    page = await kube.page(PODS, {"limit": "1", "continue": "before"})

    assert page["metadata"]["continue"] == "token"
    assert server.requests[0].query == {"limit": "1", "continue": "before"}


def an_event(kind: str, version: int, **body: Any) -> str:
    metadata = {"name": "p", "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": {"metadata": metadata} | body})


async def events(kube: KubeApi, **options: Any) -> list[Json]:
    return [event async for event in kube.watch(PODS, "7", 30.0, **options)]


async def test_a_watch_gives_the_events_after_a_version(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, f"{an_event('ADDED', 8)}\n\n{an_event('DELETED', 9)}\n")]

    found = await events(kube, labels="a=b", fields="spec.mode=Session")

    assert [event["type"] for event in found] == ["ADDED", "DELETED"]
    assert server.requests[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "30",
        "labelSelector": "a=b",
        "fieldSelector": "spec.mode=Session",
    }


async def test_a_line_of_a_watch_may_be_longer_than_the_readers_buffer(
    kube: KubeApi, server: ApiServer
) -> None:
    text = "x" * (3 << 20)
    server.answers = [(200, an_event("ADDED", 8, data=text) + "\n")]

    (event,) = await events(kube)

    assert event["object"]["data"] == text


async def test_the_object_of_an_event_is_trimmed_but_not_a_bookmarks(
    kube: KubeApi, server: ApiServer
) -> None:
    lines = [an_event("ADDED", 8), an_event("BOOKMARK", 9)]
    server.answers = [(200, "\n".join(lines) + "\n")]

    found = await events(kube, trim=lambda body: {"trimmed": body["metadata"]["name"]})

    assert found[0]["object"] == {"trimmed": "p"}
    assert found[1]["object"]["metadata"]["resourceVersion"] == "9"


async def test_an_error_event_is_an_error_with_its_code(kube: KubeApi, server: ApiServer) -> None:
    gone = {"type": "ERROR", "object": status(410, "Expired", "too old")[1]}
    server.answers = [(200, json.dumps(gone) + "\n")]
    opened: list[bool] = []

    with pytest.raises(KubeError) as error:
        await events(kube, opened=lambda: opened.append(True))

    assert (error.value.code, error.value.reason, error.value.message) == (
        410,
        "Expired",
        "too old",
    )
    assert opened == [True]


@pytest.mark.parametrize(
    ("answer", "accepted"), [(status(503, "Busy", "later"), []), ((200, CUT), [True])]
)
async def test_a_watch_is_not_repeated(
    kube: KubeApi, server: ApiServer, answer: tuple[int, Any], accepted: list[bool]
) -> None:
    server.answers = [answer, (200, "")]
    opened: list[bool] = []

    with pytest.raises(KubeError) as error:
        await events(kube, opened=lambda: opened.append(True))

    assert error.value.code in (503, 0)
    assert (len(server.requests), opened) == (1, accepted)


async def test_a_watch_event_that_is_not_json_is_an_error(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, '{"type": "ADD\n')]

    with pytest.raises(KubeError) as error:
        await events(kube)

    assert error.value.reason == "NotJson"


async def test_a_log_is_followed_to_its_end(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, "one\ntwo\nno end")]

    found = b"".join([chunk async for chunk in kube.pod_log("team-a", "p", "sandbox")])

    assert found == b"one\ntwo\nno end"
    assert server.requests[0].path == f"{PODS}/p/log"
    assert server.requests[0].query == {"container": "sandbox", "follow": "true"}


async def test_a_log_that_does_not_exist_is_an_error(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [status(400, "BadRequest", "container is waiting to start")]

    with pytest.raises(KubeError) as error:
        [chunk async for chunk in kube.pod_log("team-a", "p", "sandbox")]

    assert (error.value.code, error.value.message) == (400, "container is waiting to start")
