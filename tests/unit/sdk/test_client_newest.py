"""The newest jobs of a large namespace are found without reading all specs and results."""

from datetime import UTC, datetime, timedelta

import pytest

from nanogrid.client import Client
from nanogrid.client.errors import Forbidden
from nanogrid.client.jobs.newest import MOST
from nanogrid.client.kube.paths import jobs
from support.api_store import NAMESPACE
from support.cli_fakes import job, result_of
from support.client_server import FakeApi

JOBS = 5_000
PAGES = JOBS // 500
RESULT_BYTES = 4_000  # of stdout in a status; the operator keeps up to 12 KiB


@pytest.fixture
def large_api(idle_api: FakeApi) -> FakeApi:
    """5,000 jobs; those with a lower number are newer, so no order by name helps."""
    result = result_of("job", stdout="x" * RESULT_BYTES)
    for number in range(JOBS):
        name = f"job-{number:05}"
        made = job(name, "Succeeded", "Completed", result)
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=JOBS - number)
        made["metadata"] |= {
            "namespace": NAMESPACE,
            "creationTimestamp": created.isoformat(),
        }
        idle_api.objects[f"{jobs(NAMESPACE)}/{name}"] = made
    return idle_api


def test_the_newest_job_costs_the_metadata_of_all_and_one_job(
    large_api: FakeApi, client: Client
) -> None:
    everything = [run.name for run in client.list()]
    full_bytes = large_api.sent_bytes
    assert len(large_api.requests) == PAGES

    large_api.sent_bytes, large_api.requests = 0, []
    (latest,) = client.list(limit=1)
    assert latest.name == everything[0] == "job-00000"
    assert latest.job["status"]["result"]["stdout"] == "x" * RESULT_BYTES
    assert len(large_api.requests) == PAGES + 1
    assert large_api.sent_bytes < full_bytes / 10

    large_api.sent_bytes, large_api.requests = 0, []
    some = client.list(limit=MOST, all_namespaces=True)
    assert [run.name for run in some] == everything[:MOST]
    assert len(large_api.requests) == PAGES + MOST
    assert large_api.sent_bytes < full_bytes / 10


@pytest.fixture
def few(idle_api: FakeApi) -> FakeApi:
    for day in (3, 1, 2):
        name = f"day-{day}"
        made = job(name, "Failed" if day == 2 else "Succeeded", "Completed")
        made["metadata"] |= {
            "namespace": NAMESPACE,
            "creationTimestamp": f"2026-01-0{day}T00:00:00Z",
            "labels": {"odd": str(day % 2)},
        }
        idle_api.objects[f"{jobs(NAMESPACE)}/{name}"] = made
    return idle_api


def names(client: Client, **options: object) -> list[str]:
    return [run.name for run in client.list(**options)]  # type: ignore[arg-type]


@pytest.mark.usefixtures("few")
def test_a_limit_is_applied_after_the_other_filters(client: Client) -> None:
    assert names(client, limit=2) == ["day-3", "day-2"]
    assert names(client, limit=2, labels="odd=1") == ["day-3", "day-1"]
    assert names(client, limit=1, phase="failed") == ["day-2"]
    assert names(client, limit=1, since=1.0) == []
    assert names(client, limit=9) == ["day-3", "day-2", "day-1"]


def test_a_job_that_is_deleted_meanwhile_is_replaced_by_the_next(
    few: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = client.cluster.list_metadata

    def then_delete(path: str, labels: str = "") -> list[dict[str, object]]:
        found = listed(path, labels)
        few.remove(f"{jobs(NAMESPACE)}/day-3")
        return found

    monkeypatch.setattr(client.cluster, "list_metadata", then_delete)
    assert names(client, limit=2) == ["day-2", "day-1"]


@pytest.mark.usefixtures("few")
def test_the_right_to_list_is_enough(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise Forbidden(403, "Forbidden", f"you may not get {path}.")

    monkeypatch.setattr(client.cluster, "get", refuse)
    assert names(client, limit=1) == ["day-3"]


def test_a_server_that_lists_no_metadata_gives_the_same_jobs(few: FakeApi, client: Client) -> None:
    few.knows_metadata = False
    assert names(client, limit=2) == ["day-3", "day-2"]
