"""Why a job is as it is: cause, evidence, cure and timeline. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid.cli.reasoning import help_of
from nanogrid.cli.times import clock, duration, parse_time
from nanogrid.reasons import Reason

Json = dict[str, Any]
TAIL_LINES: Final = 8
EVENT_LINES: Final = 5
_STEPS: Final = (
    ("pendingMillis", "waited for its pod"),
    ("syncMillis", "inputs copied and verified"),
    ("startMillis", "process started"),
    ("executionMillis", "code ran"),
    ("uploadMillis", "outputs stored"),
    ("totalMillis", "whole job"),
)


@dataclass(frozen=True)
class Step:
    """Something that happened; ``at`` is seconds since the epoch, or None."""

    at: float | None
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The answer of ``why``."""

    name: str
    namespace: str
    phase: str
    reason: str
    cause: str
    cure: str
    evidence: list[str] = field(default_factory=list)
    phases: list[tuple[str, int]] = field(default_factory=list)  # what, milliseconds
    timeline: list[Step] = field(default_factory=list)

    def to_json(self) -> Json:
        """For -o json."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "phase": self.phase,
            "reason": self.reason,
            "cause": self.cause,
            "cure": self.cure,
            "evidence": self.evidence,
            "phases": [{"what": what, "millis": millis} for what, millis in self.phases],
            "timeline": [
                {"at": one.at, "what": one.what, "detail": one.detail} for one in self.timeline
            ],
        }


def diagnose(job: Json, pod: Json | None, events: Sequence[Json]) -> Diagnosis:
    """Explain a job.

    Args:
        job: the ExecutionJob.
        pod: its newest pod, if there is one.
        events: Events of job and pod, in any order.
    """
    status = job.get("status") or {}
    phase = status.get("phase") or "Pending"
    reason = status.get("reason") or _pod_reason(pod) or ""
    known = help_of(reason)
    if not reason and not status:
        cause, cure = _unseen(job)
    else:
        cause = known.meaning if known else status.get("message") or "Nothing is known yet."
        cure = known.cure if known else "Look at the events below; wait a moment and ask again."
    return Diagnosis(
        name=job["metadata"]["name"],
        namespace=job["metadata"].get("namespace", ""),
        phase=phase,
        reason=reason,
        cause=cause,
        cure=cure,
        evidence=_evidence(status, cause, cure, pod, events),
        phases=_phases(status),
        timeline=_timeline(job, pod, events),
    )


def _unseen(job: Json) -> tuple[str, str]:
    return (
        "The operator has not acted upon the job yet.",
        "If this stays: `nanogrid doctor` tells whether the operator is there and ready, and "
        "whether it watches this namespace.",
    )


def _pod_reason(pod: Json | None) -> str:
    status = (pod or {}).get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("reason") == "Unschedulable":
            return str(Reason.UNSCHEDULABLE)
    return ""


def _evidence(
    status: Json, cause: str, cure: str, pod: Json | None, events: Sequence[Json]
) -> list[str]:
    lines: list[str] = []
    message = str(status.get("message") or "").removesuffix(cure).strip().removeprefix(cause)
    if message.strip():
        lines.append(message.strip())
    result = status.get("result") or {}
    if result.get("exitCode") and f"code {result['exitCode']}" not in message:
        signal = f", signal {result['signal']}" if result.get("signal") else ""
        lines.append(f"exit code {result['exitCode']}{signal}")
    if status.get("peakMemory"):
        lines.append(f"peak memory {status['peakMemory']}")
    if result.get("optimizationTip"):
        lines.append(str(result["optimizationTip"]))
    lines += _tail("stderr", result)
    lines += _unhappy(status)
    lines += _containers(pod)
    lines += _warnings([one for one in events if one.get("reason") != status.get("reason")])
    return lines


def _tail(stream: str, result: Json) -> list[str]:
    text = [line for line in str(result.get(stream) or "").splitlines() if line.strip()]
    return [f"{stream}: {line}" for line in text[-TAIL_LINES:]]


def _unhappy(status: Json) -> list[str]:
    """Conditions that are false and say more than the status does."""
    said = (status.get("reason"), str(Reason.NOT_EXECUTED))
    return [
        f"{one['type']}: {one['reason']} {one.get('message', '')}".rstrip()
        for one in status.get("conditions", [])
        if one["status"] == "False" and one.get("reason") not in said
    ]


def _containers(pod: Json | None) -> list[str]:
    lines = []
    status = (pod or {}).get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(kind, []):
            state = one.get("state", {})
            waiting, ended = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
                said = f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip()
                lines.append(f"container {one['name']} waits: {said}")
            elif ended and ended.get("exitCode"):
                said = ended.get("reason", "")
                lines.append(f"container {one['name']} ended with {ended['exitCode']} {said}")
    for condition in status.get("conditions", []):
        if condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
            lines.append(f"scheduler: {condition.get('message', '')}")
    return [line.strip() for line in lines]


def _when(event: Json) -> float | None:
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


def _warnings(events: Sequence[Json]) -> list[str]:
    found = [one for one in events if one.get("type") == "Warning"]
    found.sort(key=lambda one: _when(one) or 0.0)
    said = [f"event {one.get('reason', '')}: {_one_line(one)}" for one in found]
    return list(dict.fromkeys(said))[-EVENT_LINES:]


def _one_line(event: Json) -> str:
    return " ".join(str(event.get("message") or event.get("note") or "").split())


def _phases(status: Json) -> list[tuple[str, int]]:
    timings = status.get("timings") or {}
    return [(what, timings[key]) for key, what in _STEPS if timings.get(key)]


def _timeline(job: Json, pod: Json | None, events: Sequence[Json]) -> list[Step]:
    status = job.get("status") or {}
    steps = [Step(parse_time(job["metadata"].get("creationTimestamp")), "job created")]
    for one in status.get("attempts", []):
        detail = f"{one['reason']}, pod {one['podName']}"
        begun = parse_time(one.get("startTime"))
        ended = parse_time(one.get("completionTime"))
        steps.append(Step(begun, f"attempt {one['number']} began"))
        steps.append(Step(ended, f"attempt {one['number']} ended", detail))
    if pod is not None:
        made = parse_time(pod["metadata"].get("creationTimestamp"))
        node = pod.get("spec", {}).get("nodeName", "no node yet")
        steps.append(Step(made, "pod created", f"{pod['metadata']['name']} on {node}"))
    for one in status.get("conditions", []):
        truth = "" if one["status"] == "True" else " no"
        detail = f"{one['reason']} {one.get('message', '')}".strip()
        at = parse_time(one.get("lastTransitionTime"))
        steps.append(Step(at, f"{one['type']}:{truth or ' yes'}", detail))
    for one in events:
        steps.append(Step(_when(one), f"event {one.get('reason', '')}", _one_line(one)))
    # Stable: what has the same second keeps the order of cause and effect above.
    return sorted(steps, key=lambda one: one.at if one.at is not None else float("inf"))


def to_text(found: Diagnosis) -> str:
    """What people read."""
    reason = f": {found.reason}" if found.reason else ""
    lines = [f"{found.namespace}/{found.name}  {found.phase}{reason}", "", f"cause  {found.cause}"]
    lines += [f"       {line}" for line in found.evidence]
    lines += [f"cure   {found.cure}"]
    if found.phases:
        lines += ["", "phases"]
        lines += [f"  {duration(millis):>8}  {what}" for what, millis in found.phases]
    lines += ["", "timeline (UTC)"]
    lines += [f"  {clock(one.at)}  {one.what}  {one.detail}".rstrip() for one in found.timeline]
    return "\n".join(lines) + "\n"
