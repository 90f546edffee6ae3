"""The status that a finished job gets, and what the API server makes of it."""

import json
from dataclasses import replace

from jsonschema import Draft202012Validator

from nanogrid import wire
from nanogrid.api.status import Status
from nanogrid.codegen.crd import schema_of
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Delivery, from_report
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.status.job import (
    final_status,
)
from support.builders import (
    CREATED,
    a_job,
    a_report,
    merge_patch,
)

NOW = CREATED + 5
NOW_TEXT = "2025-10-09T08:53:25Z"
DELIVERED = Delivery(state="Delivered", receivers=2, stream_id="1-0")
STATUS_CAP_BYTES = 64 * 1024
STATUS_SCHEMA = Draft202012Validator(schema_of(Status))


def status_of(
    result: wire.Result,
    *,
    job: Job | None = None,
    pod: Pod | None = None,
    delivery: Delivery = DELIVERED,
    inputs: wire.InputReport | None = None,
) -> Json:
    """The final status as the API server stores it."""
    job = job or a_job()
    report = a_report(replace(result, request_id=job.request_id), inputs=inputs)
    end = from_report(job, pod, report)
    stored: Json = merge_patch(job.status, final_status(job, pod, end, delivery, NOW))
    return stored


def conditions_of(status: Json) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def size(status: Json) -> int:
    return len(json.dumps(status, ensure_ascii=False, separators=(",", ":")).encode())
