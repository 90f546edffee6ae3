"""What the page of one run says: of its job and result, one of which may be missing. Pure."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.reasons import HELP, Help, Reason
from nanogrid.status import Phase
from nanogrid_gateway.api import jobs
from nanogrid_gateway.web import words
from nanogrid_gateway.web.plots import Part
from nanogrid_gateway.web.rows import Json, memory_limit, version_of

# Pixels and nothing else: SVG and HTML can hold scripts, so they are downloads. The API sends no
# others by their own type.
RASTER: Final = frozenset({"image/png", "image/jpeg", "image/gif"})
IMAGE_BYTES: Final = 10 << 20  # larger ones are links
IMAGES: Final = 20
HELPS: Final[dict[str, Help]] = {reason.value: text for reason, text in HELP.items()}
STREAMS: Final = ("stdout", "stderr")
STAGES: Final = (
    ("pendingMillis", "wait", "waiting for a pod"),
    ("syncMillis", "sync", "copying inputs"),
    ("startMillis", "start", "starting"),
    ("executionMillis", "code", "the code"),
    ("uploadMillis", "upload", "storing outputs"),
)
SHORTENED: Final = 20_000  # characters of the result's JSON


@dataclass(frozen=True, slots=True)
class File:
    """An output file: ``image`` when it may be shown in place."""

    path: str
    size: int | None
    kind: str
    image: bool


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything of one run; memory in bytes, times as Kubernetes writes them."""

    id: str
    request_id: str
    function: str
    version: str
    session: bool
    phase: str
    ended: bool
    cancelling: bool
    reason: str
    help: Help | None
    message: str
    created: str
    started: str
    completed: str
    duration: int | None
    total: int | None
    exit_code: int | None
    signal: str
    cpu: int | None
    peak: int | None
    limit: int | None
    tip: str
    pod: str
    stages: list[Part]
    attempts: list[Json] = field(default_factory=list)
    conditions: list[Json] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    truncated: tuple[str, ...] = ()
    result: str = ""


def view_of(name: str, job: Json | None, result: Json | None) -> RunView:
    """The view of a run.

    Args:
        name: what it was asked for by.
        job: the job, unless it is gone.
        result: the result, if the run has ended; one of the two is there.
    """
    job = job or _ghost(name, result or {})
    found, spec, status = result or {}, job["spec"], jobs.status_of(job)
    phase = status.get("phase") or Phase.PENDING.value
    reason = str(found.get("reason") or status.get("reason") or "")
    return RunView(
        id=job["metadata"]["name"],
        request_id=jobs.request_id_of(job),
        function=jobs.function_of(job) or str(found.get("functionId") or ""),
        version=version_of(job),
        session=spec.get("mode") == names.MODE_SESSION,
        phase=phase,
        ended=result is not None,
        cancelling=bool(spec.get("cancel")),
        reason=reason,
        help=HELPS.get(reason),
        message=str(found.get("message") or status.get("message") or ""),
        created=str(job["metadata"].get("creationTimestamp") or ""),
        started=str(status.get("startTime") or ""),
        completed=str(status.get("completionTime") or ""),
        duration=found.get("durationMillis"),
        total=(status.get("timings") or {}).get("totalMillis"),
        exit_code=found.get("exitCode"),
        signal=str(found.get("signal") or ""),
        cpu=found.get("cpuMillis"),
        peak=found.get("peakMemoryBytes"),
        limit=memory_limit(job),
        tip=str(found.get("optimizationTip") or ""),
        pod=str(status.get("podName") or ""),
        stages=stages(
            (found.get("timings") or {}) | (status.get("timings") or {}),
            again=len(status.get("attempts") or []) > 1,
        ),
        attempts=list(status.get("attempts") or []),
        conditions=list(status.get("conditions") or []),
        files=files(found.get("outputs") or []),
        stdout=str(found.get("stdout") or ""),
        stderr=str(found.get("stderr") or ""),
        truncated=tuple(s for s in STREAMS if found.get(f"{s}Truncated")),
        result=_json(found),
    )


def stages(timings: Json, *, again: bool = False) -> list[Part]:
    """Where the time went; what no stage explains is the pod itself, or earlier attempts."""
    parts = [
        Part(kind, float(value), f"{label}: {words.millis(value)}")
        for key, kind, label in STAGES
        if isinstance(value := timings.get(key), int) and value > 0
    ]
    total = timings.get("totalMillis")
    rest = total - sum(part.value for part in parts) if isinstance(total, int) else 0
    if rest > 0:
        after_wait = 1 if parts and parts[0].kind == "wait" else 0
        label = "earlier attempts, the pods' start and end" if again else "the pod's start and end"
        parts.insert(after_wait, Part("pod", float(rest), f"{label}: {words.millis(rest)}"))
    return parts


def files(outputs: list[Json]) -> list[File]:
    """Output files; the first few images that are small enough are shown in place."""
    found, images = [], 0
    for output in outputs:
        path, size = str(output.get("path") or ""), output.get("bytes")
        kind = media_type(output)
        image = kind in RASTER and images < IMAGES and 0 < (size or 0) <= IMAGE_BYTES
        images += image
        found.append(File(path, size, kind, image))
    return found


def media_type(output: Json) -> str:
    """An output's media type, without parameters."""
    return str(output.get("contentType") or "").partition(";")[0].strip().lower()


def memory_kind(peak: int, limit: int, reason: str) -> str:
    """The CSS class of a memory bar: near the limit is bad."""
    if reason == Reason.OOM_KILLED or peak >= limit:
        return "bad"
    return "warn" if peak > 0.85 * limit else "good"


def _json(result: Json) -> str:
    """The result without its streams, for people."""
    if not result:
        return ""
    kept: dict[str, Any] = {k: v for k, v in result.items() if k not in STREAMS}
    text = json.dumps(kept, ensure_ascii=False, indent=2)
    return text if len(text) <= SHORTENED else text[:SHORTENED] + "\n… (shortened)"


def _ghost(name: str, result: Json) -> Json:
    """A job as far as its result remembers it."""
    ok = result.get("status") == wire.STATUS_SUCCESS
    phase = Phase.SUCCEEDED if ok else Phase.FAILED
    return {
        "metadata": {"name": (result.get("job") or {}).get("name") or name, "uid": ""},
        "spec": {"requestId": result.get("requestId") or name},
        "status": {"phase": phase.value},
    }
