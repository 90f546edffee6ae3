"""The Function as Kubernetes stores it: pydantic models of the object and its status."""

from typing import Annotated, Literal

from pydantic import Field

from nanogrid import names
from nanogrid.api.fields import Identifier, Model, Resource, Time
from nanogrid.api.function_spec import FunctionSpec

RECENT_RUNS = 50
COUNTED_RUNS = 500

# JSON readers keep integers up to 2^53 - 1 exact. A larger number from a pod would make the whole
# status invalid.
_Amount = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]


class EndedRun(Model):
    """A run that has ended."""

    request_id: Identifier = Field(description="The requestId of the run.")
    version: int | None = Field(
        None, ge=1, description="Version of the function that ran, if it is known."
    )
    status: Literal["SUCCESS", "FAILED", "TIMEOUT"] = Field(
        description="Status of the result: SUCCESS, FAILED or TIMEOUT."
    )
    reason: Annotated[str, Field(max_length=64)] = Field(
        description="Reason of the result, see docs/reasons.md."
    )
    time: Time = Field(description="Time when the run ended.")


class RecentRun(EndedRun):
    """A recent run that ended, with its resource usage."""

    job: Annotated[str, Field(max_length=253)] = Field(
        description="Name of the ExecutionJob of the run."
    )
    uid: Annotated[str, Field(max_length=64)] = Field(
        description="Uid of the ExecutionJob of the run. Each uid is counted once."
    )
    duration_millis: _Amount | None = Field(
        None, description="Run time of the code in milliseconds."
    )
    peak_memory_bytes: _Amount | None = Field(None, description="Peak memory of the code in bytes.")
    memory_limit_bytes: _Amount | None = Field(
        None, description="Memory limit of the sandbox in bytes."
    )
    memory_source: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Source of the peak memory value."
    )


class Recommendation(Model):
    """The recommended memory limit, from measured peaks."""

    memory: Annotated[str, Field(max_length=32)] = Field(
        description="Recommended memory limit, for example 64Mi."
    )
    based_on: int = Field(ge=1, description="Number of measured runs.")
    p95_peak_bytes: int = Field(
        ge=0, alias="p95PeakBytes", description="95th percentile of the peak memory, in bytes."
    )
    current_limit_bytes: int | None = Field(
        None, ge=0, description="Memory limit of the newest of these runs, in bytes."
    )
    oom_kills: int = Field(0, ge=0, description="Number of these runs that ended with OOMKilled.")


class Counted(Model):
    """The ended runs that are counted but no longer in recent."""

    until: Time | None = Field(
        None, description="Runs that ended at or before this time are not counted any more."
    )
    runs: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=COUNTED_RUNS)] = (
        Field(
            default_factory=list,
            description="Runs that ended later: second of the end, and digest of the job's uid.",
        )
    )


class FunctionStatus(Model):
    """Statistics of a function's runs. Only the operator writes it, when runs have ended."""

    observed_generation: int | None = Field(
        None, ge=0, description="Generation of the spec that the operator last read."
    )
    versions: int | None = Field(None, ge=1, description="Number of versions.")
    runs: int = Field(0, ge=0, description="Number of runs that have ended.")
    last_run: EndedRun | None = Field(None, description="The last run that ended.")
    recommendation: Recommendation | None = Field(
        None, description="Recommended memory limit, from the measured peaks of the recent runs."
    )
    recent: Annotated[list[RecentRun], Field(max_length=RECENT_RUNS)] = Field(
        default_factory=list, description="The last runs that ended, the newest first."
    )
    counted: Counted | None = Field(
        None, description="Bookkeeping that prevents counting a run twice."
    )


class Function(Resource):
    """Code that can run many times, each time with other input."""

    kind: str = names.FUNCTION_KIND
    spec: FunctionSpec
    status: FunctionStatus = Field(default_factory=FunctionStatus)
