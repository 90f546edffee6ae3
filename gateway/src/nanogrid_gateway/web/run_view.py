"""The view of one run from its job and result, one of which may be missing. Pure."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import names
from nanogrid.hints import Surface, hint_for, reworded, without_hint
from nanogrid.job_function import function_of
from nanogrid.job_start import job_start
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason, help_of
from nanogrid.shown_memory import shown_memory
from nanogrid.types import Json
from nanogrid_gateway.api import job_fields
from nanogrid_gateway.web import code_view, formatting
from nanogrid_gateway.web.code_view import CodeView
from nanogrid_gateway.web.plots import Part
from nanogrid_gateway.web.rows import memory_limit, phase_of, version_of

# Raster images only: SVG and HTML can contain scripts and are downloads. The API sends no other
# image with its own Content-Type.
RASTER: Final = frozenset({"image/png", "image/jpeg", "image/gif"})
MAX_IMAGE_BYTES: Final = 10 << 20  # larger images are links
MAX_IMAGES: Final = 20
STREAMS: Final = ("stdout", "stderr")
STAGES: Final = (
    ("pendingMillis", "wait", "waiting for a pod"),
    ("syncMillis", "sync", "copying inputs"),
    ("startMillis", "start", "starting"),
    ("executionMillis", "code", "running the code"),
    ("uploadMillis", "upload", "storing outputs"),
)
MAX_RESULT_CHARACTERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class File:
    """An output file; ``image``: whether the page shows it."""

    path: str
    size: int | None
    media_type: str
    image: bool


@dataclass(frozen=True, slots=True)
class RunView:
    """All shown values of a run; durations in ms, memory in bytes, Kubernetes timestamps."""

    id: str
    request_id: str
    function: str
    version: str
    session: bool
    phase: str
    ended: bool
    cancelling: bool
    reason: str
    meaning: str  # of the reason; empty for one of a newer release
    detail: str  # what the message says besides meaning and hint
    hint: str
    created: str
    started: str
    completed: str
    duration: int | None
    total: int | None
    exit_code: int | None
    signal: str
    cpu: int | None
    memory: int | None
    peak: int | None
    limit: int | None
    memory_hint: str
    pod: str
    start: str  # Warm or Cold, and why a run with a pool started cold
    stages: list[Part]
    code: CodeView | None = None
    attempts: list[Json] = field(default_factory=list)
    conditions: list[Json] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    outputs_note: str = ""
    stdout: str = ""
    stderr: str = ""
    truncated: tuple[str, ...] = ()
    result: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether a new job can be made from the job of this run."""
        return self.ended and self.code is not None and not self.session

    @property
    def streams(self) -> list[tuple[str, str]]:
        """The names and texts of the streams with output."""
        return [(name, text) for name in STREAMS if (text := getattr(self, name))]

    @property
    def ran(self) -> bool:
        """Whether it is known that the code of an ended run has run."""
        return self.exit_code is not None or bool(self.streams)


