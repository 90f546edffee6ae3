"""Results in memory: whole, by job, and never more than so many bytes."""

from nanogrid import wire
from nanogrid_operator.held import Held
from unit.builders import a_result


def test_a_result_is_held_until_it_is_dropped() -> None:
    held, result = Held(), a_result()
    held.put("a", result)

    assert (held.get("a"), held.get("b")) == (result, None)
    held.drop("a")
    held.drop("a")
    assert held.get("a") is None


def test_the_oldest_are_let_go_when_there_is_no_room() -> None:
    result = a_result(stdout="x" * 1000)
    held = Held(cap_bytes=2 * len(wire.dumps(result).encode()))
    for uid in ("a", "b", "a", "c"):
        held.put(uid, result)

    assert [uid for uid in "abc" if held.get(uid)] == ["a", "c"]


def test_a_result_that_is_too_large_is_not_held() -> None:
    held = Held(cap_bytes=10)
    held.put("a", a_result())
    assert held.get("a") is None

    held.put("b", a_result())
    assert held.get("b") is None
