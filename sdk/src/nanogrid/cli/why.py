"""Explains the state of a job: cause, evidence, hint and timeline. Pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from nanogrid.cli.app.formatting import clock, duration, parse_time
from nanogrid.cli.app.job_tables import memory_text
from nanogrid.cli.not_processed import not_processed
from nanogrid.cli.timeline import Step, one_line, time_of, timeline
from nanogrid.controller_class import class_of
from nanogrid.hints import Surface, hint_for, reworded, without_hint
from nanogrid.job_start import job_start
from nanogrid.lifecycle import NOT_STARTED
from nanogrid.reasons import Reason, help_of
from nanogrid.shown_memory import shown_memory
from nanogrid.types import Json
from nanogrid.visible_text import printable_lines

TAIL_LINES: Final = 8
NEAR_LIMIT: Final = 0.9  # of the memory limit
REPEATED: Final = 0.25  # of a line's words must be new
_FRAME: Final = frozenset({"event", "failed", "backoff", "error", "container", "is", "waiting"})
_WORD: Final = re.compile(r"[\w./:@-]*\w")
# With these reasons, a probe that failed is a cause.
_NOT_READY: Final = (Reason.STARTUP_TIMEOUT, Reason.AGENT_FAILED, Reason.SESSION_UNREACHABLE)
EVENT_LINES: Final = 5
SHORT_DETAIL: Final = 40  # characters
UNKNOWN_HINT: Final = "See the timeline below. Wait a moment and run `nanogrid why` again."
_STEPS: Final = (
    ("pendingMillis", "waited for the pod"),
    ("syncMillis", "inputs copied and verified"),
    ("startMillis", "process started"),
    ("executionMillis", "code ran"),
    ("uploadMillis", "outputs stored"),
    ("totalMillis", "whole job"),
)


@dataclass(frozen=True)
class Diagnosis:
    """The result of ``why``."""

    name: str
    namespace: str
    phase: str
    reason: str
    cause: str
    hint: str
    start: str = ""  # Warm or Cold, and why a job with a pool started cold
    evidence: list[str] = field(default_factory=list)
    phases: list[tuple[str, int]] = field(default_factory=list)  # phase, milliseconds
    timeline: list[Step] = field(default_factory=list)

    def to_json(self) -> Json:
        """The diagnosis for -o json."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "phase": self.phase,
            "reason": self.reason,
            "cause": self.cause,
            "hint": self.hint,
            "start": self.start,
            "evidence": self.evidence,
            "phases": [{"what": what, "millis": millis} for what, millis in self.phases],
            "timeline": [
                {"at": one.at, "what": one.what, "detail": one.detail} for one in self.timeline
            ],
        }


def diagnose(
    job: Json,
    pod: Json | None,
    events: Sequence[Json],
    classes: Collection[str] | None = None,
) -> Diagnosis:
    """Explain a job.

    Args:
        job: the ExecutionJob.
        pod: its newest pod, or None.
        events: Events of the job and its pods, in any order.
        classes: the controller classes of the operators in the cluster; None if unknown.
    """
    status = job.get("status") or {}
    phase = status.get("phase") or "Pending"
    reason = status.get("reason") or _pod_reason(pod) or ""
    known = help_of(reason)
    if not reason and not status:
        cause, hint = not_processed(class_of(job), classes)
    else:
        cause = known.meaning if known else status.get("message") or "The cause is not known yet."
        hint = hint_for(reason, Surface.CLI, job["metadata"]["name"]) or UNKNOWN_HINT
    return Diagnosis(
        name=job["metadata"]["name"],
        namespace=job["metadata"].get("namespace", ""),
        phase=phase,
        reason=reason,
        cause=cause,
        hint=hint,
        start=job_start(status),
        evidence=[
            reworded(line, Surface.CLI, job["metadata"]["name"])
            for line in _evidence(status, cause, pod, _since(job, events))
        ],
        phases=_phases(status),
        timeline=timeline(job, pod, events),
    )


def _since(job: Json, events: Sequence[Json]) -> list[Json]:
    """The Events since the job exists: before, its pod may have waited in a pool."""
    created = parse_time(job["metadata"].get("creationTimestamp")) or 0.0
    return [one for one in events if (at := time_of(one)) is None or at >= created]


def _pod_reason(pod: Json | None) -> str:
    status = (pod or {}).get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("reason") == "Unschedulable":
            return str(Reason.UNSCHEDULABLE)
    return ""


