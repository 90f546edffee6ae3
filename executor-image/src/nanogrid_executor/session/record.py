"""Turns the end of an execution into its record and its answer: pure functions.

S3 keeps the record. The answer is made from the record alone, so a repeated request gets the same
answer. ``execution_num``, ``timestamp``, ``code``, ``stdout`` and ``container_ip`` are keys of the
older system.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import wire
from nanogrid.hints import Surface, sentence_for
from nanogrid.reasons import Reason
from nanogrid_executor.agent.result import SIGKILL, Verdict
from nanogrid_executor.agent.start_reasons import reason_of
from nanogrid_executor.capture import Capture, shorten, shorten_text
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, ExecutionSpec

SHELL_PREFIX: Final = "BASH: "
RECORD_STREAM_BYTES: Final = 1024 * 1024
RESULTS_BYTES: Final = 4 * 1024 * 1024  # of all rich results of one execution

ANSWER_KEYS: Final = (
    "execution_num", "status", "success", "reason", "exit_code", "signal", "stdout", "stderr",
    "output", "error", "results", "resultsDropped", "context", "contextNew", "durationMillis",
    "cpuMillis", "peakMemoryBytes", "memorySource", "stdoutTruncated", "stderrTruncated",
    "stdoutEncoding", "stderrEncoding",
    "container_ip", "timestamp", "sandboxRestarted",
)  # fmt: skip


@dataclass(slots=True)
class Observation:
    """What is observed of one execution while it runs; times are seconds since the epoch."""

    spec: ExecutionSpec
    accepted: float
    stdout: Capture = field(default_factory=lambda: Capture(RECORD_STREAM_BYTES))
    stderr: Capture = field(default_factory=lambda: Capture(RECORD_STREAM_BYTES))
    results: list[dict[str, str]] = field(default_factory=list)
    results_bytes: int = 0
    results_dropped: int = 0
    started: float | None = None
    start_millis: int | None = None

    def display(self, bundle: dict[str, str]) -> bool:
        """Keep a rich result while there is room; False when it was dropped."""
        size = sum(len(kind) + len(data) for kind, data in bundle.items())
        if self.results_bytes + size > RESULTS_BYTES:
            self.results_dropped += 1
            return False
        self.results_bytes += size
        self.results.append(bundle)
        return True

    def clear(self) -> None:
        """Free the memory."""
        self.stdout, self.stderr, self.results = Capture(), Capture(), []


def verdict_of(end: ExecutionEnd, spec: ExecutionSpec) -> Verdict:
    """Status and reason of an execution that was run; the first cause that applies."""
    failed = wire.STATUS_FAILED
    if end.sandbox_lost and not end.oom_killed:
        return Verdict(failed, Reason.SANDBOX_RESTARTED, end.error or "")
    if end.error is not None:
        return Verdict(failed, reason_of(end.error_cause), end.error)
    if end.timed_out:
        detail = f"It was stopped after {spec.timeout_seconds:g} s"
        return Verdict(wire.STATUS_TIMEOUT, Reason.EXECUTION_TIMEOUT, detail)
    if end.oom_killed and end.signal in (SIGKILL, None):
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


def build_record(
    observation: Observation,
    end: ExecutionEnd,
    verdict: Verdict,
    identity: dict[str, Any],
    *,
    ended: float,
    sandbox_restarted: bool,
) -> dict[str, Any]:
    """The record of one execution.

    Args:
        observation: what was observed while it ran.
        end: how it ended; blank when it never ran.
        verdict: status and reason of that end.
        identity: ``session_id``, ``container_ip`` and similar keys, copied into the record.
        ended: when it ended, in seconds since the epoch.
        sandbox_restarted: whether the sandbox has restarted since the previous answer.
    """
    spec, success = observation.spec, verdict.status == wire.STATUS_SUCCESS
    began = observation.started if observation.started is not None else ended
    return {
        "execution_num": spec.number,
        "timestamp": timestamp(began),
        "code": SHELL_PREFIX + spec.code if spec.shell else spec.code,
        "stdout": observation.stdout.text(),
        **identity,
        "status": verdict.status,
        "success": success,
        "reason": verdict.reason.value,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "stderr": observation.stderr.text(),
        "error": None if success else sentence_for(verdict.reason, verdict.detail, Surface.HTTP),
        "results": observation.results,
        "resultsDropped": observation.results_dropped,
        "context": spec.context,
        "contextNew": end.context_new,
        "shell": spec.shell,
        "timeoutSeconds": spec.timeout_seconds,
        "acceptedAt": timestamp(observation.accepted),
        "startedAt": timestamp(observation.started) if observation.started is not None else None,
        "endedAt": timestamp(ended),
        "queuedMillis": max(0, int((began - observation.accepted) * 1000)),
        "startMillis": observation.start_millis,
        "durationMillis": end.duration_millis,
        "cpuMillis": end.cpu_millis,
        "peakMemoryBytes": end.peak_memory_bytes,
        "memorySource": end.memory_source,
        "stdoutBytes": observation.stdout.count,
        "stderrBytes": observation.stderr.count,
        "stdoutTruncated": observation.stdout.truncated,
        "stderrTruncated": observation.stderr.truncated,
        "stdoutEncoding": observation.stdout.encoding,
        "stderrEncoding": observation.stderr.encoding,
        "sandboxRestarted": sandbox_restarted,
    }


def answer_from(record: dict[str, Any], *, recorded: bool) -> dict[str, Any]:
    """The body of the response to ``POST /execute``; ``recorded``: S3 has the record."""
    whole = dict(record)
    for stream in ("stdout", "stderr"):
        short = _short(record[stream], record[f"{stream}Bytes"], wire.STREAM_CAP_BYTES)
        whole[stream] = short
        whole[f"{stream}Truncated"] = record[f"{stream}Truncated"] or short != record[stream]
    whole["output"] = whole["stdout"]
    return {key: whole.get(key) for key in ANSWER_KEYS} | {"recorded": recorded}


def summary_of(record: dict[str, Any]) -> dict[str, Any]:
    """One entry of ``GET /executions``."""
    keys = ("execution_num", "status", "reason", "exit_code", "context", "timestamp", "endedAt")
    return {key: record.get(key) for key in (*keys, "durationMillis")}


def cut_record(record: dict[str, Any], stream_bytes: int) -> dict[str, Any]:
    """The record with shorter streams and no rich results, to save space."""
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


def timestamp(seconds: float) -> str:
    """A time in UTC as ISO 8601 with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _short(text: str, count: int, cap: int) -> str:
    """A stream's text, at most ``cap`` bytes; ``count`` is the length of the whole stream."""
    data = text.encode()
    if len(data) <= cap:
        return text
    return shorten(data, b"", max(count, len(data)), cap)
