"""From the JSON of `make bench` to docs/performance.md and its charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nanogrid.types import Json
from support.benchmark import data, sections, timeline
from support.benchmark import subjects as s
from support.benchmark.charts import Bar, bars, curves, stacked
from support.benchmark.goals import GOALS, Verdict, verdicts
from support.benchmark.text import cell, markdown_table
from support.figures import median_interval

LATENCY_CHART: Final = "performance-latency.svg"
BURST_CHART: Final = "performance-burst.svg"
TIMELINE_CHART: Final = "performance-timeline.svg"

# The text that has no figures: before the first line of dashes comes the beginning of the page.
TEXT: Final = Path(__file__).with_name("page.txt")


def latency_chart(document: Json) -> str:
    """The latency table as bars; empty without a value."""
    rows = {}
    for subject in s.LATENCY:
        found = []
        for number, column in enumerate(s.COLUMNS):
            if values := data.column(document, (subject, column)):
                one = median_interval(values)
                found.append(Bar(number, one.median, one.low, one.high))
        if found:
            rows[sections.short(subject)] = found
    if not rows:
        return ""
    return bars("From the create request, median and 95 % interval", list(s.TITLES.values()), rows,
                "ms")  # fmt: skip


def burst_chart(document: Json) -> str:
    """How many of the largest bursts have ended over time, of the first round; empty without."""
    series = {}
    for subject in (s.BURST_POOL, s.BURST_BATCH, s.BURST_PODS, s.BURST_JOBS):
        if found := data.bursts(document, subject):
            largest = max(found, key=lambda one: (one["jobs"], -one["round"]))
            name = f"{largest['jobs']} {subject.title}, terminal state"
            series[name] = [at / 1000 for at in largest["terminal"]]
    return curves("Ended since the first create request", series, "s") if series else ""


def timeline_chart(document: Json) -> str:
    """The steps of each job in a line; empty if no run has them."""
    found = timeline.timelines(document)
    if not any(s.POD_CREATED in ends for ends in found.values()):
        return ""
    order = list(timeline.STEPS)
    rows = {
        sections.short(subject): [
            (order.index(column), length) for column, length in timeline.durations(ends).items()
        ]
        for subject, ends in found.items()
    }
    return stacked("From the create request, medians", list(timeline.STEPS.values()), rows, "ms")


def images(document: Json) -> dict[str, str]:
    """The charts by file name."""
    found = {
        LATENCY_CHART: latency_chart(document),
        TIMELINE_CHART: timeline_chart(document),
        BURST_CHART: burst_chart(document),
    }
    return {name: text for name, text in found.items() if text}


def _figure(verdict: Verdict) -> str:
    if verdict.found is None:
        return f"not measured: {verdict.why}"
    return cell(verdict.found, verdict.goal.unit)


def _conclusion(verdict: Verdict) -> str:
    if verdict.met is None:
        return "–"
    text = "met" if verdict.met else "**not met**"
    one_value = verdict.found is not None and verdict.found.low == verdict.found.high
    return text if verdict.certain or one_value else f"{text}; the interval includes the bound"


def goals_table(document: Json) -> str:
    """Each goal, its bound, what was measured, and whether it is met."""
    rows = []
    for verdict in verdicts(document):
        goal = verdict.goal
        sign = "≥" if goal.at_least else "≤"
        bound = f"{sign} {goal.bound:g} {goal.unit}".strip()
        rows.append([goal.key, goal.text, bound, _figure(verdict), _conclusion(verdict)])
    return markdown_table(("", "goal", "bound", "median (95 % interval, values)", ""), rows)


def goals_section(document: Json) -> str:
    """The goals, and how many are met."""
    found = verdicts(document)
    met = sum(verdict.met is True for verdict in found)
    missing = sum(verdict.met is None for verdict in found)
    counts = f"{met} of {len(GOALS)} bounds are met, {missing} are not measured in this run."
    return (
        f"## Goals\n\n{counts} A ratio is that of the pairs of one run.\n\n{goals_table(document)}"
    )


def page(document: Json) -> str:
    """docs/performance.md."""
    drawn = images(document)
    introduction, _, method = TEXT.read_text(encoding="utf-8").partition("\n----\n")
    parts: Sequence[str] = (
        introduction.strip(),
        sections.run(document),
        goals_section(document),
        sections.latency(document, LATENCY_CHART if LATENCY_CHART in drawn else ""),
        timeline.section(document, TIMELINE_CHART if TIMELINE_CHART in drawn else ""),
        sections.burst(document, BURST_CHART if BURST_CHART in drawn else ""),
        sections.pools(document),
        sections.operator(document),
        sections.sync(document),
        sections.control_plane(document),
        sections.skipped(document),
        method.strip(),
    )
    return "\n\n".join(part for part in parts if part) + "\n"
