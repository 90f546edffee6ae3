"""Fixtures of the e2e suite, and the checks after its last test."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from nanogrid.tenancy import PLATFORM_STREAM
from scripts.devaccess import dev_access
from support.canaries import Canaries, secrets_of_release
from support.cluster_fixtures import (  # noqa: F401 fixtures and hooks
    cluster,
    deletions,
    dev,
    namespace,
    pytest_runtest_makereport,
    python_image,
    request_id,
)
from support.gateways import DEPLOYMENT, a_token, forwarded
from support.job_watcher import JOBS, JobWatcher, find_violations
from support.kubectl import eventually, kubectl, redis_of
from support.leftovers import leftovers
from support.object_watcher import ObjectWatcher
from support.outputs import EVENTS, api_object, platform_logs, redis_values, s3_objects
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE
from support.sessions import router

LEFTOVER_SECONDS = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def no_leftovers(cluster: None) -> Iterator[None]:  # noqa: F811
    """No pod without a job, no unfinished upload and no key without expiry after the last test."""
    yield
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        last: list[str] = []

        def clean() -> bool:
            last[:] = leftovers(access)
            return not last

        try:
            eventually("nothing is left", clean, LEFTOVER_SECONDS)
        except AssertionError:
            pytest.fail(f"left {LEFTOVER_SECONDS} s after the last test: {last[:20]}")


@pytest.fixture(scope="session", autouse=True)
def every_job_ends_once(cluster: None) -> Iterator[None]:  # noqa: F811
    """Every job of the suite ends once, and its result is delivered once."""
    watcher = JobWatcher()
    watcher.start()
    yield
    watcher.stop()
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        stream = redis_of(access).xrange(PLATFORM_STREAM)
    results = (json.loads(entry["result"]) for _, entry in stream)
    wrong = find_violations(watcher.records.values(), results)
    ends = sum(record.end_observed for record in watcher.records.values())
    print(f"\nobserved the ends of {ends} jobs: {len(wrong)} violations")
    assert not wrong, "\n".join(wrong[:40])


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_any_output(cluster: None) -> Iterator[Canaries]:  # noqa: F811
    """No secret and no token in jobs and Events of the suite, nor afterwards in S3, Redis, logs."""
    canaries = Canaries(secrets_of_release())
    since = datetime.now(UTC)
    watchers = [
        ObjectWatcher(path, lambda body: canaries.search([api_object(body)]))
        for path in (JOBS, EVENTS)
    ]
    for watcher in watchers:
        watcher.start()
    yield canaries
    for watcher in watchers:
        watcher.stop()
    started = time.monotonic()
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        for outputs in (s3_objects(access, since), redis_values(access), platform_logs(since)):
            canaries.search(outputs)
    print(
        f"\nsearched {canaries.outputs} outputs ({canaries.size >> 20} MiB) for "
        f"{len(canaries.secrets)} secrets, {time.monotonic() - started:.1f} s after the last test"
    )
    assert canaries.secrets
    assert not canaries.found, "\n".join(canaries.found[:40])


@pytest.fixture
def router_url(cluster: None) -> Iterator[str]:  # noqa: F811
    """The router's URL on this machine."""
    with router() as url:
        yield url


@pytest.fixture(scope="module")
def gateway_url(cluster: None) -> Iterator[str]:  # noqa: F811
    """The gateway's URL on this machine."""
    kubectl(*IN_RELEASE, "rollout", "status", DEPLOYMENT, "--timeout=180s")
    with forwarded(f"svc/{RELEASE}-gateway") as url:
        yield url


@pytest.fixture(scope="module")
def gateway_token(cluster: None) -> Iterator[str]:  # noqa: F811
    """A token for the gateway."""
    with a_token() as token:
        yield token
