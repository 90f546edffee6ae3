"""One request of the asynchronous client: credentials, retries, timeouts, errors."""

import asyncio
import contextlib
import os
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientTimeout
from kubernetes.aio import client
from kubernetes.aio.config import kube_config

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError
from nanogrid.kube.transport import Transport
from nanogrid.types import Json
from support.kube_server import BROKEN, CUT, PODS, ApiServer, Observed, serving, status

SHORT_TIMEOUT = pytest.mark.parametrize("kube", [0.5], indirect=True, ids=[""])


def a_kubeconfig(url: str) -> Json:
    return {
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "the-token"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


async def test_outside_a_cluster_address_and_token_come_from_a_kubeconfig(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.answers = [(201, {"metadata": {"uid": "u"}})]
    async with serving(server) as url:
        config = tmp_path / "config"
        config.write_text(yaml.safe_dump(a_kubeconfig(url)))
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
        kube = await KubeApi.connect(timeout_seconds=60, user_agent="nanogrid-test")

        made = await kube.create(PODS, {"metadata": {"name": "판매"}})
        await kube.close()

    (request,) = server.requests
    assert made == {"metadata": {"uid": "u"}}
    assert (request.method, request.path) == ("POST", PODS)
    assert request.body == {"metadata": {"name": "판매"}}
    assert request.headers["Authorization"] == "Bearer the-token"
    assert request.headers["User-Agent"] == "nanogrid-test"


async def _ask(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Json:
    """One request with a kubeconfig for this address."""
    config = folder / "config"
    config.write_text(yaml.safe_dump(a_kubeconfig(url)))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    kube = await KubeApi.connect(timeout_seconds=60, user_agent="nanogrid-test")
    try:
        return await kube.get(PODS, "p")
    finally:
        await kube.close()


async def test_a_configured_proxy_is_used(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(server) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        await _ask("http://api.invalid", tmp_path, monkeypatch)

    (request,) = server.requests
    assert request.headers["Host"] == "api.invalid"
    assert request.headers["Authorization"] == "Bearer the-token"


async def test_without_a_proxy_no_request_looks_for_one_or_for_other_credentials(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login nobody password none")
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(server) as url:
        await _ask(url, tmp_path, monkeypatch)

    assert server.requests[0].headers["Authorization"] == "Bearer the-token"


@pytest.mark.parametrize(("code", "seen"), [(200, 1), (404, 0)], ids=["success", "error"])
async def test_the_date_of_each_success_is_handed_to_the_observer(
    kube: KubeApi, server: ApiServer, observed: Observed, code: int, seen: int
) -> None:
    date = formatdate(time.time() + 600, usegmt=True)
    server.answers = [(code, {})]
    server.headers = {"Date": date}
    before, clock = time.time(), time.monotonic()

    with contextlib.suppress(KubeError):
        await kube.get(PODS, "p")

    assert [found for found, *_ in observed.dates] == [date] * seen
    for _, sent, received, at in observed.dates:
        assert before <= sent <= received <= time.time()
        assert clock <= at <= time.monotonic()


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 500])
async def test_a_refusal_is_an_error_with_the_servers_message_and_is_not_repeated(
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


@pytest.mark.parametrize("code", [429, 503])
async def test_no_retry_comes_before_retry_after(
    kube: KubeApi, server: ApiServer, observed: Observed, code: int
) -> None:
    server.answers, server.headers = [(code, {}), (200, {})], {"Retry-After": "4"}

    await kube.get(PODS, "a")

    assert len(observed.pauses) == 1
    assert 4.0 <= observed.pauses[0] <= 4.0 * 1.4


async def test_a_long_retry_after_goes_to_the_caller(
    kube: KubeApi, server: ApiServer, observed: Observed
) -> None:
    server.answers, server.headers = [(429, {})], {"Retry-After": "20"}

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "a")

    assert (error.value.code, error.value.retry_after, observed.pauses) == (429, 20.0, [])


async def test_a_server_that_stays_busy_is_an_error(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [status(503, "Busy", "later")]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert error.value.code == 503
    assert len(server.requests) == 3


async def test_an_error_that_is_not_json_is_quoted(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(502, "<html>Bad Gateway</html>")]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, error.value.message) == (502, "<html>Bad Gateway</html>")


@pytest.mark.parametrize("text", ['"busy"', "null", "[]"])
async def test_an_error_whose_json_is_not_an_object_is_quoted(
    kube: KubeApi, server: ApiServer, text: str
) -> None:
    server.answers = [(502, text)]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, error.value.message) == (502, text)


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_the_library_adds_no_retries_of_its_own(
    kube: KubeApi, server: ApiServer, code: int
) -> None:
    server.answers = [status(code, "Failure", "")]

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "p")

    assert error.value.code == code
    assert len(server.requests) <= 3


async def test_a_success_that_is_not_json_is_an_error(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, "<html>a proxy</html>")]

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "p")

    assert (error.value.code, error.value.reason) == (0, "NotJson")


