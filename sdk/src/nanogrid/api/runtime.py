"""How a job runs: runtime, resources, timeouts, and retries of failed attempts."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid.api.fields import (
    CpuLimit,
    CpuRequest,
    DiskSize,
    ListedMemoryLimit,
    MemoryLimit,
    MemoryRequest,
    Model,
    PoolName,
    cel,
)

EXECUTION_SECONDS: Final = 300  # the default of the timeout of code
MAX_PAUSE_SECONDS: Final = 60


class Runtime(Model):
    """Image of the sandbox, and its RuntimeClass."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None,
        description="Image of the sandbox container. It needs python3 >= 3.11 for the launcher. "
        "Defaults to the executor image (Python). See docs/runtimes.md.",
    )
    runtime_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="RuntimeClass of the pod, for example of gVisor or Kata. Defaults to the "
        "operator's setting.",
    )


class PoolRef(Model):
    """An ExecutionPool in the job's namespace."""

    name: PoolName = Field(description="Name of the ExecutionPool.")


# Where the inputs are copied: by the init container, or by the agent.
InputStrategy = Literal["Init", "Agent"]
INPUT_STRATEGY: Final[InputStrategy] = "Init"


class _Amounts(Model):
    """Amounts by name."""

    def amounts(self) -> dict[str, str]:
        """The given amounts by the name of the field."""
        return {name: str(value) for name, value in self if value is not None}


class ResourceLimits(_Amounts):
    """Maximum CPU, memory and disk space."""

    cpu: CpuLimit | None = Field(None, description="CPU in cores, for example '1' or 500m.")
    memory: MemoryLimit | None = Field(None, description="Memory in bytes, for example 256Mi.")
    ephemeral_storage: DiskSize | None = Field(
        None,
        alias="ephemeral-storage",
        description="Size of /app in bytes, for example 10Gi. The platform team sets the default "
        "and the maximum. See docs/limits.md.",
    )


class ResourceRequests(_Amounts):
    """Reserved CPU, memory and disk space."""

    cpu: CpuRequest | None = Field(None, description="CPU in cores, for example '1' or 500m.")
    memory: MemoryRequest | None = Field(None, description="Memory in bytes, for example 256Mi.")
    ephemeral_storage: DiskSize | None = Field(
        None,
        alias="ephemeral-storage",
        description="Disk space in bytes that the scheduler reserves on the node. Defaults to the "
        "operator's setting.",
    )


class Resources(Model):
    """Resources of the sandbox container."""

    limits: ResourceLimits | None = Field(
        None, description="Maximum CPU and memory, for example {cpu: '1', memory: 256Mi}."
    )
    requests: ResourceRequests | None = Field(
        None, description="Reserved CPU and memory. Defaults to the limits."
    )


class Timeouts(Model):
    """Timeout of each phase, in seconds."""

    startup_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="Maximum time in seconds from the creation of the pod to the start of the "
        "code.",
    )
    input_sync_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="Maximum time in seconds to copy the inputs. A longer copy fails the job with "
        "InputSyncTimeout.",
    )
    execution_seconds: int | None = Field(
        None,
        ge=1,
        le=86400,
        description="Maximum run time of the code in seconds. Longer code is stopped, and the "
        "result is TIMEOUT. Defaults to 300, or to a shorter activeDeadlineSeconds or limit of "
        "the namespace.",
    )
    upload_seconds: int = Field(
        300, ge=1, le=86400, description="Maximum time in seconds to store the output files."
    )


class ExitCodes(Model):
    """A set of exit codes, as in batch/v1 Job."""

    operator: Literal["In", "NotIn"] = Field(
        description="Whether the exit code must be In or NotIn the values."
    )
    values: Annotated[
        list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=1, max_length=64)
    ] = Field(description="Exit codes, 1 to 255.")


class MoreMemory(Model):
    """Growth of memory from attempt to attempt."""

    factor: Annotated[str, Field(max_length=8, pattern=r"^[1-9][0-9]?(\.[0-9]{1,2})?$")] = Field(
        "2", description="Factor on the last limit, for example '1.5'."
    )
    max: ListedMemoryLimit = Field(
        description="Maximum memory limit. If it is not enough, the job fails."
    )


class FailureRule(Model):
    """Action for attempts that failed in a certain way. The first matching rule applies."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.onReasons) != has(self.onExitCodes)",
                "a rule needs exactly one of onReasons and onExitCodes",
            ),
            (
                "(self.action == 'RetryWithMoreMemory') == has(self.memory)",
                "memory {factor, max} belongs to action: RetryWithMoreMemory, and only to it",
            ),
        )
    )

    on_reasons: (
        Annotated[
            list[Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z]*$")]],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(None, description="Reasons that match, for example OOMKilled. See docs/reasons.md.")
    on_exit_codes: ExitCodes | None = Field(None, description="Exit codes that match.")
    action: Literal["FailJob", "Ignore", "Count", "RetryWithMoreMemory"] = Field(
        description="FailJob ends the job. Ignore retries and does not count the attempt. Count "
        "retries up to backoffLimit. RetryWithMoreMemory retries with a higher limit, up to "
        "memory.max."
    )
    memory: MoreMemory | None = Field(
        None, description="Growth of memory. Only for RetryWithMoreMemory."
    )


class Backoff(Model):
    """Pause between attempts."""

    initial_seconds: int = Field(
        1, ge=0, le=3600, description="Pause before the second attempt, in seconds."
    )
    factor: int = Field(2, ge=1, le=10, description="Factor of growth from attempt to attempt.")
    max_seconds: int | None = Field(
        None,
        ge=0,
        le=86400,
        description="Maximum pause in seconds. Defaults to 60, or to a longer initialSeconds.",
    )

    @property
    def longest_seconds(self) -> int:
        """The maximum pause in force."""
        if self.max_seconds is not None:
            return self.max_seconds
        return max(MAX_PAUSE_SECONDS, self.initial_seconds)


class FailurePolicy(Model):
    """Which failed attempts are retried."""

    rules: Annotated[list[FailureRule], Field(max_length=20)] = Field(
        default_factory=list, description="Rules in order. The first matching rule applies."
    )
    backoff: Backoff | None = Field(None, description="Pause between attempts.")
