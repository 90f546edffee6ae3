"""Tables of jobs, files and sessions. Pure."""

from collections.abc import Sequence

from nanogrid import names
from nanogrid.cli.app.formatting import age, amount, cell
from nanogrid.cli.app.output import columns, with_namespaces
from nanogrid.plurals import counted
from nanogrid.types import Json


def _state(job: Json) -> list[str]:
    status = job.get("status") or {}
    return [job["metadata"]["name"], status.get("phase") or "", status.get("reason") or ""]


def job_row(job: Json, now: float) -> list[str]:
    """One job, in the columns of ``kubectl get ej``."""
    status = job.get("status") or {}
    result = status.get("result") or {}
    return [
        *_state(job),
        cell(result.get("exitCode")),
        status.get("duration") or "",
        status.get("peakMemory") or "",
        age(job["metadata"].get("creationTimestamp"), now),
    ]


def jobs_table(jobs: Sequence[Json], now: float, all_namespaces: bool = False) -> str:
    """A table of jobs."""
    rows = [["NAME", "PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]]
    rows += [job_row(job, now) for job in jobs]
    if all_namespaces:
        rows = with_namespaces(rows, [job["metadata"]["namespace"] for job in jobs])
    return columns(rows)


def job_name(job: Json) -> str:
    """The name that -o name shows; kubectl accepts it."""
    return f"{names.SINGULAR}.{names.GROUP}/{job['metadata']['name']}"


def job_card(job: Json, now: float) -> str:
    """The details of one job, one a line."""
    status = job.get("status") or {}
    spec = job.get("spec") or {}
    inputs = status.get("inputs") or {}
    outputs = (status.get("result") or {}).get("outputs") or []
    delivery = status.get("delivery") or {}
    fields = [
        ("name", f"{job['metadata'].get('namespace', '')}/{job['metadata']['name']}"),
        ("mode", spec.get("mode", "Batch")),
        ("phase", status.get("phase") or "not processed yet"),
        ("reason", status.get("reason") or ""),
        ("message", status.get("message") or ""),
        ("request id", status.get("requestId") or spec.get("requestId") or ""),
        ("pod", status.get("podName") or ""),
        ("age", age(job["metadata"].get("creationTimestamp"), now)),
        ("duration", status.get("duration") or ""),
        ("memory", status.get("peakMemory") or ""),
        (
            "inputs",
            f"{counted(inputs['files'], 'file')}, {amount(inputs['bytes'])}" if inputs else "",
        ),
        ("outputs", counted(len(outputs), "file") if outputs else ""),
        ("delivery", f"{delivery.get('state', '')} {delivery.get('message', '')}".strip()),
        ("session", (status.get("session") or {}).get("url") or ""),
    ]
    return "".join(f"{key:<11} {value}\n" for key, value in fields if value)


def session_row(job: Json, now: float) -> list[str]:
    """One session, in the columns of ``session ls``."""
    status = job.get("status") or {}
    session = status.get("session") or {}
    return [
        *_state(job),
        str(session.get("executions", 0)),
        cell(session.get("running")),
        age(session.get("lastActivityTime"), now),
        age(job["metadata"].get("creationTimestamp"), now),
    ]


def sessions_table(jobs: Sequence[Json], now: float) -> str:
    """A table of sessions."""
    head = ["NAME", "PHASE", "REASON", "EXECUTIONS", "RUNNING", "IDLE", "AGE"]
    return columns([head, *(session_row(job, now) for job in jobs)])


def outputs_table(outputs: Sequence[Json]) -> str:
    """A table of output files, as listed in the result."""
    head = ["PATH", "SIZE", "TYPE", "URL"]
    rows = [[o["path"], amount(o["bytes"]), o["contentType"], o["url"]] for o in outputs]
    return columns([head, *rows])
