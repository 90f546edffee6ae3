"""The goals of docs/performance.md are computed from the numbers of a run."""

import copy
from collections.abc import Callable

import pytest

from nanogrid.types import Json
from support.benchmark import data
from support.benchmark import subjects as s
from support.benchmark.goals import GOALS, Verdict, verdicts


def the(document: Json, text: str) -> Verdict:
    """The verdict of the one goal whose text has these words."""
    (found,) = [one for one in verdicts(document) if text in one.goal.text]
    return found


def test_a_ratio_is_that_of_pairs_so_load_of_a_round_cancels_out(document: Json) -> None:
    found = the(document, "inline job: result").found

    assert found is not None
    assert (found.median, found.low, found.high) == (0.35, 0.35, 0.35)


@pytest.mark.parametrize(
    ("text", "median", "met"),
    [
        ("inline job: result / terminal", 0.35, True),
        ("inline job: first instruction", 1.10, True),
        ("that of the bare pod with the same init", 1.25, False),
        ("first instruction / that of the bare pod with an init", 2000 / 1400, False),
        ("60 cold jobs at once", 1.20, False),
        ("writes per cold job", 2.0, True),
        ("reads per job", 0.0, True),
        ("CPU per cold job", 15.0, False),
        ("many small files", 0.9, True),
        ("one large file", 0.5, False),
        ("peak memory", 80 / 78, True),
    ],
)
def test_a_goal_is_met_if_its_figure_is_within_the_bound(
    document: Json, text: str, median: float, met: bool
) -> None:
    verdict = the(document, text)

    assert verdict.found is not None
    assert verdict.found.median == pytest.approx(median)
    assert verdict.met is met


def test_a_goal_without_a_figure_is_neither_met_nor_missed_and_says_why(document: Json) -> None:
    verdict = the(document, "warm job: result, p50")

    assert (verdict.met, verdict.certain, verdict.why) == (None, False, "no pools here")


def worse(document: Json) -> None:
    for one in document["latency"]["rounds"]:
        one["rows"]["inline"]["result"] *= 1.1


def noisy(document: Json) -> None:
    document["latency"]["rounds"][0]["rows"]["inline"]["result"] *= 1.2


@pytest.mark.parametrize(
    ("change", "met", "certain"), [(worse, False, True), (noisy, False, False)]
)
def test_other_numbers_give_another_verdict(
    document: Json, change: Callable[[Json], None], met: bool, certain: bool
) -> None:
    changed = copy.deepcopy(document)
    change(changed)

    before, after = (the(one, "inline job: result") for one in (document, changed))

    assert (before.met, before.certain) == (True, True)
    assert (after.met, after.certain) == (met, certain)


def test_a_round_in_which_one_of_a_pair_failed_is_no_pair(document: Json) -> None:
    del document["latency"]["rounds"][1]["rows"]["pod-volume"]

    values, others = data.pairs(document, (s.INLINE, s.RESULT), (s.POD_VOLUME, s.TERMINAL))

    assert (values, others) == ([700.0], [2000.0])


def test_reviews_of_tokens_are_no_writes(document: Json) -> None:
    (window,) = data.windows(document, "cold")

    assert data.per_job(window, *data.WRITES) == 2.0
    assert data.per_job(window, "PATCH") == 1.0


def test_simulated_nodes_are_compared_by_rate_and_by_tenth(document: Json) -> None:
    document["controlPlane"] = {
        "runs": [
            {
                "jobs": 1000,
                "perSecond": {"pod": [50.0], "inline": [35.0], "batch": [3.5]},
                "firstTenthP99Millis": 1000.0,
                "lastTenthP99Millis": 1600.0,
                "operatorMebibytes": 140.0,
            }
        ]
    }

    found = {one.goal.text: one.met for one in verdicts(document) if "1,000 jobs" in one.goal.text}

    assert list(found.values()) == [True, True, False, True]
    assert the(document, "10,000 jobs on kwok nodes: memory").met is None


def test_every_subject_that_a_goal_needs_can_be_measured() -> None:
    known = {one.key for one in s.LATENCY} | set(s.PARTS)

    assert {need for goal in GOALS for need in goal.needs} <= known


def test_a_selection_of_subjects_is_no_complete_run() -> None:
    assert s.select([]) == s.Selection(s.PARTS, s.LATENCY, complete=True)
    assert s.select(["inline", "sync"]) == s.Selection(
        (s.LATENCY_PART, s.SYNC_PART), (s.INLINE,), complete=False
    )
    with pytest.raises(s.UnknownNameError, match="inlin: unknown; choose from: latency, "):
        s.select(["inlin"])
