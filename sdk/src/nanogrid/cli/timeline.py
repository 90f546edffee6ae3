"""The timeline of a job: its attempts, its pod, its conditions and Events in order. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from nanogrid import names
from nanogrid.cli.app.formatting import parse_time
from nanogrid.types import Json


@dataclass(frozen=True)
class Step:
    """One event of the timeline; ``at`` is in seconds since the epoch, or None."""

    at: float | None
    what: str
    detail: str = ""


def timeline(job: Json, pod: Json | None, events: Sequence[Json]) -> list[Step]:
    """The steps in the order of their times, those without one last."""
    status = job.get("status") or {}
    steps = [Step(parse_time(job["metadata"].get("creationTimestamp")), "job created")]
    for one in status.get("attempts", []):
        detail = f"{one['reason']}, pod {one['podName']}"
        started = parse_time(one.get("startTime"))
        ended = parse_time(one.get("completionTime"))
        steps.append(Step(started, f"attempt {one['number']} started"))
        steps.append(Step(ended, f"attempt {one['number']} ended", detail))
    if pod is not None:
        created = parse_time(pod["metadata"].get("creationTimestamp"))
        node = pod.get("spec", {}).get("nodeName", "no node yet")
        pool = (pod["metadata"].get("labels") or {}).get(names.LABEL_POOL)
        what = f"pod created, to wait in pool {pool}" if pool else "pod created"
        steps.append(Step(created, what, f"{pod['metadata']['name']} on {node}"))
    for one in status.get("conditions", []):
        answer = "yes" if one["status"] == "True" else "no"
        detail = f"{one['reason']} {one.get('message', '')}".strip()
        at = parse_time(one.get("lastTransitionTime"))
        steps.append(Step(at, f"{one['type']}: {answer}", detail))
    for one in events:
        steps.append(Step(time_of(one), f"event {one.get('reason', '')}", one_line(one)))
    # The sort is stable: within one second, the order above (cause before effect) is kept.
    return sorted(steps, key=lambda one: one.at if one.at is not None else float("inf"))


def time_of(event: Json) -> float | None:
    """When an Event was last seen, in seconds since the epoch."""
    series = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    ):
        if text:
            return parse_time(text)
    return None


def one_line(event: Json) -> str:
    """The message of an Event without line breaks."""
    return " ".join(str(event.get("message") or event.get("note") or "").split())
