"""The part of a function that a job runs: read once before the first pod, then fixed."""

from typing import Annotated

from pydantic import Field

from nanogrid.api.environment import EnvVars
from nanogrid.api.fields import Model
from nanogrid.api.function_spec import FunctionCode, FunctionCommand, FunctionName, VersionNumber
from nanogrid.api.inputs_outputs import Outputs
from nanogrid.api.network import Network
from nanogrid.api.runtime import InputStrategy, PoolRef, Resources, Runtime, Timeouts


class PinnedFunction(Model):
    """The version and settings of spec.functionRef that the job uses.

    They are read once. Later attempts use the same values, even if the function has a newer version
    or other settings, or was deleted.
    """

    name: FunctionName = Field(description="Name of the function.")
    uid: Annotated[str, Field(max_length=64)] = Field(
        description="Uid of the function. A new function with the same name has another uid."
    )
    version: VersionNumber = Field(description="Number of the version that runs.")
    s3: FunctionCode = Field(description="Location of the code in S3.")
    command: FunctionCommand | None = Field(
        None, description="Command of the version, or of the function."
    )
    env: EnvVars = Field(default_factory=list, description="Environment variables of the function.")
    runtime: Runtime | None = Field(None, description="Image and RuntimeClass of the function.")
    resources: Resources | None = Field(None, description="Memory and CPU of the function.")
    timeouts: Timeouts | None = Field(None, description="Timeouts of the function.")
    network: Network | None = Field(None, description="Network access of the function.")
    pool_ref: PoolRef | None = Field(None, description="Pool of the function.")
    input_strategy: InputStrategy | None = Field(
        None, description="Who copies the code and the inputs, as the function says."
    )
    outputs: Outputs | None = Field(None, description="Rules of the function for output files.")
