"""The Function as Kubernetes stores it: pydantic models of object and status."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nanogrid import names
from nanogrid.fields import Identifier, Model
from nanogrid.spec_function import FunctionSpec


class LastRun(Model):
    """The run that ended last."""

    request_id: Identifier = Field(description="Its requestId.")
    status: Literal["SUCCESS", "FAILED", "TIMEOUT"] = Field(description="How it ended.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="One word, see docs/reasons.")
    time: Annotated[str, Field(max_length=64)] = Field(
        description="When it ended.", json_schema_extra={"format": "date-time"}
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


class FunctionStatus(Model):
    """What is known of a function's runs; written by the operator only."""

    runs: int = Field(0, ge=0, description="Runs that have ended.")
    last_run: LastRun | None = Field(None, description="The run that ended last.")
    recommendation: Recommendation | None = Field(
        None, description="Memory that would do, from measured peaks."
    )


class Function(Model):
    """Code that can be run again and again, each time with other input."""

    api_version: str = Field(names.API_VERSION, alias="apiVersion")
    kind: str = names.FUNCTION_KIND
    metadata: dict[str, Any]
    spec: FunctionSpec
    status: FunctionStatus = Field(default_factory=FunctionStatus)
