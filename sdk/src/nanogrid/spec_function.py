"""What a function is: a runtime, how its code starts, and every version that was uploaded.

Versions are only ever added, so that a run of any of them can be repeated; the one with the highest
number is the default.
"""

from typing import Annotated

from pydantic import Field

from nanogrid.fields import Bucket, Model, ObjectKey, Sha256, Word, cel
from nanogrid.spec_data import EnvVars, Outputs
from nanogrid.spec_run import Resources, Runtime, Timeouts

MAX_VERSIONS = 100

FunctionName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
VersionNumber = Annotated[int, Field(ge=1, le=1_000_000)]


class FunctionRef(Model):
    """A function in the job's namespace."""

    name: FunctionName = Field(description="Name of the function, its functionId.")
    version: VersionNumber | None = Field(
        None,
        description="Number of the version; default is the newest when the job first starts.",
    )


class FunctionCode(Model):
    """The ZIP of one version."""

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    key: ObjectKey = Field(description="Key of the ZIP, for example functions/f1/v1.zip.")
    sha256: Sha256 = Field(description="Hex SHA-256 that the ZIP has.")


class FunctionVersion(Model):
    """One uploaded version; it never changes."""

    version: VersionNumber = Field(description="Number of the version, from 1.")
    s3: FunctionCode = Field(description="Where its code is.")
    command: Annotated[list[Word], Field(min_length=1, max_length=16)] | None = Field(
        None, description="Command of this version; default is the function's."
    )
    created_at: Annotated[str, Field(max_length=64)] = Field(
        description="When it was uploaded.", json_schema_extra={"format": "date-time"}
    )


class FunctionSpec(Model):
    """Code that can be run again and again, each time with other input."""

    runtime: Runtime | None = Field(None, description="The image that the code runs in.")
    versions: Annotated[
        list[FunctionVersion],
        Field(
            min_length=1,
            max_length=MAX_VERSIONS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["version"],
                **cel(
                    (
                        "oldSelf.all(o, self.exists(n, n == o))",
                        "versions are only added, never changed or removed: upload a new version, "
                        "or make a new function",
                    ),
                    (
                        "self.all(n, oldSelf.exists(o, o.version == n.version) || "
                        "oldSelf.all(o, o.version < n.version))",
                        "a new version has a higher number than all that are there",
                    ),
                ),
            },
        ),
    ] = Field(description="All versions; the one with the highest number is the default.")
    command: Annotated[list[Word], Field(min_length=1, max_length=16)] | None = Field(
        None, description="Command to run in /app; default is python3 main.py."
    )
    env: EnvVars = Field(default_factory=list, description="Environment variables of the code.")
    resources: Resources | None = Field(None, description="Memory and cpu of the code.")
    timeouts: Timeouts | None = Field(None, description="How long each phase of a run may take.")
    outputs: Outputs | None = Field(None, description="Files that are stored after a run.")

    @property
    def newest(self) -> FunctionVersion:
        """The version that runs when none is named."""
        return max(self.versions, key=lambda version: version.version)

    def numbered(self, number: int) -> FunctionVersion | None:
        """The version of a number, if there is one."""
        return next((v for v in self.versions if v.version == number), None)
