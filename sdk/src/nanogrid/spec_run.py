"""How a job runs: runtime, resources, timeouts, and what happens to failed attempts."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from nanogrid.fields import Model, Quantity, cel


class Runtime(Model):
    """The image that the code runs in."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None,
        description="Image of the sandbox container; default is the executor image (Python). "
        "It needs python3 >= 3.11 for the launcher; see docs/runtimes.md.",
    )
    runtime_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="RuntimeClass of the pod (gVisor, Kata); default is the operator's."
    )


class ResourceList(Model):
    """Amounts of what a container may use."""

    cpu: Quantity | None = Field(None, description="Cores, for example '1' or 500m.")
    memory: Quantity | None = Field(None, description="Bytes, for example 256Mi.")

    def amounts(self) -> dict[str, str]:
        """The amounts that are given, by name."""
        return {name: str(value) for name, value in self if value is not None}


class Resources(Model):
    """Resources of the sandbox container."""

    limits: ResourceList | None = Field(
        None, description="Most cpu and memory, for example {cpu: '1', memory: 256Mi}."
    )
    requests: ResourceList | None = Field(
        None, description="Reserved cpu and memory; default is the limits."
    )


class Timeouts(Model):
    """How long each phase may take, in seconds."""

    startup_seconds: int = Field(
        300, ge=1, le=86400, description="From the pod's creation to the start of the code."
    )
    input_sync_seconds: int = Field(
        300, ge=1, le=86400, description="For copying the inputs; beyond it, InputSyncTimeout."
    )
    execution_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="For the code itself; beyond it, it is stopped and the result is TIMEOUT.",
    )
    upload_seconds: int = Field(300, ge=1, le=86400, description="For storing the output files.")


class ExitCodes(Model):
    """A set of exit codes, as in batch/v1 Job."""

    operator: Literal["In", "NotIn"] = Field(description="In or NotIn the values.")
    values: Annotated[
        list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=1, max_length=64)
    ] = Field(description="Exit codes, 1 to 255.")


class MoreMemory(Model):
    """How memory grows from attempt to attempt."""

    factor: Annotated[str, Field(max_length=8, pattern=r"^[1-9][0-9]?(\.[0-9]{1,2})?$")] = Field(
        "2", description="Times the last limit, for example '1.5'."
    )
    max: Quantity = Field(description="Most memory; when it was not enough, the job fails.")


class FailureRule(Model):
    """What to do about an attempt that failed in one way; the first rule that fits wins."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.onReasons) != has(self.onExitCodes)",
                "a rule has exactly one of onReasons and onExitCodes",
            ),
            (
                "(self.action == 'RetryWithMoreMemory') == has(self.memory)",
                "memory {factor, max} belongs to action RetryWithMoreMemory, and only to it",
            ),
        )
    )

    on_reasons: (
        Annotated[
            list[Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z]*$")]],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(None, description="Reasons as in docs/reasons.md, for example OOMKilled.")
    on_exit_codes: ExitCodes | None = Field(None, description="Exit codes of the code.")
    action: Literal["FailJob", "Ignore", "Count", "RetryWithMoreMemory"] = Field(
        description="FailJob ends the job, Ignore retries without counting, Count retries up to "
        "backoffLimit, RetryWithMoreMemory retries with a higher limit up to memory.max."
    )
    memory: MoreMemory | None = Field(None, description="For RetryWithMoreMemory.")


class Backoff(Model):
    """Pause between attempts."""

    initial_seconds: int = Field(1, ge=0, le=3600, description="Pause before the second attempt.")
    factor: int = Field(2, ge=1, le=10, description="Growth from attempt to attempt.")
    max_seconds: int = Field(60, ge=0, le=86400, description="Longest pause.")


class FailurePolicy(Model):
    """Which failed attempts are tried again."""

    rules: Annotated[list[FailureRule], Field(max_length=20)] = Field(
        default_factory=list, description="Rules; the first that fits wins."
    )
    backoff: Backoff | None = Field(None, description="Pause between attempts.")