def _evidence(status: Json, cause: str, pod: Json | None, events: Sequence[Json]) -> list[str]:
    reason = str(status.get("reason") or "")
    lines: list[str] = []
    message = without_hint(reason, str(status.get("message") or "")).strip().removeprefix(cause)
    if message.strip():
        lines.append(message.strip())
    result = status.get("result") or {}
    if result.get("exitCode") and f"code {result['exitCode']}" not in message:
        signal = f", signal {result['signal']}" if result.get("signal") else ""
        lines.append(f"exit code {result['exitCode']}{signal}")
    if status.get("memory"):
        lines.append(f"memory {memory_text(status)}")
    elif _about_memory(reason, status):
        lines.append(f"peak memory {status['peakMemory']}" if status.get("peakMemory") else "")
        lines.append(str(result.get("optimizationTip") or ""))
    lines += _tail("stderr", result)
    lines += _false_conditions(status)
    if result.get("exitCode") is None:
        # Otherwise the code has run: what the pod waited for before is no cause of its end.
        found = _containers(pod)
        found += _warnings([one for one in events if _fits(one, reason)])
        lines += distinct(found, lines)
    return [line for line in lines if line]


def _about_memory(reason: str, status: Json) -> bool:
    """Whether the memory that was used explains the end, or is the only thing to improve."""
    if reason in (Reason.OOM_KILLED, Reason.COMPLETED, Reason.EVICTED):
        return True
    _, peak, limit = shown_memory(status)
    return peak is not None and limit is not None and peak >= NEAR_LIMIT * limit


def _fits(event: Json, reason: str) -> bool:
    """Whether an Event may explain the state: not the job's own, nor a probe that failed once."""
    if event.get("reason") == "Unhealthy":
        return reason in _NOT_READY
    return event.get("reason") != reason


def distinct(lines: Sequence[str], before: Sequence[str]) -> list[str]:
    """The lines that say something new: they are not made of words of the lines before."""
    kept: list[str] = []
    known = {word for line in before for word in _words(line)}
    for line in lines:
        words = _words(line)
        if len(words - known) > REPEATED * len(words):
            kept.append(line)
            known |= words
    return kept


def _words(line: str) -> set[str]:
    """The words of a line without those that begin each line of evidence."""
    return set(_WORD.findall(line.lower())) - _FRAME


def _tail(stream: str, result: Json) -> list[str]:
    text = [line for line in str(result.get(stream) or "").splitlines() if line.strip()]
    return [f"{stream}: {line}" for line in text[-TAIL_LINES:]]


def _false_conditions(status: Json) -> list[str]:
    """Conditions that are False and add a reason to that of the status."""
    known = (status.get("reason"), str(Reason.NOT_EXECUTED))
    return [
        f"{one['type']}: {one['reason']} {one.get('message', '')}".rstrip()
        for one in status.get("conditions", [])
        if one["status"] == "False" and one.get("reason") not in known
    ]


def _containers(pod: Json | None) -> list[str]:
    lines = []
    status = (pod or {}).get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(kind, []):
            state = one.get("state", {})
            waiting, ended = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
                detail = f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip()
                lines.append(f"container {one['name']} is waiting: {detail}")
            elif ended and ended.get("exitCode"):
                lines.append(_ended(one["name"], ended))
    for condition in status.get("conditions", []):
        if condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
            lines.append(f"scheduler: {condition.get('message', '')}")
    return [line.strip() for line in lines]


def _ended(name: str, ended: Json) -> str:
    """How a container failed; the message of one that ran is the agent's own report."""
    reason = ended.get("reason", "")
    if reason in NOT_STARTED:
        return f"container {name} did not start: {reason} {ended.get('message', '')}"
    return f"container {name} exited with {ended['exitCode']} {reason}"


def _warnings(events: Sequence[Json]) -> list[str]:
    warnings = [one for one in events if one.get("type") == "Warning"]
    warnings.sort(key=lambda one: time_of(one) or 0.0)
    lines = [f"event {one.get('reason', '')}: {one_line(one)}" for one in warnings]
    return list(dict.fromkeys(lines))[-EVENT_LINES:]


def _phases(status: Json) -> list[tuple[str, int]]:
    timings = status.get("timings") or {}
    return [(what, timings[key]) for key, what in _STEPS if timings.get(key)]


def to_text(diagnosis: Diagnosis) -> str:
    """The diagnosis as text."""
    reason = f": {diagnosis.reason}" if diagnosis.reason else ""
    title = f"{diagnosis.namespace}/{diagnosis.name}  {diagnosis.phase}{reason}"
    lines = [title, "", f"cause  {diagnosis.cause}"]
    lines += [f"       {line}" for line in diagnosis.evidence]
    lines += [f"hint   {diagnosis.hint}"]
    if diagnosis.start:
        lines += [f"start  {diagnosis.start}"]
    if diagnosis.phases:
        lines += ["", "phases"]
        lines += [f"  {duration(millis):>8}  {what}" for what, millis in diagnosis.phases]
    lines += ["", "timeline (UTC)"]
    said = [diagnosis.cause, *diagnosis.evidence, diagnosis.start]
    for one in diagnosis.timeline:
        # A long detail that is evidence above, or in a step before, is not printed again.
        new = len(one.detail) <= SHORT_DETAIL or bool(distinct([one.detail], said))
        said += [one.detail] if new else []
        lines.append(f"  {clock(one.at)}  {one.what}  {one.detail if new else ''}".rstrip())
    return printable_lines("\n".join(lines)) + "\n"
