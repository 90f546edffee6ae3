"""From the JSON of `make bench` to docs/performance.md and its charts. Pure."""

from collections.abc import Sequence
from typing import Final

from nanogrid.types import Json
from support.benchmark import data, sections
from support.benchmark import subjects as s
from support.benchmark.charts import Bar, bars, curves
from support.benchmark.goals import GOALS, Verdict, verdicts
from support.benchmark.text import cell, markdown_table
from support.figures import median_interval

LATENCY_CHART: Final = "performance-latency.svg"
BURST_CHART: Final = "performance-burst.svg"

INTRODUCTION: Final = """# Performance

How fast a job starts and how soon its result is known, compared with what Kubernetes does itself. `make bench` measures and writes this page,
its charts and [the numbers behind it](performance.json): do not edit it.
"""

METHOD: Final = """## How it is measured

- **One observer, one clock.** One process creates everything, watches everything and subscribes to Redis. All times are differences of its
  monotonic clock, from just before the create request. The code prints the same clock as its first instruction: the nodes are containers of this
  machine. On nodes with another clock that column is empty.
- **Equal subjects.** All run the same code in the same image with the same limits, security context and pull policy, in one namespace.
  "The same containers and volumes" is a copy of the pod that the operator has made, whose agent does nothing and whose sandbox runs the code directly.
- **Interleaved.** Each round runs every subject once, in random order, each after the pods of the one before it are gone. Ratios are of the two values of
  one round: load that lasts longer than a round affects both. A first round is not counted.
- **Result known**: a message at a Redis subscriber, or for a session the HTTP answer. Other subjects have no result but their terminal state; the output
  of a Job is still to be read from its log then.
- **Terminal state** in a watch: the phase of a pod or of an ExecutionJob, the condition Complete of a batch/v1 Job.
- **Intervals** are 95 % bootstrap intervals of the median. One value has no interval.
- **Foreign load.** Before each round the machine is observed while the cluster is idle. A round is marked if it is busier than the quietest one by more
  than 10 % of all processors, or if the hypervisor takes more than 2 %. Marked rounds are counted; their ratios are still of pairs.
- Steal, load and every value of every round are in [performance.json](performance.json).

## What it does not show

One machine has no network between nodes, no pull from a registry, no start of a virtual machine, and S3 and Redis without a way to them. The
client's connection goes through a port-forward. Compare ratios, not milliseconds, with another machine's.

## Repeat it

```console
$ make demo     # creates a cluster if there is none
$ make bench    # 12 minutes; BENCH=quick make bench: 3 minutes, with small numbers
```

`make bench ARGS='--help'` lists options: `--only inline` measures one subject, `--rounds 24` more rounds, `--output FOLDER` another
place than `docs`. A run of only some parts writes to `build/bench`. [Capacity](capacity.md) has the figures of gateway and router.
"""


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


def images(document: Json) -> dict[str, str]:
    """The charts by file name."""
    found = {LATENCY_CHART: latency_chart(document), BURST_CHART: burst_chart(document)}
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
    parts: Sequence[str] = (
        INTRODUCTION.strip(),
        sections.run(document),
        goals_section(document),
        sections.latency(document, LATENCY_CHART if LATENCY_CHART in drawn else ""),
        sections.burst(document, BURST_CHART if BURST_CHART in drawn else ""),
        sections.pools(document),
        sections.operator(document),
        sections.sync(document),
        sections.control_plane(document),
        sections.skipped(document),
        METHOD.strip(),
    )
    return "\n\n".join(part for part in parts if part) + "\n"
