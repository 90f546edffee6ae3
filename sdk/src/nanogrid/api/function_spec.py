"""The spec of a Function: its runtime, its command, and all uploaded versions.

Versions are only added, so a run of each version can be repeated. The version with the highest
number is the default.
"""

from typing import Annotated

from pydantic import Field

from nanogrid.api.environment import EnvVars
from nanogrid.api.fields import Argument, Bucket, Model, ObjectKey, Sha256, Time, cel, list_map
from nanogrid.api.inputs_outputs import Outputs
from nanogrid.api.network import Network
from nanogrid.api.runtime import InputStrategy, PoolRef, Resources, Runtime, Timeouts

MAX_VERSIONS = 100

FunctionName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
VersionNumber = Annotated[int, Field(ge=1, le=1_000_000)]


FunctionCommand = Annotated[list[Argument], Field(min_length=1, max_length=16)]


class FunctionRef(Model):
    """A function in the job's namespace."""

    name: FunctionName = Field(description="Name of the function; it is the functionId.")
    version: VersionNumber | None = Field(
        None,
        description="Number of the version. Defaults to the newest one when the job first starts.",
    )


class FunctionCode(Model):
    """The ZIP of one version."""

    bucket: Bucket | None = Field(
        None, description="Name of the bucket. Defaults to the bucket of the namespace."
    )
    key: ObjectKey = Field(
        description="Key of the ZIP below the root of the namespace, for example "
        "team-a/functions/f1/v1.zip."
    )
    sha256: Sha256 = Field(description="SHA-256 of the ZIP, in hex.")


class FunctionVersion(Model):
    """An uploaded version. It is immutable."""

    version: VersionNumber = Field(description="Number of the version, starting at 1.")
    s3: FunctionCode = Field(description="Location of the code in S3.")
    command: FunctionCommand | None = Field(
        None, description="Command of this version. Defaults to the function's command."
    )
    created_at: Time = Field(description="Time of the upload.")


class FunctionSpec(Model):
    """Code that can run many times, each time with other input."""

    runtime: Runtime | None = Field(None, description="Image of the sandbox, and its RuntimeClass.")
    versions: Annotated[
        list[FunctionVersion],
        list_map(
            "version",
            MAX_VERSIONS,
            least=1,
            **cel(
                (
                    "oldSelf.all(o, self.exists(n, n == o))",
                    "versions cannot be changed or removed: upload a new version, or create a "
                    "new function",
                ),
                (
                    "self.all(n, oldSelf.exists(o, o.version == n.version) || "
                    "oldSelf.all(o, o.version < n.version))",
                    "the number of a new version must be higher than all existing numbers",
                ),
            ),
        ),
    ] = Field(description="All versions. The version with the highest number is the default.")
    command: FunctionCommand | None = Field(
        None, description="Command to run in /app. Defaults to python3 main.py."
    )
    env: EnvVars = Field(default_factory=list, description="Environment variables of the code.")
    resources: Resources | None = Field(None, description="Memory and CPU of the code.")
    timeouts: Timeouts | None = Field(None, description="Timeout of each phase of a run.")
    outputs: Outputs | None = Field(None, description="Files to store after a run.")
    network: Network | None = Field(None, description="Network access of the code.")
    pool_ref: PoolRef | None = Field(
        None, description="The pool that gives runs a waiting pod. See docs/pools.md."
    )
    input_strategy: InputStrategy | None = Field(
        None, description="Who copies the code and the inputs of runs. Defaults to Init."
    )

    @property
    def newest(self) -> FunctionVersion:
        """The default version: the one with the highest number."""
        return max(self.versions, key=lambda version: version.version)

    def numbered(self, number: int) -> FunctionVersion | None:
        """The version with a number, if it exists."""
        return next((v for v in self.versions if v.version == number), None)
