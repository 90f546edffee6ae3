"""From a request to its ExecutionJob, and from a job to the answers of the API. Pure."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from nanogrid import names, wire
from nanogrid.api.environment import EnvVar
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.inputs_outputs import Input, S3Location
from nanogrid.api.job import Spec
from nanogrid.api.runtime import PoolRef
from nanogrid.controller_class import NO_CLASS, class_of
from nanogrid.function_input import fits_stdin, input_text
from nanogrid.job_function import function_of
from nanogrid.lifecycle import Phase, finished
from nanogrid.repeat import repeated
from nanogrid.shown_memory import shown_memory
from nanogrid.traces.context import TraceContext, annotations_of
from nanogrid.types import Json
from nanogrid_gateway.api.job_fields import (
    plain,
    request_id_of,
    status_of,
    version_of,
)
from nanogrid_gateway.api.requests import RunRequest

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "nanogrid-gateway"
_SLUG: Final = 27
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class RunInput:
    """What follows from a request's inputData; computed once, because it may be large.

    Args:
        text: inputData as JSON.
        digest: what makes two requests the same: function, version and pool as asked for, and
            inputData.
        by_stdin: whether the text fits standard input; otherwise it becomes a file in S3.
    """

    text: str
    digest: str
    by_stdin: bool

    @property
    def sha256(self) -> str:
        """The text's checksum."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def run_input(request: RunRequest) -> RunInput:
    """The input of a request."""
    text = input_text(request.input_data)
    canonical = json.dumps(request.input_data, sort_keys=True, separators=(",", ":"))
    parts = [request.function_id, str(request.version or ""), canonical]
    parts += [f"pool {request.pool}"] if request.pool is not None else []
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return RunInput(text, digest, fits_stdin(text))


def job_name(request_id: str, controller_class: str = NO_CLASS) -> str:
    """The name of a request's job: the same for the same requestId, in any replica.

    Installations of different controller classes never share a name.
    """
    slug = _NOT_PLAIN.sub("-", request_id.lower())[:_SLUG].strip("-")
    # No requestId has a line break.
    hashed = f"{controller_class}\n{request_id}" if controller_class else request_id
    digest = hashlib.sha256(hashed.encode()).hexdigest()[:16]
    return f"run-{slug}-{digest}"


def input_key(function_id: str, request_id: str, given: RunInput) -> str:
    """The S3 key of input that does not fit standard input, relative to the namespace's root."""
    return names.function_input_object(function_id, request_id, given.sha256)


def job_body(
    request: RunRequest,
    version: int,
    request_id: str,
    given: RunInput,
    ttl_seconds: int,
    root: str = "",
    controller_class: str = NO_CLASS,
    trace: TraceContext | None = None,
) -> Json:
    """The ExecutionJob of a request: a reference to the function, and the input.

    The version is always set, so that the answer, the annotation and the run agree even if a newer
    version is uploaded before the job starts.

    Args:
        request: what the caller asked for.
        version: the number of the version to run.
        request_id: the one in force.
        given: the request's input.
        ttl_seconds: how long the finished job is kept.
        root: of the namespace in the bucket.
        controller_class: of the installation.
        trace: the span of the request.
    """
    path = names.FUNCTION_INPUT_STDIN
    inputs = []
    if not given.by_stdin:
        path = f"{names.FUNCTION_INPUT_DIR}/{names.FUNCTION_INPUT_FILE}"
        key = root + input_key(request.function_id, request_id, given)
        where = S3Location(key=key, sha256=given.sha256)
        inputs = [Input(name="input", s3=where, mount_path=names.FUNCTION_INPUT_DIR)]
    job = Spec(
        request_id=request_id,
        function_ref=FunctionRef(name=request.function_id, version=version),
        stdin=given.text if given.by_stdin else None,
        env=[EnvVar(name=names.ENV_FUNCTION_INPUT, value=path)],
        inputs=inputs,
        ttl_seconds_after_finished=ttl_seconds,
        controller_class=controller_class or None,
        pool_ref=None if request.pool is None else PoolRef(name=request.pool),
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": job_name(request_id, controller_class),
            "labels": {
                names.LABEL_FUNCTION: request.function_id,
                LABEL_MANAGED_BY: MANAGED_BY,
            },
            "annotations": {
                names.ANNOTATION_REQUEST_DIGEST: given.digest,
                names.ANNOTATION_FUNCTION_VERSION: str(version),
                **annotations_of(trace),
            },
        },
        "spec": plain(job),
    }


def again(job: Json, request_id: str, trace: TraceContext | None = None) -> Json:
    """A job that runs the same as another one, under a requestId and in a trace of its own."""
    body = repeated(job, job_name(request_id, class_of(job)))
    body["metadata"]["labels"] |= {LABEL_MANAGED_BY: MANAGED_BY}
    body["metadata"]["annotations"] |= annotations_of(trace)
    body["spec"]["requestId"] = request_id
    return body


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """The answer about a run: its result, or the state of a run that has not ended."""

    done: bool
    body: Json


def links(request_id: str) -> Json:
    """The paths of a run."""
    path = f"/runs/{request_id}"
    return {"self": path, "logs": f"{path}/logs"}


def run_state(job: Json) -> Json:
    """A run that has not ended."""
    status = status_of(job)
    phase = status.get("phase") or Phase.PENDING.value
    state = {
        "requestId": request_id_of(job),
        "functionId": function_of(job),
        "version": version_of(job),
        "status": "RUNNING" if phase == Phase.RUNNING else "PENDING",
        "phase": phase,
        "reason": status.get("reason"),
        "message": status.get("message"),
        "createdAt": job["metadata"].get("creationTimestamp"),
        "memoryBytes": shown_memory(status).current,
        "links": links(request_id_of(job)),
    }
    return {key: value for key, value in state.items() if value is not None}


def run_line(job: Json) -> Json:
    """A run as a listing shows it."""
    line = run_state(job)
    if finished(job):
        result = status_of(job).get("result") or {}
        line["status"] = result.get("status", wire.STATUS_FAILED)
        line["durationMillis"] = result.get("durationMillis")
        line["peakMemoryBytes"] = result.get("peakMemoryBytes")
        line["completedAt"] = status_of(job).get("completionTime")
    return {key: value for key, value in line.items() if value is not None}
