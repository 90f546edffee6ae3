"""Readiness names what does not answer; liveness notices when nobody looks any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from nanogrid_operator import health
from nanogrid_operator.health import Health, checks
from unit.builders import some_settings
from unit.fakes import FakeKube, FakePublisher, FakeResults


class Dependency:
    """Answers its checks one after another; an exception is raised."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)

    async def check(self) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(health, "CHECK_TIMEOUT_SECONDS", 0.05)


async def watched(
    found: dict[str, Callable[[], Awaitable[object]]], met: Callable[[Health], bool]
) -> Health:
    """Watch until the condition holds."""
    probes = Health()
    task = asyncio.create_task(probes.watch(found))
    async with asyncio.timeout(30):
        while not met(probes):
            assert not task.done()
            await asyncio.sleep(0)  # between any two checks
    task.cancel()
    return probes


def looked(probes: Health) -> bool:
    """Whether the first checks have ended."""
    return "start" not in probes.missing()


def test_nobody_is_ready_before_the_first_checks() -> None:
    assert Health().missing() == {"start": "the first checks have not ended"}


async def test_ready_is_when_everything_answers() -> None:
    probes = await watched({"redis": Dependency(None).check, "s3": Dependency(None).check}, looked)

    assert probes.missing() == {}


async def test_what_does_not_answer_is_named_with_its_error() -> None:
    refused = Dependency(ConnectionError("refused"))

    probes = await watched({"redis": refused.check, "s3": Dependency(None).check}, looked)

    assert probes.missing() == {"redis": "ConnectionError: refused"}


async def test_a_check_that_hangs_is_an_answer_too() -> None:
    async def hang() -> None:
        await asyncio.sleep(10)

    probes = await watched({"s3": hang}, looked)

    assert list(probes.missing()) == ["s3"]


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nanogrid.health")
    down = ConnectionError("refused")

    def seen() -> list[str]:
        return [r.getMessage() for r in caplog.records]

    redis = Dependency(None, None, down, down, None, None)
    await watched({"redis": redis.check}, lambda _: len(redis.answers) == 1 and len(seen()) == 3)

    assert seen() == [
        "check redis: ok",
        "check redis: ConnectionError: refused",
        "check redis: ok",
    ]


async def test_checks_that_do_not_run_any_more_are_noticed() -> None:
    probes = Health()
    before = probes.stuck()

    await asyncio.sleep(0.3)

    assert before == ""
    assert "the checks have not run for" in probes.stuck()


async def test_a_bucket_is_checked_only_if_there_is_one() -> None:
    settings = some_settings(watch_namespaces="team-a")
    without, with_one = FakeResults(), FakeResults()
    without.bucket = ""

    names = [
        list(checks(FakeKube(), FakePublisher(), results, settings))
        for results in (without, with_one)
    ]

    assert names == [["crd", "redis"], ["crd", "redis", "s3"]]


async def test_a_missing_crd_is_named() -> None:
    kube = FakeKube()
    kube.refuse("LIST", 404, "NotFound", "the server could not find the requested resource")

    found = checks(kube, FakePublisher(), FakeResults(), some_settings())
    probes = await watched({"crd": found["crd"]}, looked)

    assert probes.missing() == {
        "crd": "KubeError: 404 NotFound: the server could not find the requested resource"
    }
