"""What became of a job: the status, written by the operator only."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from nanogrid.fields import Millis, Model, Text
from nanogrid.pinned import PinnedFunction

RESULT_STORED = "ResultStored"  # the condition that says whether S3 has the result


class Phase(StrEnum):
    """A summary for people; conditions are the truth."""

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    SYNCING = "Syncing"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether a job of this phase has ended for good."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class Condition(Model):
    """A condition as in metav1.Condition."""

    type: Annotated[str, Field(max_length=64)] = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="One word, see docs/reasons.")
    message: Text = Field("", description="What happened, in a sentence.")
    last_transition_time: Annotated[str, Field(max_length=64)] = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(0, ge=0, description="Generation this was seen for.")


class InputStatus(Model):
    """What the input sync did."""

    files: int = Field(ge=0, description="Files in place.")
    bytes: int = Field(ge=0, description="Bytes in place.")
    duration_millis: Millis = Field(description="How long the sync took.")
    retries: int = Field(0, ge=0, description="Requests that had to be repeated.")
    manifest: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="S3 URI of the manifest: path, bytes and sha256 of each file."
    )


class WebhookDelivery(Model):
    """How the result reached the webhook."""

    state: Literal["Pending", "Delivered", "Refused", "GivenUp"] = Field(
        description="Whether the endpoint took the result; Refused and GivenUp are for good."
    )
    attempts: int = Field(0, ge=0, description="Requests so far, about.")
    last_status: int | None = Field(
        None, ge=0, le=999, description="HTTP status of the last answer, if there was one."
    )
    message: Text = Field("", description="What went wrong, if anything.")


class Delivery(Model):
    """How the result reached Redis, and the webhook if there is one."""

    state: Literal["Delivered", "Pending", "Conflict"] = Field(
        description="Whether Redis has the result."
    )
    receivers: int | None = Field(None, ge=0, description="Subscribers that got the message.")
    stream_id: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Entry in the results stream."
    )
    message: Text = Field("", description="What went wrong, if anything.")
    webhook: WebhookDelivery | None = Field(None, description="The webhook, if there is one.")


class Timings(Model):
    """Wall time of each phase, in milliseconds."""

    pending_millis: Millis | None = Field(None, description="Job created to pod created.")
    sync_millis: Millis | None = Field(None, description="Copying and verifying inputs.")
    start_millis: Millis | None = Field(None, description="Starting the process.")
    execution_millis: Millis | None = Field(None, description="The code.")
    upload_millis: Millis | None = Field(None, description="Storing outputs.")
    total_millis: Millis | None = Field(None, description="Job created to terminal status.")


class Attempt(Model):
    """One try at the job."""

    number: int = Field(ge=0, description="Number of the attempt, from 0.")
    pod_name: Annotated[str, Field(max_length=253)] = Field(description="Its pod.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="How it ended.")
    exit_code: int | None = Field(None, description="Exit code of the code, if it ran.")
    memory_limit: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Memory limit of the attempt."
    )
    peak_memory_bytes: int | None = Field(None, ge=0, description="Peak memory of the attempt.")
    counted: bool = Field(False, description="Whether it counts towards backoffLimit.")
    start_time: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="When its pod was created.", json_schema_extra={"format": "date-time"}
    )
    completion_time: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="When it ended.", json_schema_extra={"format": "date-time"}
    )


class SessionStatus(Model):
    """How a session is reached and what it does."""

    url: Annotated[str, Field(max_length=2048)] | None = Field(
        None, description="Where its HTTP API is."
    )
    token_secret_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Secret whose key token holds the bearer token."
    )
    service_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="Its own Service, unless it is reached through the router."
    )
    executions: int = Field(0, ge=0, description="Executions so far.")
    running: int | None = Field(None, ge=0, description="Number of the running execution.")
    restarts: int = Field(0, ge=0, description="How often its sandbox container was restarted.")
    last_activity_time: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="When it last did something.",
        json_schema_extra={"format": "date-time"},
    )
    idle_deadline: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="When it ends if nothing is asked of it.",
        json_schema_extra={"format": "date-time"},
    )


class Status(Model):
    """What became of a job; written by the operator only."""

    observed_generation: int | None = Field(None, ge=0, description="Generation acted upon.")
    phase: Phase | None = Field(None, description="Summary of the conditions.")
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Why, in one word; docs/reasons.md has them all with their cures."
    )
    message: Text | None = Field(None, description="Why, in a sentence, and how to mend it.")
    pod_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="The sandbox pod."
    )
    request_id: Annotated[str, Field(max_length=63)] | None = Field(
        None, description="The requestId in force."
    )
    start_time: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="When the pod was created.",
        json_schema_extra={"format": "date-time"},
    )
    completion_time: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="When the job ended.", json_schema_extra={"format": "date-time"}
    )
    duration: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="How long the code ran, for people: 312ms."
    )
    peak_memory: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Peak and limit of memory, for people: 41Mi/256Mi."
    )
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = Field(default_factory=list, description="InputsSynced, Executed, Finished and others.")
    function: PinnedFunction | None = Field(
        None, description="What this job runs of the function that spec.functionRef names."
    )
    inputs: InputStatus | None = Field(None, description="What the input sync did.")
    result: dict[str, Any] | None = Field(
        None,
        description="The result JSON that Redis gets; stdout and stderr are capped tails here.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    attempts: Annotated[list[Attempt], Field(max_length=32)] = Field(
        default_factory=list, description="Attempts that have ended, the oldest first."
    )
    timings: Timings | None = Field(None, description="How long each phase took.")
    delivery: Delivery | None = Field(None, description="How the result reached Redis.")
    session: SessionStatus | None = Field(
        None, description="How a session is reached and what it does."
    )
