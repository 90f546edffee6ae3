"""Queues in the cluster: a limit holds, another namespace does not wait, a quota is waited for.

Both parts of each test run in one run of the suite, so the machine is the same.
"""

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from nanogrid import names
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.release import IN_RELEASE

pytestmark = [pytest.mark.alone, pytest.mark.security]

JOBS, LIMIT = 20, 3
SLEEP = "import time; time.sleep(1); print('slept')"


@pytest.fixture
def limited(namespace: Namespace) -> Iterator[Namespace]:
    """A namespace whose tenant may run three jobs at a time."""
    tenant = {
        "apiVersion": names.API_VERSION,
        "kind": names.TENANT_KIND,
        "metadata": {"name": namespace.name},
        "spec": {"limits": {"jobs": LIMIT, "memory": "4Gi"}},
    }
    Namespace(IN_RELEASE[1]).apply(tenant)
    probes = count()

    def refused() -> bool:
        """Whether the operator has read the tenant: it refuses a job that exceeds its memory."""
        sizes = {"limits": {"memory": "5Gi"}, "requests": {"memory": "64Mi"}}
        probe = inline(f"probe-{next(probes)}", "print('not limited yet')", resources=sizes)
        return bool(namespace.run(probe)["reason"] == "InvalidSpec")

    eventually("the operator has read the tenant", refused)
    yield namespace
    kubectl(*IN_RELEASE, "delete", names.TENANT_PLURAL, namespace.name)


@pytest.fixture
def other(cluster: None) -> Iterator[Namespace]:
    """The namespace of the single job."""
    ns = Namespace(f"e2e-single-{time.monotonic_ns() % 10**8}")
    kubectl("create", "namespace", ns.name)
    yield ns
    kubectl("delete", "namespace", ns.name, "--wait=false")


def start_seconds(ns: Namespace, name: str) -> float:
    """How long a job takes from its creation to its end, which follows at once."""
    began = time.monotonic()
    ns.apply(inline(name, "print('here')"))
    assert ns.finished(name)["result"]["stdout"] == "here\n"
    return time.monotonic() - began


def live(ns: Namespace) -> int:
    """The number of pods that have not ended."""
    pods = kubectl_json("--namespace", ns.name, "get", "pods")["items"]
    return sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods)


def jobs(ns: Namespace) -> list[Any]:
    """All jobs of a namespace."""
    found: list[Any] = kubectl_json("--namespace", ns.name, "get", "ej")["items"]
    return found


def limit_applies(ns: Namespace) -> bool:
    """Whether a queued job names the tenant's limit."""
    return any("limits.jobs" in (one.get("status") or {}).get("message", "") for one in jobs(ns))


def test_a_single_job_does_not_wait_for_the_queue_of_another_namespace(
    limited: Namespace, other: Namespace
) -> None:
    idle = start_seconds(other, "idle")
    limited.apply(*(inline(f"many-{number:02}", SLEEP) for number in range(JOBS)))
    eventually("the limit applies", lambda: limit_applies(limited))
    most = live(limited)
    busy = start_seconds(other, "single")
    left = sum(not (one.get("status") or {}).get("completionTime") for one in jobs(limited))
    most = max(most, live(limited))
    for number in range(JOBS):
        assert limited.finished(f"many-{number:02}")["reason"] == "Completed"

    print(f"single job: {idle:.1f} s idle, {busy:.1f} s with {left} jobs left of {JOBS}")
    assert left > LIMIT, "the other namespace had no queue, so this shows nothing"
    assert most <= LIMIT


def test_a_job_waits_for_a_quota_that_is_used_up(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "one", "--hard=pods=1")
    namespace.apply(inline("first", "import time; time.sleep(600)"))
    eventually("the first has the quota", lambda: namespace.pods("first"))
    began = time.monotonic()
    namespace.apply(inline("second", "print('second')", timeouts={"startupSeconds": 4}))
    eventually("queued", lambda: namespace.status("second").get("reason") == "Queued")
    eventually("it has waited for longer than its start may", lambda: time.monotonic() > began + 6)
    status = namespace.status("second")

    assert "exceeded quota: one" in status["message"]
    assert "Position 1 of 1" in status["message"]
    namespace.patch("first", cancel=True)
    assert namespace.finished("second")["result"]["stdout"] == "second\n"
