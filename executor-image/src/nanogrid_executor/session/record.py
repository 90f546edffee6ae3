"""From the end of an execution to its record and its answer: pure functions.

The record is what S3 keeps; the answer is made from it alone, so a repeated question gets the same
answer. ``execution_num``, ``timestamp``, ``code``, ``stdout`` and ``container_ip`` are the older
system's keys.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason, sentence
from nanogrid_executor.capture import Capture, shorten, shorten_text
from nanogrid_executor.result import SIGKILL, Verdict
from nanogrid_executor.session.port import ExecutionEnd, ExecutionOrder

SHELL_PREFIX: Final = "BASH: "
RECORD_STREAM_BYTES: Final = 1024 * 1024
RESULTS_BYTES: Final = 4 * 1024 * 1024  # of all display data of one execution

ANSWER_KEYS: Final = (
    "execution_num", "status", "success", "reason", "exit_code", "signal", "stdout", "stderr",
    "output", "error", "results", "resultsDropped", "context", "contextNew", "durationMillis",
    "cpuMillis", "peakMemoryBytes", "memorySource", "stdoutTruncated", "stderrTruncated",
    "container_ip", "timestamp", "sandboxRestarted",
)  # fmt: skip


@dataclass(slots=True)
class Observed:
    """What is seen of one execution while it runs; times are seconds since the epoch."""

    order: ExecutionOrder
    accepted: float
    stdout: Capture = field(default_factory=lambda: Capture(RECORD_STREAM_BYTES))
    stderr: Capture = field(default_factory=lambda: Capture(RECORD_STREAM_BYTES))
    results: list[dict[str, str]] = field(default_factory=list)
    results_bytes: int = 0
    results_dropped: int = 0
    started: float | None = None
    start_millis: int | None = None

    def display(self, bundle: dict[str, str]) -> bool:
        """Keep display data while there is room; False when there was none."""
        size = sum(len(kind) + len(data) for kind, data in bundle.items())
        if self.results_bytes + size > RESULTS_BYTES:
            self.results_dropped += 1
            return False
        self.results_bytes += size
        self.results.append(bundle)
        return True

    def clear(self) -> None:
        """Give back the memory."""
        self.stdout, self.stderr, self.results = Capture(), Capture(), []


def judge(end: ExecutionEnd, order: ExecutionOrder) -> Verdict:
    """Status and reason of an execution that had its turn; the first cause that applies."""
    failed = wire.STATUS_FAILED
    if end.sandbox_lost and not end.oom_killed:
        return Verdict(failed, Reason.SANDBOX_RESTARTED, end.error or "")
    if end.error is not None:
        return Verdict(failed, Reason.ENTRYPOINT_NOT_FOUND, end.error)
    if end.timed_out:
        detail = f"It was stopped after {order.timeout_seconds:g} s"
        return Verdict(wire.STATUS_TIMEOUT, Reason.EXECUTION_TIMEOUT, detail)
    if end.oom_killed and (end.signal in (SIGKILL, None)):
        return Verdict(failed, Reason.OOM_KILLED)
    if end.interrupted:
        return Verdict(failed, Reason.EXECUTION_INTERRUPTED)
    if end.context_lost:
        return Verdict(failed, Reason.CONTEXT_LOST, end.signal or f"Exit code {end.exit_code}")
    if end.signal is not None:
        return Verdict(failed, Reason.SIGNALED, end.signal)
    if end.exit_code != 0:
        return Verdict(failed, Reason.NON_ZERO_EXIT, f"Exit code {end.exit_code}")
    return Verdict(wire.STATUS_SUCCESS, Reason.COMPLETED)


def build(
    observed: Observed,
    end: ExecutionEnd,
    verdict: Verdict,
    identity: dict[str, Any],
    *,
    ended: float,
    sandbox_restarted: bool,
) -> dict[str, Any]:
    """The record.

    Args:
        observed: what was seen.
        end: how it ended; blank when it never had its turn.
        verdict: what to call that.
        identity: ``session_id``, ``container_ip`` and the like, as they are.
        ended: when, in seconds since the epoch.
        sandbox_restarted: whether the sandbox is another one than at the answer before.
    """
    order, success = observed.order, verdict.status == wire.STATUS_SUCCESS
    began = observed.started if observed.started is not None else ended
    return {
        "execution_num": order.number,
        "timestamp": stamp(began),
        "code": SHELL_PREFIX + order.code if order.shell else order.code,
        "stdout": observed.stdout.text(),
        **identity,
        "status": verdict.status,
        "success": success,
        "reason": verdict.reason.value,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "stderr": observed.stderr.text(),
        "error": None if success else sentence(verdict.reason, verdict.detail),
        "results": observed.results,
        "resultsDropped": observed.results_dropped,
        "context": order.context,
        "contextNew": end.context_new,
        "shell": order.shell,
        "timeoutSeconds": order.timeout_seconds,
        "acceptedAt": stamp(observed.accepted),
        "startedAt": stamp(observed.started) if observed.started is not None else None,
        "endedAt": stamp(ended),
        "queuedMillis": max(0, int((began - observed.accepted) * 1000)),
        "startMillis": observed.start_millis,
        "durationMillis": end.duration_millis,
        "cpuMillis": end.cpu_millis,
        "peakMemoryBytes": end.peak_memory_bytes,
        "memorySource": end.memory_source,
        "stdoutBytes": observed.stdout.count,
        "stderrBytes": observed.stderr.count,
        "stdoutTruncated": observed.stdout.truncated,
        "stderrTruncated": observed.stderr.truncated,
        "sandboxRestarted": sandbox_restarted,
    }


def answer(record: dict[str, Any], *, recorded: bool) -> dict[str, Any]:
    """The body that ``POST /execute`` answers with; ``recorded``: the record is in S3 by now."""
    whole = dict(record)
    for stream in ("stdout", "stderr"):
        short = _short(record[stream], record[f"{stream}Bytes"], wire.STREAM_CAP_BYTES)
        whole[stream] = short
        whole[f"{stream}Truncated"] = record[f"{stream}Truncated"] or short != record[stream]
    whole["output"] = whole["stdout"]
    return {key: whole.get(key) for key in ANSWER_KEYS} | {"recorded": recorded}


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """A line of ``GET /executions``."""
    keys = ("execution_num", "status", "reason", "exit_code", "context", "timestamp", "endedAt")
    return {key: record.get(key) for key in (*keys, "durationMillis")}


def cut(record: dict[str, Any], stream_bytes: int) -> dict[str, Any]:
    """The record with less of its streams and no display data, for when there is no room."""
    dropped = record["resultsDropped"] + len(record["results"])
    short = {
        name: _short(record[name], record[f"{name}Bytes"], stream_bytes)
        for name in ("stdout", "stderr")
    }
    truncated = {
        f"{name}Truncated": record[f"{name}Truncated"] or short[name] != record[name]
        for name in short
    }
    short["code"] = shorten_text(record["code"], stream_bytes)
    return {**record, **short, **truncated, "results": [], "resultsDropped": dropped}


def stamp(seconds: float) -> str:
    """A time in UTC as ISO 8601 with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _short(text: str, count: int, cap: int) -> str:
    """A stream's text within the cap, given how long the stream was."""
    data = text.encode()
    if len(data) <= cap:
        return text
    return shorten(data, b"", max(count, len(data)), cap)
