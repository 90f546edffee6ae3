"""Readiness names failed checks. Liveness detects that the checks have stopped."""

import asyncio
import logging

import pytest

from nanogrid_operator.server.health import (
    CHECK_SECONDS,
    CHECK_TIMEOUT_SECONDS,
    Checks,
    Health,
    dependency_checks,
)
from support.builders import some_settings
from support.fake_time import now
from support.operator_fakes import FakeKube, FakePublisher, FakeResults
from support.operator_world import run_for


class Dependency:
    """A dependency whose checks have these results in turn; an exception is raised."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)

    async def check(self) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer


def a_health(checks: Checks) -> Health:
    return Health(checks, lambda: "", now)


async def checked(checks: Checks) -> Health:
    """Run the first checks, until one that hangs has timed out."""
    probes = a_health(checks)
    await run_for(CHECK_TIMEOUT_SECONDS + 1, probes.run())
    return probes


def test_the_operator_is_not_ready_before_the_first_checks() -> None:
    assert Health({}, lambda: "").missing() == {"start": "the first checks have not ended"}


async def test_the_operator_is_ready_if_all_checks_succeed() -> None:
    probes = await checked({"redis": Dependency(None).check, "s3": Dependency(None).check})

    assert probes.missing() == {}


async def test_a_failed_check_is_named_with_its_error() -> None:
    refused = Dependency(ConnectionError("refused"))

    probes = await checked({"redis": refused.check, "s3": Dependency(None).check})

    assert probes.missing() == {"redis": "ConnectionError: refused"}


async def test_a_check_that_hangs_fails() -> None:
    async def hang() -> None:
        await asyncio.sleep(1000)

    probes = await checked({"s3": hang})

    assert list(probes.missing()) == ["s3"]


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nanogrid.health")
    down = ConnectionError("refused")

    redis = Dependency(None, None, down, down, None, None)
    await run_for(10 * CHECK_SECONDS, a_health({"redis": redis.check}).run())

    assert [r.getMessage() for r in caplog.records] == [
        "check redis: ok",
        "check redis: ConnectionError: refused",
        "check redis: ok",
    ]


async def test_checks_that_stopped_running_are_detected() -> None:
    probes = a_health({})
    before = probes.stuck()

    await asyncio.sleep(4 * (CHECK_SECONDS + CHECK_TIMEOUT_SECONDS) + 1)

    assert before == ""
    assert "the checks have not run for" in probes.stuck()


async def test_s3_is_checked_only_with_a_bucket() -> None:
    settings = some_settings(watch_namespaces="team-a")
    without, with_one = FakeResults(), FakeResults()
    without.bucket = ""

    names = [
        list(dependency_checks(FakeKube(), FakePublisher(), results, settings))
        for results in (without, with_one)
    ]

    assert names == [["crd", "redis"], ["crd", "redis", "s3"]]


async def test_a_missing_crd_is_named() -> None:
    kube = FakeKube()
    kube.refuse("LIST", 404, "NotFound", "the server could not find the requested resource")

    found = dependency_checks(kube, FakePublisher(), FakeResults(), some_settings())
    probes = a_health({"crd": found["crd"]})
    await run_for(1, probes.run())

    assert probes.missing() == {
        "crd": "KubeError: 404 NotFound: the server could not find the requested resource"
    }
