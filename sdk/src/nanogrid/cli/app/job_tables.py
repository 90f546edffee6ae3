"""Tables of jobs, files and sessions. Pure."""

from collections.abc import Sequence

from nanogrid import names
from nanogrid.cli.app.formatting import age, amount, cell
from nanogrid.cli.app.output import columns, with_namespaces
from nanogrid.hints import Surface, reworded
from nanogrid.job_function import function_of
from nanogrid.job_start import job_start
from nanogrid.plurals import counted
from nanogrid.types import Json
from nanogrid.visible_text import printable_lines


def _state(job: Json) -> list[str]:
    status = job.get("status") or {}
    return [job["metadata"]["name"], status.get("phase") or "", status.get("reason") or ""]


def job_row(job: Json, now: float, wide: bool = False) -> list[str]:
    """One job, in the columns of ``kubectl get ej``, or of ``kubectl get ej -o wide``."""
    status = job.get("status") or {}
    result = status.get("result") or {}
    row = [
        *_state(job),
        cell(result.get("exitCode")),
        status.get("duration") or "",
        status.get("peakMemory") or "",
        age(job["metadata"].get("creationTimestamp"), now),
    ]
    files = cell((status.get("inputs") or {}).get("files"))
    more = [status.get("podName") or "", files, status.get("requestId") or ""]
    return [*row, *more, status.get("memory") or ""] if wide else row


def jobs_table(
    jobs: Sequence[Json], now: float, wide: bool = False, all_namespaces: bool = False
) -> str:
    """A table of jobs; ``wide`` adds pod, input files, request id, memory now."""
    head = ["NAME", "PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]
    rows = [head + (["POD", "FILES", "REQUEST", "MEMORY"] if wide else [])]
    rows += [job_row(job, now, wide) for job in jobs]
    if all_namespaces:
        rows = with_namespaces(rows, [job["metadata"]["namespace"] for job in jobs])
    return columns(rows)


def job_name(job: Json) -> str:
    """The name that -o name shows; kubectl accepts it."""
    return f"{names.SINGULAR}.{names.GROUP}/{job['metadata']['name']}"


def _reworded(job: Json, message: object) -> str:
    """A message of the status, whose hint may be for kubectl."""
    return reworded(str(message or ""), Surface.CLI, job["metadata"]["name"])


def job_card(job: Json, now: float, wide: bool = False) -> str:
    """The details of one job, one a line; ``wide`` adds what it asks for."""
    status = job.get("status") or {}
    spec = job.get("spec") or {}
    inputs = status.get("inputs") or {}
    result = status.get("result") or {}
    outputs = result.get("outputs") or []
    signal = f", signal {result['signal']}" if result.get("signal") else ""
    delivery = status.get("delivery") or {}
    fields = [
        ("name", f"{job['metadata'].get('namespace', '')}/{job['metadata']['name']}"),
        ("mode", spec.get("mode", "Batch")),
        ("phase", status.get("phase") or "not processed yet"),
        ("reason", status.get("reason") or ""),
        ("message", _reworded(job, status.get("message"))),
        ("exit code", cell(result.get("exitCode")) + signal),
        ("request id", status.get("requestId") or spec.get("requestId") or ""),
        ("pod", status.get("podName") or ""),
        ("start", job_start(status)),
        ("age", age(job["metadata"].get("creationTimestamp"), now)),
        ("duration", status.get("duration") or ""),
        ("memory", memory_text(status)),
        (
            "inputs",
            f"{counted(inputs['files'], 'file')}, {amount(inputs['bytes'])}" if inputs else "",
        ),
        ("outputs", counted(len(outputs), "file") if outputs else ""),
        (
            "delivery",
            f"{delivery.get('state', '')} {_reworded(job, delivery.get('message'))}".strip(),
        ),
        ("session", (status.get("session") or {}).get("url") or ""),
        *(_asked_for(job) if wide else []),
    ]
    # The message and what the job asks for are text of its owner.
    return printable_lines("".join(f"{key:<11} {value}\n" for key, value in fields if value))


def memory_text(status: Json) -> str:
    """The memory of a job: peak and limit, and the use now while it runs."""
    peak, current = status.get("peakMemory") or "", status.get("memory")
    if not current:
        return str(peak)
    return f"{current} now" + (f", peak {peak}" if peak else "")


def _asked_for(job: Json) -> list[tuple[str, str]]:
    """What the spec of a job sets."""
    spec = job.get("spec") or {}
    function, limits = spec.get("functionRef") or {}, (spec.get("resources") or {}).get("limits")
    version = f" version {function['version']}" if function.get("version") else ""
    timeout = (spec.get("timeouts") or {}).get("executionSeconds")
    labels = job["metadata"].get("labels") or {}
    return [
        ("function", f"{function_of(job) or ''}{version}"),
        ("image", (spec.get("runtime") or {}).get("image") or ""),
        ("pool", (spec.get("poolRef") or {}).get("name") or ""),
        ("command", " ".join([*(spec.get("command") or []), *(spec.get("args") or [])])),
        ("limits", ", ".join(f"{key} {value}" for key, value in (limits or {}).items())),
        ("timeout", "" if timeout is None else f"{timeout}s"),
        ("retries", cell(spec.get("backoffLimit"))),
        ("attempts", cell(len((job.get("status") or {}).get("attempts") or []) or None)),
        ("labels", ", ".join(f"{key}={value}" for key, value in labels.items())),
    ]


def session_row(job: Json, now: float) -> list[str]:
    """One session, in the columns of ``session ls``."""
    status = job.get("status") or {}
    session = status.get("session") or {}
    return [
        *_state(job),
        str(session.get("executions", 0)),
        cell(session.get("running")),
        status.get("memory") or "",
        age(session.get("lastActivityTime"), now),
        age(job["metadata"].get("creationTimestamp"), now),
    ]


def sessions_table(jobs: Sequence[Json], now: float, all_namespaces: bool = False) -> str:
    """A table of sessions."""
    head = ["NAME", "PHASE", "REASON", "EXECUTIONS", "RUNNING", "MEMORY", "IDLE", "AGE"]
    rows = [head, *(session_row(job, now) for job in jobs)]
    if all_namespaces:
        rows = with_namespaces(rows, [job["metadata"]["namespace"] for job in jobs])
    return columns(rows)


def outputs_table(outputs: Sequence[Json], wide: bool = False) -> str:
    """A table of output files, as listed in the result; ``wide`` adds their checksums."""
    rows = [["PATH", "SIZE", "TYPE", "URL"] + (["SHA256"] if wide else [])]
    for one in outputs:
        row = [one["path"], amount(one["bytes"]), one["contentType"], one["url"]]
        rows.append(row + ([one["sha256"]] if wide else []))
    return columns(rows)
