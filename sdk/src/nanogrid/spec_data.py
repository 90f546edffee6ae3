"""What goes into a job and what comes out of it: code, inputs, outputs, logs."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.fields import Bucket, Glob, Model, ObjectKey, Sha256, VersionId, cel


class S3Object(Model):
    """One object in S3."""

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    key: ObjectKey = Field(description="Key of the object, for example functions/f1/v1.zip.")
    sha256: Sha256 | None = Field(
        None, description="Hex SHA-256 that the object must have; otherwise ChecksumMismatch."
    )
    version_id: VersionId | None = Field(None, description="Version of the object to read.")


class S3Location(Model):
    """One object, or everything below a prefix."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.key) != has(self.prefix)",
                "give exactly one of key (one object) and prefix (all objects below it)",
            ),
            (
                "!has(self.sha256) || has(self.key)",
                "sha256 belongs to one object: use key, not prefix",
            ),
            (
                "!has(self.versionId) || has(self.key)",
                "versionId belongs to one object: use key, not prefix",
            ),
        )
    )

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    key: ObjectKey | None = Field(None, description="Key of one object.")
    prefix: ObjectKey | None = Field(
        None, description="Prefix; all objects below it are copied, keeping their folders."
    )
    sha256: Sha256 | None = Field(None, description="Hex SHA-256 that the one object must have.")
    version_id: VersionId | None = Field(None, description="Version of the one object to read.")


class S3Target(Model):
    """Where output files go."""

    bucket: Bucket | None = Field(None, description="Bucket; default is the operator's bucket.")
    prefix: ObjectKey | None = Field(
        None, description="Prefix of the stored files; default is outputs/{requestId}/."
    )


class Code(Model):
    """The user's code, from exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.inline) != has(self.s3)",
                "give exactly one code source: inline (the text itself) or s3 (a ZIP)",
            ),
        )
    )

    inline: str | None = Field(
        None,
        min_length=1,
        max_length=65536,
        description="Python source text, run as main.py. Put more than 64 KiB into a ZIP in S3.",
    )
    s3: S3Object | None = Field(
        None, description="A ZIP with main.py at its top level; it is unpacked into /app."
    )


class Input(Model):
    """Files that must be in place before the code starts."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.unpack) || !self.unpack || has(self.s3.key)",
                "unpack needs one ZIP: use s3.key, not s3.prefix",
            ),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*)$")] = (
        Field(description="Name of the input, unique within the job.")
    )
    s3: S3Location = Field(description="Where the files are.")
    mount_path: Annotated[
        str,
        Field(
            min_length=2,
            max_length=512,
            json_schema_extra=cel(
                (
                    "self.startsWith('/app/')",
                    "mountPath lies below /app, the code's working directory: /app/data, say",
                ),
                (
                    "!self.split('/').exists(p, p == '..' || p == '.')",
                    "mountPath may not hold '.' or '..' segments",
                ),
            ),
        ),
    ] = Field(names.DEFAULT_DATA_PATH, description="Directory below /app that gets the files.")
    required: bool = Field(
        True, description="Whether a missing key or too few files fail the job (InputNotFound)."
    )
    min_files: int = Field(
        1, ge=1, le=1_000_000, description="Least number of files that a required input must give."
    )
    max_bytes: int | None = Field(
        None, ge=1, le=1 << 50, description="Most bytes that the input may have (InputTooLarge)."
    )
    unpack: bool = Field(False, description="Whether the key is a ZIP whose files go to mountPath.")


class Outputs(Model):
    """Which files are stored after the code ended, and where."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            json_schema_extra=cel(
                (
                    "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
                    "outputs.path is relative to /app and stays below it: output, say",
                ),
            ),
        ),
    ] = Field(
        names.DEFAULT_OUTPUT_DIR,
        description="Directory, relative to /app, whose files are stored when the code has ended.",
    )
    s3: S3Target | None = Field(None, description="Where the files go.")
    include: Annotated[list[Glob], Field(max_length=32)] | None = Field(
        None, description="Globs of files to store, relative to path; default is all. ** is deep."
    )
    exclude: Annotated[list[Glob], Field(max_length=32)] | None = Field(
        None, description="Globs of files not to store; they win over include."
    )
    max_files: int = Field(1000, ge=1, le=10_000, description="Most files that are stored.")
    max_file_bytes: int = Field(
        1 << 30, ge=1, le=1 << 40, description="Most bytes of one file; larger is a failure."
    )
    max_bytes: int = Field(
        4 << 30, ge=1, le=1 << 42, description="Most bytes of all files together."
    )
    upload_policy: Literal["Always", "OnSuccess", "Never"] = Field(
        "Always",
        description="When files are stored; those of a failed run go below .partial/.",
    )
    url_format: Literal["S3", "Presigned"] = Field(
        "S3", description="URLs in the result: s3://bucket/key, or presigned for download."
    )
    presigned_expiry_seconds: int = Field(
        3600, ge=1, le=604_800, description="How long presigned URLs work."
    )


class EnvVar(Model):
    """One environment variable of the code."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            json_schema_extra=cel(
                (
                    " && ".join(f"!self.startsWith('{p}')" for p in names.RESERVED_ENV_PREFIXES),
                    "names that start with "
                    + ", ".join(names.RESERVED_ENV_PREFIXES)
                    + " are reserved: choose another",
                ),
            ),
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=32768)] = Field("", description="Its value.")


EnvVars = Annotated[
    list[EnvVar],
    Field(
        max_length=64,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    ),
]


class Logs(Model):
    """How much of stdout and stderr is kept."""

    max_bytes: int = Field(
        10 << 20,
        ge=1,
        le=32 << 20,
        description="Most bytes of each stream's full text in S3; what is beyond is counted.",
    )
    archive: bool = Field(
        True, description="Whether the full text of a stream that the result shortens goes to S3."
    )


class Webhook(Model):
    """An HTTP endpoint that gets the result."""

    url: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s@#\\]+$")] = (
        Field(
            description="Where the result is POSTed; it must lie below one of the operator's "
            "webhook.allowedUrlPrefixes. See docs/webhook.md."
        )
    )


class DeliveryRules(Model):
    """Who is told the result besides Redis."""

    webhook: Webhook | None = Field(
        None, description="Endpoint of this job's result; default is the operator's webhook.url."
    )
