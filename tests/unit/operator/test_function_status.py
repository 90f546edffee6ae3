"""A Function's status from ended runs: each counts once, and the newest are listed."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nanogrid import names
from nanogrid.api.function import COUNTED_RUNS, RECENT_RUNS
from nanogrid.codegen.crd import function_crd
from nanogrid.types import Json
from nanogrid_operator.status.function import LEDGER_SECONDS, Run, counted_runs, merged, run_of
from support.builders import merge_patch, time_text
from support.function_builders import (
    FUNCTION,
    FUNCTION_UID,
    a_function_body,
    a_function_job,
    a_labelled_run,
    a_run_body,
)

STATUS = Draft202012Validator(
    function_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
)


def a_run(uid: str = "run-1", **changes: Any) -> Run:
    found = run_of(a_labelled_run(uid, **changes))
    assert found is not None
    return found


def after(function: Json, *runs: Run) -> Json:
    """The function after these runs were counted."""
    status = merged(function, runs)
    if status is None:
        return function
    body: Json = merge_patch(function, {"status": status})
    assert STATUS.is_valid(body["status"]), list(STATUS.iter_errors(body["status"]))
    return body


def test_a_run_is_read_from_its_job() -> None:
    assert a_run(age=12) == Run(
        namespace="team-a",
        function=FUNCTION,
        sure=True,
        function_uid=None,
        created=a_run().created,
        entry={
            "requestId": "run-1",
            "job": "job-run-1",
            "uid": "run-1",
            "version": 2,
            "status": "SUCCESS",
            "reason": "Completed",
            "time": time_text(12),
            "durationMillis": 312,
            "peakMemoryBytes": 40 << 20,
            "memoryLimitBytes": 256 << 20,
            "memorySource": "cgroup2",
        },
    )


REF = {"functionRef": {"name": FUNCTION, "version": 1}, "code": None}
PINNED = {"name": FUNCTION, "uid": FUNCTION_UID, "version": 1}
LABEL = {names.LABEL_FUNCTION: "labelled"}


@pytest.mark.parametrize(
    ("job", "function", "sure", "version"),
    [
        (a_run_body(**REF, pinned=PINNED), FUNCTION, True, 1),
        (a_run_body(**REF, pinned=PINNED, labels=LABEL), FUNCTION, True, 1),
        (a_run_body(**REF), FUNCTION, True, 1),  # this version did not exist
        (a_run_body(labels=LABEL, functionId="f"), "labelled", True, None),
        (a_run_body(functionId="f"), "f", False, None),
        (a_labelled_run(), FUNCTION, True, 2),
    ],
)
def test_the_function_is_named_by_reference_then_label_then_function_id(
    job: Json, function: str, sure: bool, version: int | None
) -> None:
    run = run_of(job)

    assert run is not None
    assert (run.function, run.sure, run.entry.get("version")) == (function, sure, version)


@pytest.mark.parametrize(
    "job",
    [
        a_run_body(),
        a_run_body(functionId="Not_A_Name"),
        a_run_body(functionId="f", mode="Session"),
        a_function_job(),
        a_function_job(status={"phase": "Running"}),
    ],
)
def test_other_jobs_are_not_runs(job: Json) -> None:
    assert run_of(job) is None


@pytest.mark.parametrize("text", ["", "0", "x", "-1", "9" * 30, "²"])
def test_a_malformed_annotation_is_not_a_version(text: str) -> None:
    run = run_of(a_run_body(functionId="f", annotations={names.ANNOTATION_FUNCTION_VERSION: text}))

    assert run is not None
    assert "version" not in run.entry


@pytest.mark.parametrize(
    "changes", [{"peakMemoryBytes": -1}, {"peakMemoryBytes": 1 << 60}, {"reason": "x" * 65}]
)
def test_numbers_that_the_schema_does_not_allow_are_refused(changes: Json) -> None:
    job = a_labelled_run()
    job["status"]["result"] |= changes

    with pytest.raises(ValueError, match="validation error"):
        run_of(job)


def test_the_first_run_fills_the_status() -> None:
    status = after(a_function_body(), a_run(age=30))["status"]

    assert (status["observedGeneration"], status["versions"], status["runs"]) == (3, 2, 1)
    assert status["lastRun"] == {
        "requestId": "run-1",
        "version": 2,
        "status": "SUCCESS",
        "reason": "Completed",
        "time": time_text(30),
    }
    assert [entry["uid"] for entry in status["recent"]] == ["run-1"]
    assert "recommendation" not in status
    assert "counted" not in status


def test_a_counted_run_changes_nothing() -> None:
    function = after(a_function_body(), a_run("a"), a_run("b"))

    assert merged(function, [a_run("a"), a_run("b")]) is None
    assert merged(function, []) is None
    assert after(function, a_run("a"), a_run("c"), a_run("c"))["status"]["runs"] == 3


def test_a_late_run_counts_but_is_not_the_last_run() -> None:
    function = after(a_function_body(), a_run("new", age=50))
    status = after(function, a_run("late", age=20, status="FAILED", reason="Signaled"))["status"]

    assert status["runs"] == 2
    assert status["lastRun"]["requestId"] == "new"
    assert [entry["uid"] for entry in status["recent"]] == ["new", "late"]


def test_a_run_of_an_earlier_function_of_the_same_name_is_not_counted() -> None:
    older = a_run("older", created_age=-60)
    other = run_of(a_run_body("other", **REF, pinned={**PINNED, "uid": "another"}))
    same = run_of(a_run_body("same", **REF, pinned=PINNED, created_age=-60))
    assert other is not None
    assert same is not None

    status = after(a_function_body(), older, other, same)["status"]

    assert [entry["uid"] for entry in status["recent"]] == ["same"]


def test_fields_that_the_last_run_lacks_are_removed() -> None:
    function = after(a_function_body(), a_run("a", age=1))
    unversioned = run_of(a_run_body("b", age=2, labels={names.LABEL_FUNCTION: FUNCTION}))
    assert unversioned is not None

    assert "version" not in after(function, unversioned)["status"]["lastRun"]


def test_the_recommendation_uses_runs_of_the_last_version() -> None:
    old = [
        run
        for n in range(9)
        if (run := run_of(a_run_body(f"v1-{n}", **REF, pinned=PINNED, age=n, peak_mb=400)))
    ]
    few = after(a_function_body(), *old, *(a_run(f"v2-{n}", age=20 + n) for n in range(4)))
    enough = after(few, a_run("v2-4", age=30))

    assert few["status"]["recommendation"]["memory"] == "576Mi"
    assert enough["status"]["recommendation"] == {
        "memory": "64Mi",
        "basedOn": 5,
        "p95PeakBytes": 40 << 20,
        "currentLimitBytes": 256 << 20,
        "oomKills": 0,
    }


def test_a_recommendation_without_a_basis_is_removed() -> None:
    function = after(a_function_body(), *(a_run(f"ok-{n}", age=n) for n in range(5)))
    failed = [
        a_run(f"bad-{n}", age=100 + n, status="FAILED", reason="NonZeroExit")
        for n in range(RECENT_RUNS)
    ]

    assert "recommendation" in function["status"]
    assert "recommendation" not in after(function, *failed)["status"]


def test_three_hundred_runs_in_any_order_count_once_each() -> None:
    runs = [a_run(f"run-{n}", age=100 + n % 4) for n in range(300)]
    shuffled = random.Random(7).sample(runs, len(runs))
    function = a_function_body()
    for start in range(0, 300, 75):
        # Each batch repeats a part of the previous one, as after a write whose answer was lost.
        function = after(function, *shuffled[max(0, start - 40) : start + 75])

    assert function["status"]["runs"] == 300
    assert len(function["status"]["recent"]) == RECENT_RUNS
    assert len(function["status"]["counted"]["runs"]) == 250
    assert merged(function, runs) is None, "a restarted operator finds all of them counted"


def test_the_ledger_forgets_old_runs_and_they_do_not_count_again() -> None:
    runs = [a_run(f"run-{n}", age=n) for n in range(RECENT_RUNS + 5)]
    later = a_run("later", age=200 + LEDGER_SECONDS)
    function = after(after(a_function_body(), *runs), later)

    assert function["status"]["runs"] == RECENT_RUNS + 6
    assert function["status"]["counted"] == {"runs": [], "until": time_text(5)}
    assert merged(function, [*runs, later]) is None
    assert merged(function, [a_run("unseen", age=5)]) is None
    assert merged(function, [a_run("unseen", age=6)]) is not None


def test_the_size_of_the_ledger_is_bounded() -> None:
    runs = [a_run(f"run-{n}", age=n / 10) for n in range(RECENT_RUNS + COUNTED_RUNS + 100)]
    function = after(a_function_body(), *runs)

    assert function["status"]["runs"] == len(runs)
    assert len(function["status"]["counted"]["runs"]) == COUNTED_RUNS
    assert merged(function, runs) is None


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(st.integers(0, 200), min_size=1, max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=6),
    seed=st.integers(0, 999),
)
def test_order_and_repetition_do_not_change_the_count(
    ends: list[int], cuts: list[int], seed: int
) -> None:
    runs = [a_run(f"run-{n}", age=age) for n, age in enumerate(ends)]
    mixed = random.Random(seed).sample(runs * 2, len(runs) * 2)
    function, start = a_function_body(), 0
    for cut in [*sorted(cuts), len(mixed)]:
        function = after(function, *mixed[start:cut])
        start = cut
    newest = sorted(ends, reverse=True)[:RECENT_RUNS]

    assert function["status"]["runs"] == len(runs)
    assert [e["time"] for e in function["status"]["recent"]] == [time_text(a) for a in newest]
    assert all(counted_runs(function).has(run) for run in runs)
