"""Full results in memory, by job, with a limit in bytes."""

from nanogrid import wire
from nanogrid_operator.delivery.pending_results import PendingResults
from support.builders import a_result


def test_a_result_is_kept_until_it_is_dropped() -> None:
    pending, result = PendingResults(), a_result()
    pending.put("a", result)

    assert (pending.get("a"), pending.get("b")) == (result, None)
    pending.drop("a")
    pending.drop("a")
    assert pending.get("a") is None


def test_the_oldest_results_are_evicted() -> None:
    result = a_result(stdout="x" * 1000)
    pending = PendingResults(cap_bytes=2 * len(wire.dumps(result).encode()))
    for uid in ("a", "b", "a", "c"):
        pending.put(uid, result)

    assert [uid for uid in "abc" if pending.get(uid)] == ["a", "c"]


def test_a_result_that_is_too_large_is_not_kept() -> None:
    pending = PendingResults(cap_bytes=10)
    pending.put("a", a_result())
    assert pending.get("a") is None

    pending.put("b", a_result())
    assert pending.get("b") is None
