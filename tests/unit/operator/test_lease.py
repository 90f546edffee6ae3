"""The rules of leader election, with times of no clock."""

import pytest

from nanogrid.types import Json
from nanogrid_operator.kube.lease import (
    LONGEST_GAP_SECONDS,
    HolderPod,
    HolderState,
    Observed,
    holder_state,
    identity_of,
    may_take,
    must_ask,
    observe,
    pod_of,
)

UNKNOWN, ENDED, GONE = HolderState.UNKNOWN, HolderState.ENDED, HolderState.GONE


def a_lease(holder: str = "b", renewed: str = "1999-01-01T00:00:00Z", seconds: int = 2) -> Json:
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds}
    return {"spec": spec}


def watched(seconds: float, lease: Json) -> Observed:
    """A Lease that was read four times a second, and did not change."""
    observed = observe(lease, None, 100.0, 100.0)
    for turn in range(1, round(seconds * 4) + 1):
        observed = observe(lease, observed, 100 + turn / 4, 100 + turn / 4)
    return observed


def test_the_clocks_of_other_machines_do_not_count() -> None:
    lease = a_lease(renewed="1999-01-01T00:00:00Z")

    assert not may_take(lease, watched(1.75, lease), "a", UNKNOWN)
    assert may_take(lease, watched(2, lease), "a", UNKNOWN)


def test_a_record_that_changes_is_new() -> None:
    observed = watched(60, a_lease())
    renewed = observe(a_lease(renewed="1999-01-01T00:00:01Z"), observed, 161, 161)

    assert (observed.unchanged, renewed.unchanged) == (60, 0)


def test_a_record_is_as_new_as_its_answer() -> None:
    """The Lease may have been renewed until the API server answered."""
    first = observe(a_lease(), None, 100.0, 101.5)
    again = observe(a_lease(), first, 102.0, 102.0)

    assert again.unchanged == 0.5


def test_time_without_reads_does_not_count() -> None:
    first = observe(a_lease(), None, 100.0, 100.0)
    frozen = observe(a_lease(), first, 200.0, 200.0)
    again = observe(a_lease(), frozen, 200.25, 200.25)

    assert frozen.unchanged == LONGEST_GAP_SECONDS
    assert again.unchanged == LONGEST_GAP_SECONDS + 0.25


@pytest.mark.parametrize(
    ("holder", "state", "unchanged", "may"),
    [
        ("", UNKNOWN, 0, True),
        ("a", UNKNOWN, 0, True),
        ("b", GONE, 0, True),
        ("b", ENDED, 0.75, False),
        ("b", ENDED, 1, True),
        ("b", UNKNOWN, 1.75, False),
        ("b", UNKNOWN, 2, True),
    ],
)
def test_who_may_take_a_lease(holder: str, state: HolderState, unchanged: float, may: bool) -> None:
    lease = a_lease(holder)

    assert may_take(lease, watched(unchanged, lease), "a", state) is may


def test_the_pod_is_asked_for_at_first_then_twice_a_second() -> None:
    renewed = observe(a_lease(), None, 100.0, 100.0)

    assert must_ask(renewed, None)
    assert [must_ask(renewed, 100.0 - t) for t in (0, 0.25, 0.5)] == [False, False, True]


def test_the_pod_is_asked_for_at_each_look_when_renewals_are_missing() -> None:
    asked = []
    for t in (0.25, 0.75, 1, 2):
        observed = watched(t, a_lease())
        asked.append(must_ask(observed, asked_at=observed.read_at - 0.25))

    assert asked == [False, False, True, True]


def test_an_identity_names_a_pod_and_its_uid() -> None:
    assert pod_of(identity_of("nanogrid-7d-x", "u-1")) == HolderPod("nanogrid-7d-x", "u-1")
    for outside in (identity_of("laptop", ""), "nanogrid-7d-x", "", "_u", "x_"):
        assert pod_of(outside) is None


def a_pod(uid: str = "u", phase: str = "Running", *containers: Json) -> Json:
    return {
        "metadata": {"uid": uid},
        "status": {"phase": phase, "containerStatuses": list(containers)},
    }


ENDED_BEFORE = {"lastState": {"terminated": {"exitCode": 1}}}


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (None, GONE),
        (a_pod("other"), GONE),
        (a_pod("u", "Failed"), ENDED),
        (a_pod("u", "Running", {"state": {"terminated": {}}}), ENDED),
        (a_pod("u", "Running", {"state": {"waiting": {}}, **ENDED_BEFORE}), ENDED),
        (a_pod("u", "Running", {"state": {"running": {}}, **ENDED_BEFORE}), UNKNOWN),
        (a_pod("u", "Pending", {"state": {"waiting": {}}}), UNKNOWN),
        (a_pod("u", "Running", {"state": {"terminated": {}}}, {"state": {"running": {}}}), UNKNOWN),
        (a_pod("u", "Pending"), UNKNOWN),
        ({"metadata": {"uid": "u"}}, UNKNOWN),
    ],
)
def test_the_state_of_a_holder(pod: Json | None, state: HolderState) -> None:
    assert holder_state(HolderPod("nanogrid-1", "u"), pod) is state
