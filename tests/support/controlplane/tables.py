"""Rows of tables from the values of a benchmark of the control plane. Pure."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

from nanogrid.types import Json
from support.controlplane.subjects import ALL, JOBS_DEFAULT, JOBS_EQUAL, OURS, PODS, Subject

HEAD: Final = (
    "", "objects", "per second", "of bare pods", "p50 / p99 first tenth, ms",
    "p50 / p99 last tenth, ms", "writes each", "operator ms each", "API server ms each",
)  # fmt: skip
REQUESTS_HEAD: Final = ("client", "request", "bare pod", "Job", "ExecutionJob")


def of(values: Json, subject: Subject) -> list[Json]:
    """The runs of a subject."""
    return [run for run in values["runs"] if run["subject"] == subject.name]


def rate(values: Json, subject: Subject) -> float | None:
    """The median of its rounds, in objects per second; None if it was not measured."""
    found = [run["perSecond"] for run in of(values, subject)]
    return statistics.median(found) if found else None


def ratios(values: Json) -> dict[str, float]:
    """How many ExecutionJobs per second for one of each other subject, paired by round.

    Of the first and last tenth of ExecutionJobs: the ratio of their p99, the worst of all rounds.
    """
    ours = {run["round"]: run for run in of(values, OURS)}
    found = {}
    for other in (PODS, JOBS_DEFAULT, JOBS_EQUAL):
        pairs = [
            ours[run["round"]]["perSecond"] / run["perSecond"]
            for run in of(values, other)
            if run["round"] in ours
        ]
        if pairs:
            found[other.name] = round(statistics.median(pairs), 2)
    flat = [
        run["latencyMillis"]["last"]["p99"] / run["latencyMillis"]["first"]["p99"]
        for run in ours.values()
    ]
    if flat:
        found["lastTenth"] = round(max(flat), 2)
    return found


def part(values: Json) -> Json:
    """The values as the report of `make bench` reads them, and all of them under ``raw``."""
    ours = of(values, OURS)
    tenth = [run["latencyMillis"] for run in ours]
    worst = max(tenth, key=lambda one: one["last"]["p99"] / one["first"]["p99"])
    run = {
        "jobs": ours[0]["objects"],
        "perSecond": {
            subject.name: [run["perSecond"] for run in of(values, subject)]
            for subject in ALL
            if of(values, subject)
        },
        "firstTenthP99Millis": worst["first"]["p99"],
        "lastTenthP99Millis": worst["last"]["p99"],
        "operatorMebibytes": values["operatorPeakMiB"],
        "operatorCpuMillis": statistics.median(run["cpuMillis"]["operator"] for run in ours),
    }
    return {"runs": [run], "raw": values}


def rows(values: Json) -> dict[str, Sequence[str]]:
    """The cells of each subject by its title, in the columns of HEAD."""
    pods = rate(values, PODS)
    found: dict[str, Sequence[str]] = {}
    for subject in ALL:
        runs = of(values, subject)
        own = rate(values, subject)
        if own is None:
            continue
        operator = _median(runs, lambda run: run["cpuMillis"]["operator"])
        found[subject.title] = (
            str(runs[0]["objects"]),
            f"{own:.1f}",
            f"{own / pods:.2f}" if pods else "-",
            _tenth(runs, "first"),
            _tenth(runs, "last"),
            f"{_median(runs, lambda run: run['writes']):.1f}",
            f"{operator:.1f}" if subject is OURS else "-",
            f"{_median(runs, lambda run: run['cpuMillis']['kube-apiserver']):.1f}",
        )
    return found


def request_rows(values: Json) -> list[Sequence[str]]:
    """API requests per object by client and request, in the columns of REQUESTS_HEAD."""
    columns = [_requests(of(values, subject)) for subject in (PODS, JOBS_EQUAL, OURS)]
    keys = sorted({key for column in columns for key in column})
    return [
        (client, request, *(_count(column.get((client, request))) for column in columns))
        for client, request in keys
    ]


def _requests(runs: list[Json]) -> dict[tuple[str, str], float]:
    """The requests of the last round; all rounds have the same ones."""
    listed = runs[-1]["requests"] if runs else []
    return {(r["client"], f"{r['verb']} {r['resource']}"): r["perJob"] for r in listed}


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _median(runs: list[Json], value: Callable[[Json], float]) -> float:
    return statistics.median(value(run) for run in runs)


def _tenth(runs: list[Json], part: str) -> str:
    def median(name: str) -> str:
        return f"{_median(runs, lambda run: run['latencyMillis'][part][name]):.0f}"

    return f"{median('p50')} / {median('p99')}"