@SHORT_TIMEOUT
async def test_a_server_that_does_not_answer_in_time_is_code_0(
    kube: KubeApi, server: ApiServer
) -> None:
    server.answers = [(200, 0.8)]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, "Timeout" in error.value.reason) == (0, True)


async def test_a_server_that_is_not_there_is_code_0() -> None:
    nowhere = client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))
    kube = KubeApi(Transport(api=nowhere, timeout_seconds=60, user_agent="nanogrid-test"))

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})
    await kube.close()

    assert (error.value.code, "Connect" in error.value.reason) == (0, True)


@pytest.mark.parametrize("broken", [BROKEN, CUT])
async def test_a_read_whose_connection_breaks_is_repeated_once(
    kube: KubeApi, server: ApiServer, observed: Observed, broken: str
) -> None:
    server.answers = [(200, broken), (200, {"metadata": {"name": "p"}})]

    assert await kube.get(PODS, "p") == {"metadata": {"name": "p"}}
    assert (len(server.requests), observed.pauses) == (2, [])


@pytest.mark.parametrize("broken", [BROKEN, CUT])
async def test_a_read_is_not_repeated_twice(kube: KubeApi, server: ApiServer, broken: str) -> None:
    server.answers = [(200, broken)]

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "p")

    assert (error.value.code, len(server.requests)) == (0, 2)


@SHORT_TIMEOUT
async def test_a_read_that_timed_out_is_not_repeated(kube: KubeApi, server: ApiServer) -> None:
    server.answers = [(200, 0.8)]

    with pytest.raises(KubeError) as error:
        await kube.get(PODS, "p")

    assert (error.value.code, len(server.requests)) == (0, 1)


@pytest.mark.parametrize("broken", [BROKEN, CUT])
async def test_a_write_whose_connection_breaks_is_not_repeated(
    kube: KubeApi, server: ApiServer, broken: str
) -> None:
    server.answers = [(200, broken), (201, {})]

    with pytest.raises(KubeError) as error:
        await kube.create(PODS, {})

    assert (error.value.code, len(server.requests)) == (0, 1)


async def test_each_try_is_reported_with_its_code(server: ApiServer) -> None:
    answered: list[tuple[str, int]] = []
    server.answers = [(503, {}), (200, {}), (404, {}), (200, {})]
    async with serving(server) as url:
        transport = Transport(
            api=client.ApiClient(client.Configuration(host=url)),
            timeout_seconds=60,
            user_agent="nanogrid-test",
            answered=lambda verb, code, _: answered.append((verb, code)),
            sleep=lambda _: asyncio.sleep(0),
        )
        await transport.call("GET", PODS)
        with pytest.raises(KubeError):
            await transport.call("PATCH", PODS, {})
        async with transport.stream(PODS, ClientTimeout(total=60)):
            pass
    with pytest.raises(KubeError):  # the server is gone
        await transport.call("POST", PODS, {})
    await transport.close()

    assert answered == [
        ("GET", 503),
        ("GET", 200),
        ("PATCH", 404),
        ("STREAM", 200),
        ("POST", 0),
    ]
