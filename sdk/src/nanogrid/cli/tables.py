"""Jobs, files and sessions as rows of text. Pure."""

from collections.abc import Sequence
from typing import Any

from nanogrid import names
from nanogrid.cli.output import columns
from nanogrid.cli.times import age, amount

Json = dict[str, Any]


def job_row(job: Json, now: float) -> list[str]:
    """The columns of ``kubectl get ej``."""
    status = job.get("status") or {}
    result = status.get("result") or {}
    code = result.get("exitCode")
    return [
        job["metadata"]["name"],
        status.get("phase") or "",
        status.get("reason") or "",
        "" if code is None else str(code),
        status.get("duration") or "",
        status.get("peakMemory") or "",
        age(job["metadata"].get("creationTimestamp"), now),
    ]


def jobs_table(jobs: Sequence[Json], now: float, all_namespaces: bool = False) -> str:
    """Jobs, the oldest first."""
    rows = [["NAME", "PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]]
    rows += [job_row(job, now) for job in jobs]
    if all_namespaces:
        spaces = ["NAMESPACE", *(job["metadata"]["namespace"] for job in jobs)]
        rows = [[space, *row] for space, row in zip(spaces, rows, strict=True)]
    return columns(rows)


def job_name(job: Json) -> str:
    """What -o name shows, fit for kubectl."""
    return f"{names.SINGULAR}.{names.GROUP}/{job['metadata']['name']}"


def job_card(job: Json, now: float) -> str:
    """One job, a fact a line."""
    status = job.get("status") or {}
    spec = job.get("spec") or {}
    inputs = status.get("inputs") or {}
    outputs = (status.get("result") or {}).get("outputs") or []
    delivery = status.get("delivery") or {}
    facts = [
        ("name", f"{job['metadata'].get('namespace', '')}/{job['metadata']['name']}"),
        ("mode", spec.get("mode", "Batch")),
        ("phase", status.get("phase") or "not seen yet"),
        ("reason", status.get("reason") or ""),
        ("message", status.get("message") or ""),
        ("request id", status.get("requestId") or spec.get("requestId") or ""),
        ("pod", status.get("podName") or ""),
        ("age", age(job["metadata"].get("creationTimestamp"), now)),
        ("duration", status.get("duration") or ""),
        ("memory", status.get("peakMemory") or ""),
        ("inputs", f"{inputs['files']} files, {amount(inputs['bytes'])}" if inputs else ""),
        ("outputs", f"{len(outputs)} files" if outputs else ""),
        ("delivery", f"{delivery.get('state', '')} {delivery.get('message', '')}".strip()),
        ("session", (status.get("session") or {}).get("url") or ""),
    ]
    return "".join(f"{key:<11} {value}\n" for key, value in facts if value)


def session_row(job: Json, now: float) -> list[str]:
    """A session's columns."""
    status = job.get("status") or {}
    session = status.get("session") or {}
    running = session.get("running")
    return [
        job["metadata"]["name"],
        status.get("phase") or "",
        status.get("reason") or "",
        str(session.get("executions", 0)),
        "" if running is None else str(running),
        age(session.get("lastActivityTime"), now),
        age(job["metadata"].get("creationTimestamp"), now),
    ]


def sessions_table(jobs: Sequence[Json], now: float) -> str:
    """Sessions."""
    head = ["NAME", "PHASE", "REASON", "EXECUTIONS", "RUNNING", "IDLE", "AGE"]
    return columns([head, *(session_row(job, now) for job in jobs)])


def outputs_table(outputs: Sequence[Json]) -> str:
    """Output files as the result lists them."""
    head = ["PATH", "SIZE", "TYPE", "URL"]
    rows = [[o["path"], amount(o["bytes"]), o["contentType"], o["url"]] for o in outputs]
    return columns([head, *rows])
