"""The thin client against an HTTP server: paths, bodies, paging, retries and errors."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client
from kubernetes.aio.config import kube_config

from nanogrid_operator import kube as kube_module
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from unit.builders import Json

PODS = "/api/v1/namespaces/team-a/pods"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ApiServer:
    """Gives its answers one after another, the last one again and again; notes the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.headers: dict[str, str] = {}

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, float):
            await asyncio.sleep(body)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=self.headers)


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def kube(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[KubeApi]:
    """Our client as it connects outside a cluster; its own retries come at once."""
    monkeypatch.setattr(kube_module, "TRIES", 3)
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as http:
        config = tmp_path / "config"
        config.write_text(yaml.safe_dump(_kubeconfig(str(http.make_url("")))))
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
        kube = await KubeApi.connect(timeout_seconds=0.5)
        yield kube
        await kube.close()


def _kubeconfig(url: str) -> Json:
    return {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url.rstrip("/")}}],
        "users": [{"name": "test", "user": {"token": "the-token"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


def status(code: int, reason: str, message: str) -> tuple[int, Json]:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


def a_page(*names: str, more: str = "", version: str = "7") -> tuple[int, Json]:
    items = [{"metadata": {"name": name}} for name in names]
    return 200, {"metadata": {"resourceVersion": version, "continue": more}, "items": items}


@pytest.mark.parametrize(
    ("path", "want"),
    [
        (collection(CORE, "pods", "team-a"), PODS),
        (collection(CORE, "pods"), "/api/v1/pods"),
        (
            collection(JOBS, "executionjobs", "team-a"),
            "/apis/nanogrid.io/v1alpha1/namespaces/team-a/executionjobs",
        ),
    ],
)
def test_collections_have_the_paths_of_kubernetes(path: str, want: str) -> None:
    assert path == want


async def test_create_posts_the_body_with_the_token(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(201, {"metadata": {"uid": "u"}})]

    made = await kube.create(PODS, {"metadata": {"name": "판매"}})

    (request,) = server.requests
    assert made == {"metadata": {"uid": "u"}}
    assert (request.method, request.path) == ("POST", PODS)
    assert request.body == {"metadata": {"name": "판매"}}
    assert request.headers["Authorization"] == "Bearer the-token"
    assert request.headers["User-Agent"] == "nanogrid-operator"


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


@pytest.mark.parametrize(("status", "ahead"), [(200, 600.0), (404, 0.0)], ids=["success", "error"])
async def test_the_clock_is_the_servers_by_its_successful_answers(
    kube: KubeApi, server: ApiServer, status: int, ahead: float
) -> None:
    server.answers = [(status, {})]
    server.headers = {"Date": formatdate(time.time() + 600, usegmt=True)}

    with contextlib.suppress(KubeError):
        await kube.get(PODS, "p")

    assert kube.now() - time.time() == pytest.approx(ahead, abs=2)


async def test_a_probe_reads_one_object_at_most(kube: KubeApi, server: ApiServer) -> None:
    await kube.probe(PODS)

    assert server.requests[0].query == {"limit": "1"}


async def test_a_list_reads_all_pages(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [a_page("a", "b", more="token=="), a_page("c", version="9")]

    items, version = await kube.list(PODS, labels="nanogrid.io/job-uid")

    assert [i["metadata"]["name"] for i in items] == ["a", "b", "c"]
    assert version == 9
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


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 500])
async def test_a_refusal_is_an_error_with_the_servers_words_and_not_repeated(
    kube: KubeApi, server: ApiServer, code: int
) -> None:
    server.answers = [status(code, "Forbidden", "exceeded quota")]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, error.value.reason) == (code, "Forbidden")
    assert error.value.message == "exceeded quota"
    assert str(error.value) == f"{code} Forbidden: exceeded quota"
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 503])
async def test_a_busy_server_is_asked_again(kube: KubeApi, server: ApiServer, code: int) -> None:
    server.answers = [status(code, "Busy", ""), status(code, "Busy", ""), (200, {"ok": 1})]

    assert await kube.create(PODS, {}) == {"ok": 1}
    assert len(server.requests) == 3


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(kube_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    return found


@pytest.mark.parametrize("code", [429, 503])
async def test_a_server_that_names_its_time_is_not_asked_before(
    kube: KubeApi, server: ApiServer, pauses: list[float], code: int
) -> None:
    server.answers, server.headers = [(code, {}), (200, {})], {"Retry-After": "4"}

    await kube.get(PODS, "a")

    assert len(pauses) == 1
    assert 4.0 <= pauses[0] <= 4.0 * 1.4


async def test_a_long_wait_is_the_queues_and_holds_no_worker(
    kube: KubeApi, server: ApiServer, pauses: list[float]
) -> None:
    server.answers, server.headers = [(429, {})], {"Retry-After": "20"}

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "a")

    assert (error.value.code, error.value.retry_after, pauses) == (429, 20.0, [])


async def test_a_list_whose_pages_expire_starts_afresh(kube: KubeApi, server: ApiServer) -> None:
    page: Json = {"items": [{"n": 1}], "metadata": {"resourceVersion": "7", "continue": "c"}}
    whole: Json = {"items": [{"n": 1}, {"n": 2}], "metadata": {"resourceVersion": "9"}}
    server.answers = [(200, page), (410, {"reason": "Expired"}), (200, whole)]

    items, version = await kube.list(PODS)

    assert (items, version) == ([{"n": 1}, {"n": 2}], 9)
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


async def test_a_server_that_stays_busy_is_an_error(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [status(503, "Busy", "later")]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert error.value.code == 503
    assert len(server.requests) == 3


async def test_an_answer_that_is_no_json_is_quoted(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(502, "<html>Bad Gateway</html>")]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, error.value.message) == (502, "<html>Bad Gateway</html>")


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_no_read_is_repeated_behind_our_back(
    kube: KubeApi, server: ApiServer, code: int
) -> None:
    server.answers = [status(code, "Trouble", "")]

    with pytest.raises(KubeError) as error:
        async with asyncio.timeout(0.4):
            await kube.get(PODS, "p")

    assert error.value.code == code
    assert len(server.requests) <= 3


@pytest.mark.parametrize("text", ['"busy"', "null", "[]"])
async def test_so_is_one_that_is_json_and_no_object(
    kube: KubeApi, server: ApiServer, text: str
) -> None:
    server.answers = [(502, text)]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert error.value.code == 502


async def test_a_server_that_does_not_answer_in_time_is_code_0(
    kube: KubeApi, server: ApiServer
) -> None:
    server.answers = [(200, 0.8)]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, "Timeout" in error.value.reason) == (0, True)


async def test_a_server_that_is_not_there_is_code_0() -> None:
    kube = KubeApi(client.ApiClient(client.Configuration(host="http://127.0.0.1:1")), 1.0)

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})
    await kube.close()

    assert (error.value.code, "Connect" in error.value.reason) == (0, True)
