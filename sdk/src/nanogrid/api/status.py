"""Status of a job. Only the operator writes it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nanogrid.api.fields import Millis, Model, Text, Time, list_map
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.lifecycle import Phase

RESULT_STORED = "ResultStored"  # condition: whether S3 has the result


class Condition(Model):
    """A condition as in metav1.Condition."""

    type: Annotated[str, Field(max_length=64)] = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(max_length=64)] = Field(
        description="Reason of the condition, see docs/reasons.md."
    )
    message: Text = Field("", description="Details of the reason, for people.")
    last_transition_time: Time = Field(description="Time of the last change of the status.")
    observed_generation: int = Field(
        0, ge=0, description="Generation of the object to which the condition applies."
    )


class InputStatus(Model):
    """Result of the input sync."""

    files: int = Field(ge=0, description="Number of copied files.")
    bytes: int = Field(ge=0, description="Number of copied bytes.")
    duration_millis: Millis = Field(description="Duration of the sync in milliseconds.")
    retries: int = Field(0, ge=0, description="Number of repeated requests.")
    manifest: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="S3 URI of the manifest, which lists path, bytes and sha256 of each file."
    )


class WebhookDelivery(Model):
    """Delivery of the result to the webhook."""

    state: Literal["Pending", "Delivered", "Refused", "GivenUp"] = Field(
        description="Whether the endpoint accepted the result. Refused and GivenUp are final."
    )
    attempts: int = Field(0, ge=0, description="Approximate number of requests so far.")
    last_status: int | None = Field(
        None, ge=0, le=999, description="HTTP status of the last response, if there was one."
    )
    message: Text = Field("", description="Details of the last error, if there was one.")


class Delivery(Model):
    """Delivery of the result to Redis, and to the webhook if there is one."""

    state: Literal["Delivered", "Pending", "Conflict"] = Field(
        description="Whether Redis has the result."
    )
    receivers: int | None = Field(
        None,
        ge=0,
        description="Number of subscribers that received the message; absent if unknown.",
    )
    stream_id: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Id of the entry in the stream of the job's namespace."
    )
    message: Text = Field("", description="Details of the last error, if there was one.")
    webhook: WebhookDelivery | None = Field(
        None, description="Delivery to the webhook, if there is one."
    )


class Timings(Model):
    """Duration of each phase, in milliseconds of wall time."""

    pending_millis: Millis | None = Field(
        None, description="From the creation of the job to the creation of the pod."
    )
    sync_millis: Millis | None = Field(None, description="Copy and verification of the inputs.")
    start_millis: Millis | None = Field(None, description="Start of the process.")
    execution_millis: Millis | None = Field(None, description="Run time of the code.")
    upload_millis: Millis | None = Field(None, description="Upload of the outputs.")
    total_millis: Millis | None = Field(
        None, description="From the creation of the job to its terminal status."
    )


class Attempt(Model):
    """An attempt to run the job."""

    number: int = Field(ge=0, description="Number of the attempt, starting at 0.")
    pod_name: Annotated[str, Field(max_length=253)] = Field(
        description="Name of the attempt's pod."
    )
    reason: Annotated[str, Field(max_length=64)] = Field(
        description="Reason why the attempt ended."
    )
    exit_code: int | None = Field(None, description="Exit code of the code, if the code ran.")
    memory_limit: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Memory limit of the attempt."
    )
    peak_memory_bytes: int | None = Field(
        None, ge=0, description="Peak memory of the attempt in bytes."
    )
    counted: bool = Field(False, description="Whether the attempt counts towards backoffLimit.")
    start_time: Time | None = Field(None, description="Time when the attempt's pod was created.")
    completion_time: Time | None = Field(None, description="Time when the attempt ended.")


class SessionStatus(Model):
    """Access and activity of a session."""

    url: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="URL of the session's HTTP API."
    )
    token_secret_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Name of the Secret. Its key token has the bearer token."
    )
    service_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Name of the session's Service, if it is not reached through the router."
    )
    executions: int = Field(0, ge=0, description="Number of executions so far.")
    running: int | None = Field(None, ge=0, description="Number of the running execution.")
    restarts: int = Field(0, ge=0, description="Number of restarts of the sandbox container.")
    last_activity_time: Time | None = Field(
        None, description="Time of the last execution or request."
    )
    idle_deadline: Time | None = Field(
        None, description="Time when the session ends if it stays idle."
    )


class Status(Model):
    """Status of a job. Only the operator writes it."""

    observed_generation: int | None = Field(
        None, ge=0, description="Generation of the spec that the operator last processed."
    )
    phase: Phase | None = Field(None, description="Summary of the conditions, for people.")
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Reason of the phase. docs/reasons.md lists all reasons with their hints."
    )
    message: Text | None = Field(
        None, description="Details of the reason, and a hint how to fix the problem."
    )
    pod_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Name of the sandbox pod."
    )
    start: Literal["Warm", "Cold"] | None = Field(
        None, description="Whether the job took a waiting pod of a pool, or got a pod of its own."
    )
    start_message: Text | None = Field(
        None, description="Details of the start, for example why a pool's pods do not fit the job."
    )
    request_id: Annotated[str, Field(max_length=63)] | None = Field(
        None, description="The requestId of the result: spec.requestId or the uid."
    )
    start_time: Time | None = Field(None, description="Time when the pod was created.")
    completion_time: Time | None = Field(None, description="Time when the job ended.")
    duration: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Run time of the code for people, for example 312ms."
    )
    memory: Annotated[str, Field(max_length=32)] | None = Field(
        None,
        description="Memory of the running code for people, for example 38Mi; absent after its "
        "end. Of a session: memory of the whole sandbox.",
    )
    peak_memory: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Peak and limit of memory for people, for example 41Mi/256Mi."
    )
    conditions: Annotated[list[Condition], list_map("type", 16)] = Field(
        default_factory=list, description="Conditions: InputsSynced, Executed, Finished and others."
    )
    function: PinnedFunction | None = Field(
        None, description="Version and settings of spec.functionRef that the job uses."
    )
    inputs: InputStatus | None = Field(None, description="Result of the input sync.")
    result: dict[str, Any] | None = Field(
        None,
        description="The JSON of the result, as in Redis, but with shortened stdout and stderr. "
        "Its authentication code is that of the complete result.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    attempts: Annotated[list[Attempt], Field(max_length=32)] = Field(
        default_factory=list, description="Ended attempts, the oldest first."
    )
    timings: Timings | None = Field(None, description="Duration of each phase.")
    delivery: Delivery | None = Field(None, description="Delivery of the result.")
    session: SessionStatus | None = Field(None, description="Access and activity of a session.")
