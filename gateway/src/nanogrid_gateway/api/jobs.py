"""From a request to the ExecutionJob that answers it, and back from a job to what it says. Pure."""

import hashlib
import json
import re
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.fields import Model
from nanogrid.function import Function
from nanogrid.job import Spec
from nanogrid.spec_data import Code, EnvVar, Input, S3Location, S3Object
from nanogrid.spec_function import FunctionVersion
from nanogrid.status import Phase
from nanogrid_gateway.api.requests import RunRequest

Json = dict[str, Any]

MANAGED_BY: Final = "nanogrid-gateway"
# Of inputData as the pod's environment holds it, quoted once more; larger goes to S3.
STDIN_BYTES: Final = 60 * 1024
_SLUG: Final = 27
_PLAIN: Final = re.compile(r"[^a-z0-9]+")


def job_name(request_id: str) -> str:
    """The name of a request's job: the same for the same requestId, in any replica."""
    slug = _PLAIN.sub("-", request_id.lower())[:_SLUG].strip("-")
    digest = hashlib.sha256(request_id.encode()).hexdigest()[:16]
    return f"run-{slug}-{digest}"


def input_text(value: Any) -> str:
    """InputData as the code reads it: compact JSON that is valid UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def fits_stdin(text: str) -> bool:
    """Whether inputData can be the code's standard input, rather than a file from S3."""
    return len(json.dumps(text, ensure_ascii=False).encode()) <= STDIN_BYTES


def input_key(function_id: str, request_id: str, text: str) -> str:
    """The S3 key of inputData that is no standard input."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return names.function_input_object(function_id, request_id, digest)


def request_digest(request: RunRequest, text: str) -> str:
    """What makes two requests the same: function, version as asked for, and inputData."""
    canonical = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    parts = [request.function_id, str(request.version or ""), canonical]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def job_body(
    function: Function,
    version: FunctionVersion,
    request: RunRequest,
    request_id: str,
    text: str,
    ttl_seconds: int,
) -> Json:
    """The ExecutionJob of a request.

    Args:
        function: what to run.
        version: which of its versions.
        request: what the caller asked for.
        request_id: the one in force.
        text: inputData as JSON.
        ttl_seconds: how long the ended job is kept.
    """
    spec = function.spec
    by_stdin = fits_stdin(text)
    path = names.FUNCTION_INPUT_STDIN
    inputs = []
    if not by_stdin:
        path = f"{names.FUNCTION_INPUT_DIR}/{names.FUNCTION_INPUT_FILE}"
        key = input_key(request.function_id, request_id, text)
        where = S3Location(key=key, sha256=hashlib.sha256(text.encode()).hexdigest())
        inputs = [Input(name="input", s3=where, mount_path=names.FUNCTION_INPUT_DIR)]
    code = S3Object(bucket=version.s3.bucket, key=version.s3.key, sha256=version.s3.sha256)
    others = [variable for variable in spec.env if variable.name != names.ENV_FUNCTION_INPUT]
    job = Spec(
        request_id=request_id,
        function_id=request.function_id,
        code=Code(s3=code),
        command=version.command or spec.command,
        stdin=text if by_stdin else None,
        env=[*others, EnvVar(name=names.ENV_FUNCTION_INPUT, value=path)],
        inputs=inputs,
        outputs=spec.outputs,
        runtime=spec.runtime,
        resources=spec.resources,
        timeouts=spec.timeouts,
        ttl_seconds_after_finished=ttl_seconds,
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": job_name(request_id),
            "labels": {
                names.LABEL_FUNCTION: request.function_id,
                "app.kubernetes.io/managed-by": MANAGED_BY,
            },
            "annotations": {
                names.ANNOTATION_REQUEST_DIGEST: request_digest(request, text),
                names.ANNOTATION_FUNCTION_VERSION: str(version.version),
            },
        },
        "spec": plain(job),
    }


def plain(model: Model) -> Json:
    """A model as Kubernetes stores it: camelCase, without what is absent or default."""
    found: Json = model.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    return found


def status_of(job: Json) -> Json:
    """A job's status, empty before the operator has written one."""
    return job.get("status") or {}


def ended(job: Json) -> bool:
    """Whether a job has ended for good."""
    phase = status_of(job).get("phase")
    return phase is not None and Phase(phase).terminal


def request_id_of(job: Json) -> str:
    """The requestId in force."""
    return str(job["spec"].get("requestId") or job["metadata"]["uid"])


def links(request_id: str) -> Json:
    """Where more is to be had."""
    here = f"/runs/{request_id}"
    return {"self": here, "logs": f"{here}/logs"}


def run_state(job: Json) -> Json:
    """A run that has not ended."""
    status = status_of(job)
    phase = status.get("phase") or Phase.PENDING.value
    said = {
        "requestId": request_id_of(job),
        "functionId": job["spec"].get("functionId"),
        "version": version_of(job),
        "status": "RUNNING" if phase == Phase.RUNNING else "PENDING",
        "phase": phase,
        "reason": status.get("reason"),
        "message": status.get("message"),
        "createdAt": job["metadata"].get("creationTimestamp"),
        "links": links(request_id_of(job)),
    }
    return {key: value for key, value in said.items() if value is not None}


def function_of(job: Json) -> str:
    """The name of the function that a job runs; empty for code of its own."""
    reference = job["spec"].get("functionRef") or {}
    label = (job["metadata"].get("labels") or {}).get(names.LABEL_FUNCTION)
    return str(reference.get("name") or label or job["spec"].get("functionId") or "")


def version_of(job: Json) -> int | None:
    """The function's version that a job runs."""
    text = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_FUNCTION_VERSION, "")
    if text.isdecimal():
        return int(text)
    pinned: int | None = (status_of(job).get("function") or {}).get("version")
    return pinned


def run_line(job: Json) -> Json:
    """A run as a listing shows it."""
    line = run_state(job)
    if ended(job):
        result = status_of(job).get("result") or {}
        line["status"] = result.get("status", wire.STATUS_FAILED)
        line["durationMillis"] = result.get("durationMillis")
        line["peakMemoryBytes"] = result.get("peakMemoryBytes")
        line["completedAt"] = status_of(job).get("completionTime")
    return {key: value for key, value in line.items() if value is not None}


def is_of(result: Json, uid: str) -> bool:
    """Whether a result is that of the job with this uid, and not of another with its requestId."""
    job = result.get("job")
    return isinstance(job, dict) and job.get("uid") == uid


def shortened(result: Json) -> bool:
    """Whether the job's copy of a result may lack what S3 has."""
    if result.get("stdoutTruncated") or result.get("stderrTruncated"):
        return True
    return len(json.dumps(result.get("outputs") or [])) > 5000  # the copy keeps 12 KiB
