"""What a namespace needs is checked once for jobs that start at the same time."""

import asyncio

import pytest

from nanogrid_operator.kube.ensured import FRESH_SECONDS, Ensured


class Checks:
    """Checks that wait until they may end; ``fails`` lets the next one fail."""

    def __init__(self) -> None:
        self.now, self.count, self.fails = 0.0, 0, False
        self.open = asyncio.Event()
        self.ensured = Ensured(lambda: self.now)

    async def check(self) -> None:
        self.count += 1
        await self.open.wait()
        if self.fails:
            raise RuntimeError("refused")

    async def run(self, namespace: str = "team-a") -> None:
        await self.ensured.run(namespace, self.check)


async def test_jobs_that_start_together_share_one_check() -> None:
    checks = Checks()
    jobs = [asyncio.create_task(checks.run()) for _ in range(20)]
    other = asyncio.create_task(checks.run("team-b"))
    await asyncio.sleep(0)
    checks.open.set()
    await asyncio.gather(*jobs, other)
    await checks.run()

    assert checks.count == 2, "one for each namespace"


async def test_all_get_the_error_and_the_next_one_checks_again() -> None:
    checks = Checks()
    checks.fails = True
    checks.open.set()
    found = await asyncio.gather(*(checks.run() for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["refused"] * 3
    checks.fails = False
    await checks.run()

    assert checks.count == 2


async def test_a_job_whose_time_is_over_does_not_end_the_check_of_the_others() -> None:
    checks = Checks()
    first, second = (asyncio.create_task(checks.run()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    checks.open.set()
    await second

    assert checks.count == 1


@pytest.mark.parametrize(("seconds", "count"), [(FRESH_SECONDS - 1, 1), (FRESH_SECONDS, 2)])
async def test_it_is_checked_again_later(seconds: float, count: int) -> None:
    checks = Checks()
    checks.open.set()
    await checks.run()
    checks.now += seconds
    await checks.run()

    assert checks.count == count
