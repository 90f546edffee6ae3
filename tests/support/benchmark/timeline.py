"""Where the time of a job goes: the median time of each step, from its create request. Pure."""

from collections.abc import Mapping
from typing import Final

from nanogrid.types import Json
from support.benchmark import data
from support.benchmark import subjects as s
from support.benchmark.text import NONE, markdown_table, number
from support.figures import median_interval

# Each step ends where its column says. A step without a value in a subject belongs to the next one.
STEPS: Final = {
    s.POD_CREATED: "operator: creates or claims the pod",
    s.POD_BOUND: "scheduler: chooses a node",
    s.PROCESS_STARTED: "kubelet: volumes, network, containers before the sandbox's",
    s.FIRST: "agent and launcher: network test, hand-over",
    s.RESULT: "code, report, Redis",
    s.TERMINAL: "status",
}
SUBJECTS: Final = (s.POD, s.POD_VOLUME, s.INLINE, s.S3_INIT, s.S3_AGENT, s.WARM, s.WARM_S3)
WAITED: Final = (s.POD_BOUND, s.PROCESS_STARTED)  # before a job has claimed the pod


def steps(document: Json, subject: s.Subject) -> dict[str, float]:
    """The median time of the end of each step in ms, of those that the subject has; increasing."""
    found: dict[str, float] = {}
    for column in STEPS:
        values = data.column(document, (subject, column))
        if not values or (column in WAITED and subject in (s.WARM, s.WARM_S3)):
            continue
        middle = median_interval(values).median
        found[column] = max([middle, *found.values()])
    return found


def timelines(document: Json) -> dict[s.Subject, dict[str, float]]:
    """The steps of all subjects of which the start of the code is known."""
    found = {subject: steps(document, subject) for subject in SUBJECTS}
    return {subject: ends for subject, ends in found.items() if s.FIRST in ends}


def durations(ends: Mapping[str, float]) -> dict[str, float]:
    """How long each step takes, in ms."""
    found, before = {}, 0.0
    for column, end in ends.items():
        found[column], before = end - before, end
    return found


def section(document: Json, chart: str) -> str:
    """The table of steps; empty if no run has them."""
    rows = []
    found = timelines(document)
    if not any(s.POD_CREATED in ends for ends in found.values()):
        return ""
    for subject, ends in found.items():
        took = durations(ends)
        cells = [number(took[column]) if column in took else NONE for column in STEPS]
        rows.append([subject.title, *cells])
    head = ("ms between the medians", *STEPS.values())
    note = (
        "The time of a step is the difference between the medians of its end and of the end of the "
        "step before. The operator's step ends when the observer sees the pod, the scheduler's "
        "when it sees the node in the pod, the kubelet's when the first process of the container "
        "with the code starts. A bare pod has no steps before that one. A job on a pool finds its "
        "containers running."
    )
    parts = ["## Where the time goes", markdown_table(head, rows)]
    if chart:
        parts.append(f"![Bars of the table above](images/{chart})")
    return "\n\n".join([*parts, note])
