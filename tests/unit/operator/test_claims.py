"""Claims of pools' pods: every schedule of calls, faults and operators."""

import asyncio
from collections.abc import Iterator

import pytest

from nanogrid import names, pod_identity
from nanogrid.types import Json
from support.claim_explorer import Explorer, schedules
from support.fake_time import FakeTimeLoop

LOOP = FakeTimeLoop()  # one for all schedules: creating one takes longer than a schedule


@pytest.fixture(scope="module", autouse=True)
def loop_is_closed() -> Iterator[None]:
    yield
    LOOP.close()


def explored(found: Iterator[Explorer]) -> list[Explorer]:
    """Run all schedules and check each of them."""
    done = []
    for explorer in found:
        try:
            LOOP.run_until_complete(asyncio.wait_for(explorer.run(), 60))
            explorer.check()
        except AssertionError as e:
            e.add_note("\n".join(explorer.history))
            raise
        done.append(explorer)
    return done


def ends(done: list[Explorer]) -> set[tuple[str, int, bool]]:
    """How jobs ended: the phase, how many pods they had, and whether one was a pool's."""
    return {(e.status["phase"], len(e.cluster.belonged), bool(e.tasks)) for e in done}


def test_without_a_fault_the_job_runs_in_a_pod_of_the_pool() -> None:
    (done,) = explored(schedules())

    assert ends([done]) == {("Succeeded", 1, True)}
    assert len(done.history) == 2, done.history


@pytest.mark.parametrize("faults", [0, 1])
def test_a_session_is_claimed_once_and_its_token_is_there_before_its_task(faults: int) -> None:
    done = explored(schedules(faults=faults, mode=names.MODE_SESSION))

    assert ends(done) >= {("Succeeded", 1, True)}
    waiting = [e for e in done for pod in e.pods().values() if is_waiting(pod)]
    assert waiting, "one of the two pods still waits"


def is_waiting(pod: Json) -> bool:
    """Whether a pod waits, and has no label by which the router finds it."""
    labels = pod["metadata"]["labels"]
    if pod_identity.job_uid(pod):
        return False
    assert names.LABEL_MODE not in labels
    return True


def test_two_operators_claim_one_pod_for_a_session() -> None:
    done = explored(schedules(operators=2, switches=2, agents=(0, 1), mode=names.MODE_SESSION))

    assert ends(done) >= {("Succeeded", 1, True)}


@pytest.mark.parametrize("faults", [1, 2])
def test_one_operator_with_faults(faults: int) -> None:
    done = explored(schedules(faults=faults))

    assert ends(done) >= {("Succeeded", 1, True)}
    assert len(done) >= 10**faults, "schedules are missing"


@pytest.mark.parametrize("agents", [(0, 0), (0, 1)])
@pytest.mark.parametrize("faults", [0, 1])
def test_two_operators_at_the_same_time(faults: int, agents: tuple[int, ...]) -> None:
    done = explored(schedules(operators=2, faults=faults, switches=3 - 2 * faults, agents=agents))

    assert ends(done) >= {("Succeeded", 1, True)}
