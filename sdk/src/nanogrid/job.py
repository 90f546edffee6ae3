"""The ExecutionJob as Kubernetes stores it: pydantic models of spec and status."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.fields import Identifier, Model, Word, cel
from nanogrid.spec_data import Code, DeliveryRules, EnvVars, Input, Logs, Outputs
from nanogrid.spec_function import FunctionRef
from nanogrid.spec_run import FailurePolicy, Resources, Runtime, Timeouts
from nanogrid.spec_session import Session
from nanogrid.status import Status

_CHANGE = (
    "{} of a job cannot be changed: create a new job "
    "(kubectl create with metadata.generateName makes a fresh name each time)"
)


def _immutable(field: str, required: bool = False) -> tuple[str, str]:
    """A CEL rule that keeps one field of the spec as it was created."""
    same = f"self.{field} == oldSelf.{field}"
    if not required:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return same, _CHANGE.format(f"spec.{field}")


class Spec(Model):
    """What to run."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            _immutable("mode"),
            _immutable("requestId"),
            _immutable("functionId"),
            _immutable("code"),
            _immutable("functionRef"),
            _immutable("session"),
            _immutable("command"),
            _immutable("args"),
            _immutable("stdin"),
            _immutable("env"),
            _immutable("inputs"),
            _immutable("outputs"),
            _immutable("logs"),
            _immutable("delivery"),
            _immutable("runtime"),
            _immutable("resources"),
            _immutable("timeouts"),
            _immutable("activeDeadlineSeconds"),
            _immutable("terminationGracePeriodSeconds"),
            _immutable("backoffLimit"),
            _immutable("failurePolicy"),
            _immutable("serviceAccountName"),
            _immutable("priorityClassName"),
            (
                "self.mode == 'Session' || has(self.code) != has(self.functionRef)",
                "a batch job needs code from exactly one source: give code.inline, code.s3 or "
                "functionRef, or set mode: Session",
            ),
            (
                "!has(self.functionRef) || !has(self.functionId) || "
                "self.functionId == self.functionRef.name",
                "functionId differs from functionRef.name, which the result names anyway: leave "
                "functionId out",
            ),
            (
                "self.mode == 'Session' || !has(self.session)",
                "session belongs to mode: Session",
            ),
            (
                "self.mode == 'Batch' || !(has(self.command) || has(self.args) || has(self.stdin) "
                "|| has(self.functionRef) "
                "|| has(self.failurePolicy) || (has(self.backoffLimit) && self.backoffLimit > 0) "
                "|| (has(self.suspend) && self.suspend))",
                "command, args, stdin, functionRef, backoffLimit, failurePolicy and suspend belong "
                "to mode: Batch; a session takes its code from POST /execute and is not tried "
                "again",
            ),
            (
                "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
                "a cancelled job stays cancelled: create a new job",
            ),
            (
                "!has(self.activeDeadlineSeconds) || !has(self.timeouts) || "
                "!has(self.timeouts.executionSeconds) || "
                "self.timeouts.executionSeconds <= self.activeDeadlineSeconds",
                "timeouts.executionSeconds exceeds activeDeadlineSeconds: lower it, or raise the "
                "deadline",
            ),
        )
    )

    mode: Literal["Batch", "Session"] = Field(
        "Batch",
        description="Batch runs the code once; Session keeps the sandbox and runs what its HTTP "
        "API is given.",
    )
    request_id: Identifier | None = Field(
        None,
        description="Identifies the result in S3 and Redis; default is the job's uid. "
        "Use it once only.",
    )
    function_id: Identifier | None = Field(
        None,
        description="Name of the function that runs; it is echoed in the result. Default is "
        "functionRef.name.",
    )
    code: Code | None = Field(
        None,
        description="The code to run; of a session, files that are in /app from the beginning.",
    )
    function_ref: FunctionRef | None = Field(
        None,
        description="The function to run, in place of code. Its runtime, command, env, resources, "
        "timeouts and outputs are this job's defaults; see docs/functions.md.",
    )
    session: Session | None = Field(
        None, description="How a session lives and is reached; for mode: Session."
    )
    command: Annotated[list[Word], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Command to run in /app; default is python3 main.py."
    )
    args: Annotated[list[Word], Field(max_length=256)] | None = Field(
        None, description="Arguments after the command."
    )
    stdin: str | None = Field(
        None, max_length=65536, description="Text that the code reads on its standard input."
    )
    env: EnvVars = Field(default_factory=list, description="Environment variables of the code.")
    inputs: Annotated[
        list[Input],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = Field(default_factory=list, description="Files from S3, in place before the code starts.")
    outputs: Outputs | None = Field(None, description="Files that are stored afterwards.")
    logs: Logs | None = Field(None, description="How much of stdout and stderr is kept.")
    delivery: DeliveryRules | None = Field(
        None, description="Who is told the result besides Redis."
    )
    runtime: Runtime | None = Field(None, description="The image that the code runs in.")
    resources: Resources | None = Field(None, description="Memory and cpu of the code.")
    timeouts: Timeouts | None = Field(None, description="How long each phase may take.")
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=604_800,
        description="For the whole job with all its attempts, from its first pod on; beyond it, "
        "it is stopped and fails with DeadlineExceeded.",
    )
    termination_grace_period_seconds: int | None = Field(
        None,
        ge=0,
        le=3600,
        description="Between SIGTERM and SIGKILL when the code is stopped; default is 10.",
    )
    backoff_limit: int = Field(
        0, ge=0, le=10, description="How many failed attempts are tried again; default is none."
    )
    failure_policy: FailurePolicy | None = Field(
        None, description="Which failed attempts are tried again, and how."
    )
    cancel: bool = Field(
        False, description="Set to true to stop the job; its outputs and result are kept."
    )
    suspend: bool = Field(
        False, description="While true, no pod runs for the job; a running one is stopped."
    )
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, le=31_536_000, description="Deletes the finished job after so many seconds."
    )
    service_account_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="Service account of the pod's sync and agent (a role for S3); the code gets "
        "no token of it. Default is the operator's setting.",
    )
    priority_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="PriorityClass of the pod."
    )

    @property
    def is_session(self) -> bool:
        """Whether the job stays and runs many executions."""
        return self.mode == names.MODE_SESSION

    @property
    def session_rules(self) -> Session:
        """The session block in force; its defaults when the spec has none."""
        return self.session or Session()


class ExecutionJob(Model):
    """A job: code and inputs that run once, in one sandbox pod, and give one result."""

    api_version: str = Field(names.API_VERSION, alias="apiVersion")
    kind: str = names.KIND
    metadata: dict[str, Any]
    spec: Spec
    status: Status = Field(default_factory=Status)
