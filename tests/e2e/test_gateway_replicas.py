"""Two replicas of the gateway: whichever a caller reaches, and whether or not it lives on."""

import http.client
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from e2e.gateways import (
    DEPLOYMENT,
    IN_RELEASE,
    Told,
    a_token,
    an_echo,
    ask,
    forwarded,
    jobs_of,
)
from e2e.support import eventually, kubectl, kubectl_json
from examples.gateway_client import Gateway
from scripts.devaccess import RELEASE

REPLICAS = 2
LABELS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=gateway"
# The serving processes, but not PID 1: that one the kernel keeps from what is in its namespace.
KILL = """
import os
for pid in filter(str.isdecimal, os.listdir("/proc")):
    if int(pid) not in (1, os.getpid()):
        os.kill(int(pid), 9)
"""


@pytest.fixture(scope="module")
def replicas(cluster: None) -> Iterator[None]:
    before = kubectl_json(*IN_RELEASE, "get", DEPLOYMENT)["spec"]["replicas"]
    kubectl(*IN_RELEASE, "scale", DEPLOYMENT, f"--replicas={REPLICAS}")
    yield
    kubectl(*IN_RELEASE, "scale", DEPLOYMENT, f"--replicas={before}")
    kubectl(*IN_RELEASE, "rollout", "status", DEPLOYMENT, "--timeout=120s")


@pytest.fixture(scope="module")
def token(cluster: None) -> Iterator[str]:
    with a_token() as token:
        yield token


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
def function(urls: list[str], token: str) -> Iterator[str]:
    with an_echo(Gateway(urls[-1], token)) as function_id:
        yield function_id


def test_a_killed_replica_costs_its_caller_a_repetition_and_nothing_else(
    pods: list[str], urls: list[str], token: str, function: str, request_id: str
) -> None:
    body = {"functionId": function, "requestId": request_id, "inputData": {"sleep": 8}}

    def call(url: str) -> Told:
        return ask(url, token, "POST", "/run", body)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, urls[0])
        eventually("the job", lambda: jobs_of(function, request_id), 30)
        kubectl(*IN_RELEASE, "exec", pods[0], "--", "python3", "-c", KILL)
        kubectl(*IN_RELEASE, "delete", "pod", pods[0], "--force", "--grace-period=0")
        with pytest.raises((OSError, http.client.HTTPException)):
            first.result(60)

    second = call(urls[1])
    third = call(urls[1])

    assert (second.status, second.body["status"]) == (200, "SUCCESS")
    assert second.body == third.body  # the code prints an UUID: another run would show
    assert second.body == ask(urls[1], token, "GET", f"/runs/{request_id}").body
    (job,) = jobs_of(function, request_id)
    assert job["metadata"]["uid"] == second.body["job"]["uid"]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(20, id="20"),
        pytest.param(200, id="200", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_callers_at_once_each_get_their_own_result(
    urls: list[str], token: str, function: str, count: int
) -> None:
    # More pods than the nodes hold wait for their turn.
    patch = '{"spec":{"timeouts":{"startupSeconds":900}}}'
    kubectl(*IN_RELEASE, "patch", "fn", function, "--type=merge", "-p", patch)
    gateways = [Gateway(url, token) for url in urls]
    started = time.monotonic()

    def call(number: int) -> tuple[str, Any, float]:
        name = f"caller-{number}-{uuid.uuid4().hex[:8]}"
        result = gateways[number % REPLICAS].run(function, {"name": name}, name, wait=60)
        return name, result, time.monotonic() - started

    with ThreadPoolExecutor(count) as pool:
        told = list(pool.map(call, range(count)))
    seconds = [s for _, _, s in told]
    print(
        f"\n{count} at once: median {statistics.median(seconds):.1f} s, last {max(seconds):.1f} s"
    )

    for name, result, _ in told:
        assert (result["requestId"], result["status"]) == (name, "SUCCESS"), result
        assert result["stdout"].endswith(f" {name}\n")
