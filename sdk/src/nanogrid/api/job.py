"""The ExecutionJob as Kubernetes stores it: pydantic models of the object and its spec."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.api.environment import EnvVars
from nanogrid.api.fields import (
    Argument,
    ControllerClass,
    Identifier,
    Model,
    Resource,
    cel,
    list_map,
)
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.inputs_outputs import Code, DeliveryRules, Input, Logs, Outputs
from nanogrid.api.network import Network
from nanogrid.api.runtime import (
    EXECUTION_SECONDS,
    INPUT_STRATEGY,
    FailurePolicy,
    InputStrategy,
    PoolRef,
    Resources,
    Runtime,
    Timeouts,
)
from nanogrid.api.session import SessionSpec
from nanogrid.api.status import Status

MAX_TTL_SECONDS: Final = 31_536_000  # a year

_CHANGE = (
    "{} of a job cannot be changed: create a new job "
    "(kubectl create with metadata.generateName gives each job a new name)"
)


def _immutable(field: str, required: bool = False) -> tuple[str, str]:
    """A CEL rule that makes a field of the spec immutable."""
    same = f"self.{field} == oldSelf.{field}"
    if not required:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return same, _CHANGE.format(f"spec.{field}")


class Spec(Model):
    """Spec of a job."""

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
            _immutable("inputStrategy"),
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
            _immutable("network"),
            _immutable("poolRef"),
            _immutable("controllerClass"),
            (
                "self.mode == 'Session' || has(self.code) != has(self.functionRef)",
                "a batch job needs code from exactly one source: set code.inline, code.s3 or "
                "functionRef, or set mode: Session",
            ),
            (
                "!has(self.functionRef) || !has(self.functionId) || "
                "self.functionId == self.functionRef.name",
                "functionId differs from functionRef.name: remove functionId, because it defaults "
                "to functionRef.name",
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
                "to mode: Batch; a session runs code from POST /execute and is not retried",
            ),
            (
                "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
                "a cancelled job stays cancelled: create a new job",
            ),
            (
                "!has(self.activeDeadlineSeconds) || !has(self.timeouts) || "
                "!has(self.timeouts.executionSeconds) || "
                "self.timeouts.executionSeconds <= self.activeDeadlineSeconds",
                "timeouts.executionSeconds exceeds activeDeadlineSeconds: lower it, or raise "
                "activeDeadlineSeconds",
            ),
        )
    )

    mode: Literal["Batch", "Session"] = Field(
        "Batch",
        description="Mode of the job. Batch runs the code once. Session keeps the sandbox running "
        "and executes code from its HTTP API.",
    )
    request_id: Identifier | None = Field(
        None,
        description="Identifies the result in S3 and Redis. Use each requestId once. Defaults to "
        "the job's uid.",
    )
    function_id: Identifier | None = Field(
        None,
        description="Name of the function; the result repeats it. Defaults to functionRef.name.",
    )
    code: Code | None = Field(
        None,
        description="The code to run. For a session: files that are in /app when it starts.",
    )
    function_ref: FunctionRef | None = Field(
        None,
        description="The function to run, instead of code. Its runtime, command, env, resources, "
        "timeouts and outputs are defaults of this job. See docs/functions.md.",
    )
    session: SessionSpec | None = Field(
        None, description="Lifetime and access of a session. Only for mode: Session."
    )
    command: Annotated[list[Argument], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Command to run in /app. Defaults to python3 main.py."
    )
    args: Annotated[list[Argument], Field(max_length=256)] | None = Field(
        None, description="Arguments after the command."
    )
    stdin: str | None = Field(
        None, max_length=65536, description="Text on the standard input of the code."
    )
    env: EnvVars = Field(default_factory=list, description="Environment variables of the code.")
    inputs: Annotated[list[Input], list_map("name", 16)] = Field(
        default_factory=list, description="Files from S3. They are copied before the code starts."
    )
    input_strategy: InputStrategy | None = Field(
        None,
        description="Who copies code and inputs from S3. Init: an init container, before the "
        "sandbox starts. Agent: the agent, while the sandbox starts. Both prove the files in the "
        "same way before the code starts. Defaults to Init.",
    )
    outputs: Outputs | None = Field(None, description="Files to store after the code has ended.")
    logs: Logs | None = Field(None, description="Amount of stdout and stderr that is kept.")
    delivery: DeliveryRules | None = Field(
        None, description="Receivers of the result, in addition to Redis."
    )
    runtime: Runtime | None = Field(None, description="Image of the sandbox, and its RuntimeClass.")
    resources: Resources | None = Field(None, description="Memory and CPU of the code.")
    timeouts: Timeouts | None = Field(None, description="Timeout of each phase.")
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=604_800,
        description="Maximum duration in seconds of the whole job with all attempts, counted from "
        "its first pod. A longer job is stopped and fails with DeadlineExceeded.",
    )
    termination_grace_period_seconds: int | None = Field(
        None,
        ge=0,
        le=3600,
        description="Seconds between SIGTERM and SIGKILL when the code is stopped. Defaults to 10.",
    )
    backoff_limit: int = Field(
        0, ge=0, le=10, description="Number of retries after failed attempts. Defaults to 0."
    )
    failure_policy: FailurePolicy | None = Field(
        None, description="Which failed attempts are retried, and how."
    )
    cancel: bool = Field(
        False, description="Set to true to stop the job. Its outputs and its result are kept."
    )
    suspend: bool = Field(
        False, description="While true, the job has no pod. A running pod is stopped."
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MAX_TTL_SECONDS,
        description="Seconds after its end until the finished job is deleted. Defaults to "
        "sandbox.ttlSecondsAfterFinished of the chart, by default never. See docs/lifecycle.md.",
    )
    service_account_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="Service account for the pod's sync and agent containers, for example with a "
        "role for S3. The code does not get its token. Defaults to the operator's setting.",
    )
    network: Network | None = Field(
        None, description="Network access of the code. Defaults to none: egress Deny."
    )
    priority_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="PriorityClass of the pod."
    )
    pool_ref: PoolRef | None = Field(
        None,
        description="The pool that gives the job a waiting pod. If the job does not fit, or no pod "
        "waits, it starts cold. Defaults to the pool whose jobSelector matches, or to "
        "pools.defaultPool of the chart. See docs/pools.md.",
    )
    controller_class: ControllerClass | None = Field(
        None,
        description="Class of the installation that runs the job, if several share the cluster "
        "(controllerClass in the chart's values). Defaults to the installation without a class.",
    )

    @property
    def execution_seconds(self) -> int:
        """The timeout of the code; the default is not longer than the deadline of the job."""
        given = self.timeouts.execution_seconds if self.timeouts else None
        if given is not None:
            return given
        return min(EXECUTION_SECONDS, self.active_deadline_seconds or EXECUTION_SECONDS)

    @property
    def agent_syncs(self) -> bool:
        """Whether the agent copies the inputs, not an init container."""
        return (self.input_strategy or INPUT_STRATEGY) == "Agent"

    @property
    def is_session(self) -> bool:
        """Whether the job is a session."""
        return self.mode == names.MODE_SESSION

    @property
    def session_rules(self) -> SessionSpec:
        """The session block, with defaults when the spec has none."""
        return self.session or SessionSpec()


class ExecutionJob(Resource):
    """A job: code with inputs that runs once in a sandbox pod and produces one result."""

    kind: str = names.KIND
    spec: Spec
    status: Status = Field(default_factory=Status)
