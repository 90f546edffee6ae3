"""The ExecutionPool as Kubernetes stores it: pydantic models of the object, its spec and status."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.api.fields import ControllerClass, Millis, Model, Resource, cel, list_map
from nanogrid.api.label_selector import LabelKey, LabelSelector, LabelValue
from nanogrid.api.runtime import Resources, Runtime
from nanogrid.api.status import Condition

MIN_READY: Final = 1  # the default
MAX_PODS: Final = 1000
MAX_AGE_SECONDS: Final = 3600  # the default
MAX_PRELOADED: Final = 16

Module = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
    ),
]
_Count = Annotated[int, Field(ge=0)]


class Toleration(Model):
    """A taint of nodes that pods tolerate, as in a Pod."""

    key: LabelKey | None = Field(
        None, description="Key of the taint. Without a key, operator Exists tolerates every taint."
    )
    operator: Literal["Equal", "Exists"] | None = Field(
        None, description="Equal compares the value, Exists does not. Defaults to Equal."
    )
    value: LabelValue | None = Field(None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Defaults to every effect."
    )
    toleration_seconds: int | None = Field(
        None, description="Seconds that a pod stays on a node with a NoExecute taint."
    )


class PoolSpec(Model):
    """Spec of a pool: how many pods wait, what they are, and which jobs take them."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.minReady) || !has(self.maxReady) || self.minReady <= self.maxReady",
                "minReady exceeds maxReady: lower it, or raise maxReady",
            ),
            (
                "has(self.controllerClass) == has(oldSelf.controllerClass) && "
                "(!has(self.controllerClass) || self.controllerClass == oldSelf.controllerClass)",
                "spec.controllerClass of a pool cannot be changed: create a new pool",
            ),
            (
                "self.mode != 'Session' || !has(self.preload) || size(self.preload) == 0",
                "preload is for mode: Batch: a session starts an interpreter for each context",
            ),
        )
    )

    mode: Literal["Batch", "Session"] = Field(
        "Batch",
        description="Mode of the jobs that take pods of this pool. The pods of sessions are others "
        "than those of batch jobs.",
    )
    min_ready: int | None = Field(
        None,
        ge=0,
        le=MAX_PODS,
        description="Least number of pods that wait for a job. Defaults to 1, or to a lower "
        "maxReady.",
    )
    max_ready: int | None = Field(
        None,
        ge=0,
        le=MAX_PODS,
        description="Highest number of pods that wait for a job. Between minReady and maxReady the "
        "number follows the demand. Defaults to minReady.",
    )
    runtime: Runtime | None = Field(None, description="Image of the sandbox, and its RuntimeClass.")
    resources: Resources | None = Field(
        None, description="Memory and CPU of the code. A job without resources takes them."
    )
    service_account_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="Service account of the pods. Defaults to the operator's setting.",
    )
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] | None = Field(
        None, description="Labels of the pods' nodes. Defaults to the operator's setting."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = Field(
        None, description="Taints that the pods tolerate. Defaults to the operator's setting."
    )
    affinity: dict[str, Any] | None = Field(
        None,
        description="Affinity of the pods, as in a Pod. Defaults to the operator's setting.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    priority_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="PriorityClass of the pods, also while a job runs in them. Defaults to the "
        "class of the chart for pools, which gives way to all other pods.",
    )
    job_selector: LabelSelector | None = Field(
        None,
        description="Labels of the jobs that take pods of this pool. A job's poolRef comes before "
        "it. Without a selector only jobs with a poolRef take pods, unless the pool is the default "
        "(pools.defaultPool in the chart's values). Of several pools that match, the first by name "
        "is taken.",
    )
    max_age_seconds: int = Field(
        MAX_AGE_SECONDS,
        ge=60,
        le=604_800,
        description="Age in seconds at which a waiting pod is replaced. Defaults to 3600.",
    )
    preload: Annotated[
        list[Module],
        Field(max_length=MAX_PRELOADED, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default_factory=list,
        description="Python modules that the waiting interpreter has imported, for example pandas.",
    )
    controller_class: ControllerClass | None = Field(
        None,
        description="Class of the installation that keeps the pool, if several share the cluster "
        "(controllerClass in the chart's values). Defaults to the installation without a class.",
    )

    @property
    def is_for_sessions(self) -> bool:
        """Whether sessions take its pods."""
        return self.mode == names.MODE_SESSION

    @property
    def least_ready(self) -> int:
        """The least number of waiting pods in force; the default does not exceed maxReady."""
        if self.min_ready is not None:
            return self.min_ready
        return MIN_READY if self.max_ready is None else min(MIN_READY, self.max_ready)

    @property
    def most_ready(self) -> int:
        """The highest number of waiting pods in force."""
        return self.least_ready if self.max_ready is None else self.max_ready


class PoolStatus(Model):
    """Status of a pool. Only the operator writes it."""

    observed_generation: int | None = Field(
        None, ge=0, description="Generation of the spec that the operator last processed."
    )
    target: _Count = Field(0, description="Number of pods that should wait now.")
    ready: _Count = Field(0, description="Number of pods that wait for a job.")
    starting: _Count = Field(0, description="Number of pods that are not ready yet.")
    claimed: _Count = Field(0, description="Number of pods in which a job runs.")
    claims: _Count = Field(0, description="Number of jobs that have taken a pod.")
    misses: _Count = Field(
        0, description="Number of jobs that found no ready pod, and started cold."
    )
    claim_p50_millis: Millis | None = Field(
        None,
        alias="claimP50Millis",
        description="Median time of the recent claims in milliseconds, from the decision to start "
        "the job until its pod has the task.",
    )
    conditions: Annotated[list[Condition], list_map("type", 8)] = Field(
        default_factory=list, description="Conditions: Ready."
    )


class ExecutionPool(Resource):
    """Pods that wait for jobs, so that a job starts at once."""

    kind: str = names.POOL_KIND
    spec: PoolSpec = Field(default_factory=PoolSpec)
    status: PoolStatus = Field(default_factory=PoolStatus)
