"""What a job runs of a function: read once before its first pod, and the same ever after."""

from typing import Annotated

from pydantic import Field

from nanogrid.fields import Model, Word
from nanogrid.spec_data import EnvVars, Outputs
from nanogrid.spec_function import FunctionCode, FunctionName, VersionNumber
from nanogrid.spec_run import Resources, Runtime, Timeouts


class PinnedFunction(Model):
    """What a job runs of the function that spec.functionRef names.

    It stays as it was first read: for later attempts, also when the function has a newer version,
    other settings, or is gone.
    """

    name: FunctionName = Field(description="Name of the function.")
    uid: Annotated[str, Field(max_length=64)] = Field(
        description="Uid of the function: another one of its name is another function."
    )
    version: VersionNumber = Field(description="The version that runs.")
    s3: FunctionCode = Field(description="Where its code is.")
    command: Annotated[list[Word], Field(min_length=1, max_length=16)] | None = Field(
        None, description="The version's command, or the function's."
    )
    env: EnvVars = Field(default_factory=list, description="The function's variables.")
    runtime: Runtime | None = Field(None, description="The function's image.")
    resources: Resources | None = Field(None, description="The function's memory and cpu.")
    timeouts: Timeouts | None = Field(None, description="The function's timeouts.")
    outputs: Outputs | None = Field(None, description="The function's rules for output files.")
