"""Two replicas of the gateway: a caller may reach either one, and one may be killed."""

import http.client
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from examples.gateway_client import Gateway
from scripts.devaccess import RELEASE
from support.gateways import DEPLOYMENT, GatewayAnswer, an_echo, forwarded, jobs_of, send
from support.kubectl import eventually, kubectl, kubectl_json
from support.nodes import Node, container_id
from support.release import IN_RELEASE

pytestmark = pytest.mark.alone

REPLICAS = 2
LABELS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=gateway"


@pytest.fixture(scope="module")
def replicas(cluster: None) -> Iterator[None]:
    before = kubectl_json(*IN_RELEASE, "get", DEPLOYMENT)["spec"]["replicas"]
    kubectl(*IN_RELEASE, "scale", DEPLOYMENT, f"--replicas={REPLICAS}")
    yield
    kubectl(*IN_RELEASE, "scale", DEPLOYMENT, f"--replicas={before}")
    kubectl(*IN_RELEASE, "rollout", "status", DEPLOYMENT, "--timeout=120s")


@pytest.fixture
def pods(replicas: None) -> list[str]:
    """The names of all replicas, ready."""
    found: list[str] = eventually("all replicas", _ready, 120)
    return found


def _ready() -> list[str] | None:
    pods = kubectl_json(*IN_RELEASE, "get", "pods", "-l", LABELS)["items"]
    ready = [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
    ]
    return ready if len(ready) == len(pods) == REPLICAS else None


@pytest.fixture
def urls(pods: list[str]) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(forwarded(f"pod/{pod}")) for pod in pods]


@pytest.fixture
def function(urls: list[str], gateway_token: str) -> Iterator[str]:
    with an_echo(Gateway(urls[-1], gateway_token)) as function_id:
        yield function_id


def killer(name: str) -> Callable[[], object]:
    """Kills a replica's process from its node: the kernel protects PID 1 inside the pod."""
    pod = kubectl_json(*IN_RELEASE, "get", "pod", name)
    node = Node(pod["spec"]["nodeName"])
    if not node.exists():
        pytest.skip("needs the nodes of a kind cluster")
    pid = node.pid(container_id(pod, "gateway"))
    return lambda: node.run("kill", "-KILL", str(pid))


def test_after_a_killed_replica_the_caller_only_repeats_its_request(
    pods: list[str], urls: list[str], gateway_token: str, function: str, request_id: str
) -> None:
    body = {"functionId": function, "requestId": request_id, "inputData": {"sleep": 8}}

    def call(url: str) -> GatewayAnswer:
        return send(url, gateway_token, "POST", "/run", body)

    kill = killer(pods[0])  # what takes time comes before the request
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, urls[0])
        eventually("the job", lambda: jobs_of(function, request_id))
        kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            first.result(120)

    second = call(urls[1])
    third = call(urls[1])

    assert (second.status, second.body["status"]) == (200, "SUCCESS")
    assert second.body == third.body  # the code prints a UUID, so a second run would differ
    assert second.body == send(urls[1], gateway_token, "GET", f"/runs/{request_id}").body
    (job,) = jobs_of(function, request_id)
    assert job["metadata"]["uid"] == second.body["job"]["uid"]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(20, id="20"),
        pytest.param(200, id="200", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_parallel_callers_get_their_own_results(
    urls: list[str], gateway_token: str, function: str, count: int
) -> None:
    # Pods that exceed the nodes' capacity wait.
    patch = '{"spec":{"timeouts":{"startupSeconds":900}}}'
    kubectl(*IN_RELEASE, "patch", "fn", function, "--type=merge", "-p", patch)
    gateways = [Gateway(url, gateway_token) for url in urls]
    started = time.monotonic()

    def call(number: int) -> tuple[str, Any, float]:
        name = f"caller-{number}-{uuid.uuid4().hex[:8]}"
        result = gateways[number % REPLICAS].run(function, {"name": name}, name, wait=60)
        return name, result, time.monotonic() - started

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(call, range(count)))
    seconds = [s for _, _, s in answers]
    print(
        f"\n{count} callers: median {statistics.median(seconds):.1f} s, last {max(seconds):.1f} s"
    )

    for name, result, _ in answers:
        assert (result["requestId"], result["status"]) == (name, "SUCCESS"), result
        assert result["stdout"].endswith(f" {name}\n")