def view_of(name: str, job: Json | None, result: Json | None) -> RunView:
    """The view of a run.

    Args:
        name: the job name or requestId of the request.
        job: the job, unless it was deleted.
        result: the result, if the run has ended; at least one of the two is given.
    """
    code = code_view.view_of(job) if job else None
    job = job or _job_from(name, result or {})
    found, spec, status = result or {}, job["spec"], job_fields.status_of(job)
    phase = status.get("phase") or Phase.PENDING.value
    reason = str(found.get("reason") or status.get("reason") or "")
    known = help_of(reason)
    meaning, message = known.meaning if known else "", found.get("message") or status.get("message")
    return RunView(
        id=job["metadata"]["name"],
        request_id=job_fields.request_id_of(job),
        function=function_of(job) or str(found.get("functionId") or ""),
        version=version_of(job),
        session=spec.get("mode") == names.MODE_SESSION,
        phase=phase,
        ended=result is not None,
        cancelling=bool(spec.get("cancel")),
        reason=reason,
        meaning=meaning,
        detail=_detail(reason, meaning, str(message or "")),
        hint=hint_for(reason, Surface.WEB),
        created=str(job["metadata"].get("creationTimestamp") or ""),
        started=str(status.get("startTime") or ""),
        completed=str(status.get("completionTime") or ""),
        duration=found.get("durationMillis"),
        total=(status.get("timings") or {}).get("totalMillis"),
        exit_code=found.get("exitCode"),
        signal=str(found.get("signal") or ""),
        cpu=found.get("cpuMillis"),
        memory=None if result is not None else shown_memory(status).current,
        peak=found.get("peakMemoryBytes"),
        limit=memory_limit(job),
        memory_hint=str(found.get("optimizationTip") or ""),
        pod=str(status.get("podName") or ""),
        start=job_start(status),
        code=code,
        stages=stages(
            (found.get("timings") or {}) | (status.get("timings") or {}),
            retried=len(status.get("attempts") or []) > 1,
        ),
        attempts=list(status.get("attempts") or []),
        conditions=[
            one | {"message": reworded(str(one.get("message") or ""), Surface.WEB)}
            for one in status.get("conditions") or []
        ],
        files=files(found.get("outputs") or []),
        outputs_note=str(found.get("outputsNote") or ""),
        stdout=str(found.get("stdout") or ""),
        stderr=str(found.get("stderr") or ""),
        truncated=tuple(s for s in STREAMS if found.get(f"{s}Truncated")),
        result=_json(found),
    )


def _detail(reason: str, meaning: str, message: str) -> str:
    """What a message says besides the meaning and the hint of its reason."""
    rest = without_hint(reason, message).replace(meaning, "", 1) if meaning else message
    return reworded(rest.strip(), Surface.WEB)


def stages(timings: Json, *, retried: bool = False) -> list[Part]:
    """The stages of a run; time outside all stages belongs to the pod or to earlier attempts."""
    parts = [
        Part(css_class, float(value), f"{label}: {formatting.millis(value)}")
        for key, css_class, label in STAGES
        if isinstance(value := timings.get(key), int) and value > 0
    ]
    total = timings.get("totalMillis")
    rest = total - sum(part.value for part in parts) if isinstance(total, int) else 0
    if rest > 0:
        after_wait = 1 if parts and parts[0].css_class == "wait" else 0
        label = "earlier attempts, pod start and end" if retried else "pod start and end"
        parts.insert(after_wait, Part("pod", float(rest), f"{label}: {formatting.millis(rest)}"))
    return parts


def files(outputs: list[Json]) -> list[File]:
    """Output files; the page shows the first :data:`MAX_IMAGES` images that are small enough."""
    found, images = [], 0
    for output in outputs:
        path, size = str(output.get("path") or ""), output.get("bytes")
        file_type = media_type(output)
        image = file_type in RASTER and images < MAX_IMAGES and 0 < (size or 0) <= MAX_IMAGE_BYTES
        images += image
        found.append(File(path, size, file_type, image))
    return found


def media_type(output: Json) -> str:
    """An output's media type without parameters."""
    return str(output.get("contentType") or "").partition(";")[0].strip().lower()


def memory_class(peak: int, limit: int, reason: str) -> str:
    """The CSS class of a memory bar, by the distance to the limit."""
    if reason == Reason.OOM_KILLED or peak >= limit:
        return "bad"
    return "warn" if peak > 0.85 * limit else "good"


def _json(result: Json) -> str:
    """The result without its streams, as indented JSON."""
    if not result:
        return ""
    kept: dict[str, Any] = {k: v for k, v in result.items() if k not in STREAMS}
    text = json.dumps(kept, ensure_ascii=False, indent=2)
    if len(text) > MAX_RESULT_CHARACTERS:
        return text[:MAX_RESULT_CHARACTERS] + "\n… (shortened)"
    return text


def _job_from(name: str, result: Json) -> Json:
    """A deleted job, as far as its result describes it."""
    phase = phase_of(str(result.get("status") or ""))
    return {
        "metadata": {"name": (result.get("job") or {}).get("name") or name, "uid": ""},
        "spec": {"requestId": result.get("requestId") or name},
        "status": {"phase": phase.value},
    }
