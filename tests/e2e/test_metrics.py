"""The metrics of the operator follow the jobs of a namespace, with exact values."""

from collections.abc import Iterator

import pytest

from nanogrid.lifecycle import Phase
from nanogrid.metrics.server import PORT
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl_json
from support.release import IN_RELEASE, RELEASE, leader_pod, operator_pods, settled_lease
from support.scraping import Scrape, metrics_of, scrape


@pytest.fixture
def leader(cluster: None) -> Iterator[str]:
    """The URL of the leader's metrics."""
    pod = leader_pod(settled_lease(len(operator_pods())))
    with metrics_of(pod) as url:
        yield url


def phases(**counts: int) -> dict[tuple[str, ...], float]:
    """All phases of a namespace, as the gauge shows them."""
    return {(phase.value,): float(counts.get(phase.value, 0)) for phase in Phase}


def in_phases(url: str, namespace: str, wanted: dict[tuple[str, ...], float]) -> Scrape | None:
    """A scrape in which the namespace has exactly these jobs; gauges lag by seconds."""
    found = scrape(url)
    return found if found.series("nanogrid_jobs", namespace) == wanted else None


def test_a_job_that_succeeds_and_one_that_fails_are_counted(
    namespace: Namespace, leader: str
) -> None:
    name = namespace.name
    before = scrape(leader)
    assert namespace.run(inline("a-good-one", "print('x')"))["phase"] == "Succeeded"
    assert namespace.run(inline("a-bad-one", "import sys; sys.exit(3)"))["phase"] == "Failed"

    after: Scrape = eventually(
        "both jobs in the gauges",
        lambda: in_phases(leader, name, phases(Succeeded=1, Failed=1)),
    )

    assert before.series("nanogrid_jobs_finished_total", name) == {}
    assert after.series("nanogrid_jobs_finished_total", name) == {
        ("Batch", "Succeeded", "Completed"): 1.0,
        ("Batch", "Failed", "NonZeroExit"): 1.0,
    }
    assert after.series("nanogrid_job_queue_seconds_count", name) == {(): 2.0}
    assert after.series("nanogrid_queue_length", name) == {(): 0.0}
    assert after.series("nanogrid_job_retries_total", name) == {}
    for part in ("execution", "delivery", "total"):
        count = f"nanogrid_job_{part}_seconds_count"
        assert (after.value(count) or 0) - (before.value(count) or 0) >= 2, part
    assert "a-good-one" not in after.text
    assert "a-bad-one" not in after.text

    namespace.kubectl("delete", "ej", "--all", "--wait=true")
    gone: Scrape = eventually("no gauge of the namespace", lambda: in_phases(leader, name, {}))
    assert gone.series("nanogrid_queue_length", name) == {}
    assert sum(gone.series("nanogrid_jobs_finished_total", name).values()) == 2


def test_the_leader_shows_its_dependencies_its_requests_and_its_queue(leader: str) -> None:
    found = scrape(leader)

    assert found.value("nanogrid_leader") == 1
    for dependency in ("crd", "redis", "s3"):
        assert found.value("nanogrid_dependency_up", dependency=dependency) == 1
    assert (found.value("nanogrid_kubernetes_requests_total", verb="GET", code="200") or 0) > 0
    assert found.value("nanogrid_delivery_attempts_total", target="redis", outcome="success")
    assert (found.value("nanogrid_workqueue_adds_total") or 0) > 0
    assert (found.value("process_resident_memory_bytes") or 0) > 0


def test_the_service_of_the_metrics_has_the_pods_of_the_operator(cluster: None) -> None:
    def addresses() -> bool:
        slices: list[Json] = kubectl_json(
            *IN_RELEASE,
            *("get", "endpointslices", "-l", f"kubernetes.io/service-name={RELEASE}-metrics"),
        )["items"]
        endpoints = [e for one in slices for e in one["endpoints"] or []]
        pods = {e["targetRef"]["name"] for e in endpoints}
        ports = {p["port"] for one in slices for p in one["ports"] or []}
        return pods == set(operator_pods()) and ports == {PORT}

    eventually("the operator's pods are targets", addresses)
