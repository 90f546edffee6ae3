"""The Function as Kubernetes stores it: pydantic models of object and status."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nanogrid import names
from nanogrid.fields import Identifier, Model
from nanogrid.spec_function import FunctionSpec

RECENT_RUNS = 50
COUNTED_RUNS = 500

# What JSON readers take without loss; a number from a pod must not spoil the whole status.
_Amount = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]
_Time = Annotated[str, Field(max_length=64)]
_RunStatus = Literal["SUCCESS", "FAILED", "TIMEOUT"]
_Reason = Annotated[str, Field(max_length=64)]


class LastRun(Model):
    """The run that ended last."""

    request_id: Identifier = Field(description="Its requestId.")
    version: int | None = Field(None, ge=1, description="The version that ran, if it is known.")
    status: _RunStatus = Field(description="How it ended.")
    reason: _Reason = Field(description="One word, see docs/reasons.md.")
    time: _Time = Field(description="When it ended.", json_schema_extra={"format": "date-time"})


class RecentRun(Model):
    """One of the runs that ended last, with what it used."""

    request_id: Identifier = Field(description="Its requestId.")
    job: Annotated[str, Field(max_length=253)] = Field(description="Name of its ExecutionJob.")
    uid: Annotated[str, Field(max_length=64)] = Field(
        description="Uid of its ExecutionJob; each counts once."
    )
    version: int | None = Field(None, ge=1, description="The version that ran, if it is known.")
    status: _RunStatus = Field(description="How it ended.")
    reason: _Reason = Field(description="One word, see docs/reasons.md.")
    time: _Time = Field(description="When it ended.", json_schema_extra={"format": "date-time"})
    duration_millis: _Amount | None = Field(None, description="How long the code ran.")
    peak_memory_bytes: _Amount | None = Field(None, description="Peak memory of the code.")
    memory_limit_bytes: _Amount | None = Field(None, description="Memory limit of its pod.")
    memory_source: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="What measured the peak."
    )


class Recommendation(Model):
    """The memory limit that the measured peaks suggest."""

    memory: Annotated[str, Field(max_length=32)] = Field(
        description="Memory limit to set, for example 64Mi."
    )
    based_on: int = Field(ge=1, description="Number of runs that were measured.")
    p95_peak_bytes: int = Field(
        ge=0, alias="p95PeakBytes", description="Peak memory that 95 of 100 runs stay below."
    )
    current_limit_bytes: int | None = Field(
        None, ge=0, description="Memory limit of the newest of these runs."
    )
    oom_kills: int = Field(0, ge=0, description="How many of these runs ended with OOMKilled.")


class Counted(Model):
    """Which ended runs are in the count although they are in recent no more."""

    until: _Time | None = Field(
        None,
        description="All runs that ended until then are counted, or never will be.",
        json_schema_extra={"format": "date-time"},
    )
    runs: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=COUNTED_RUNS)] = (
        Field(
            default_factory=list,
            description="Runs that ended later: second of the end, and digest of the job's uid.",
        )
    )


class FunctionStatus(Model):
    """What is known of a function's runs; written by the operator only, when runs have ended."""

    observed_generation: int | None = Field(None, ge=0, description="Generation that was read.")
    versions: int | None = Field(None, ge=1, description="How many versions there are.")
    runs: int = Field(0, ge=0, description="Runs that have ended.")
    last_run: LastRun | None = Field(None, description="The run that ended last.")
    recommendation: Recommendation | None = Field(
        None, description="Memory that would do, from the measured peaks of the recent runs."
    )
    recent: Annotated[list[RecentRun], Field(max_length=RECENT_RUNS)] = Field(
        default_factory=list, description="The runs that ended last, the newest first."
    )
    counted: Counted | None = Field(None, description="What keeps a run from being counted twice.")


class Function(Model):
    """Code that can be run again and again, each time with other input."""

    api_version: str = Field(names.API_VERSION, alias="apiVersion")
    kind: str = names.FUNCTION_KIND
    metadata: dict[str, Any]
    spec: FunctionSpec
    status: FunctionStatus = Field(default_factory=FunctionStatus)
