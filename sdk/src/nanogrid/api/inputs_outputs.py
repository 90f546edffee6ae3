"""Code, inputs, outputs and logs of a job."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid import names
from nanogrid.api.fields import (
    Bucket,
    Glob,
    Model,
    ObjectKey,
    Prefix,
    Sha256,
    VersionId,
    cel,
)

TOTAL_BYTES: Final = 4 << 30  # the default for all output files together


class S3Object(Model):
    """An object in S3."""

    bucket: Bucket | None = Field(
        None, description="Name of the bucket. Defaults to the bucket of the namespace."
    )
    key: ObjectKey = Field(
        description="Key of the object below the root of the namespace, for example "
        "team-a/code/v1.zip. See docs/storage.md."
    )
    sha256: Sha256 | None = Field(
        None,
        description="Expected SHA-256 of the object, in hex. Another value fails the job with "
        "ChecksumMismatch.",
    )
    version_id: VersionId | None = Field(None, description="S3 version of the object.")


class S3Location(Model):
    """An object, or all objects below a prefix."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.key) != has(self.prefix)",
                "set exactly one of key (one object) and prefix (all objects below it)",
            ),
            (
                "!has(self.sha256) || has(self.key)",
                "sha256 is for one object: use key, not prefix",
            ),
            (
                "!has(self.versionId) || has(self.key)",
                "versionId is for one object: use key, not prefix",
            ),
        )
    )

    bucket: Bucket | None = Field(
        None, description="Name of the bucket. Defaults to the bucket of the namespace."
    )
    key: ObjectKey | None = Field(
        None, description="Key of one object below the root of the namespace."
    )
    prefix: Prefix | None = Field(
        None,
        description="Prefix below the root of the namespace. It is a folder: data contains data/x, "
        "and not data2/x or data-x. All objects below it are copied with their folders.",
    )
    sha256: Sha256 | None = Field(
        None, description="Expected SHA-256 of the object, in hex. Only with key."
    )
    version_id: VersionId | None = Field(
        None, description="S3 version of the object. Only with key."
    )


class S3Target(Model):
    """Destination of the output files."""

    bucket: Bucket | None = Field(
        None, description="Name of the bucket. Defaults to the bucket of the namespace."
    )
    prefix: Prefix | None = Field(
        None,
        description="Prefix of the stored files, below the root of the namespace. Defaults to "
        "outputs/{requestId}/ there.",
    )


class Code(Model):
    """The code, from exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.inline) != has(self.s3)",
                "set exactly one code source: inline (the text itself) or s3 (a ZIP)",
            ),
        )
    )

    inline: str | None = Field(
        None,
        min_length=1,
        max_length=65536,
        description="Python source text; it runs as main.py. The file is in the encoding that its "
        "first lines declare, or in UTF-8. Use a ZIP in S3 for more than 64 KiB.",
    )
    s3: S3Object | None = Field(
        None,
        description="A ZIP with main.py at its top level or in its only folder. It is unpacked "
        "into /app. See docs/archives.md.",
    )


class Input(Model):
    """Files that are copied before the code starts."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.unpack) || !self.unpack || has(self.s3.key)",
                "unpack needs one ZIP: use s3.key, not s3.prefix",
            ),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*)$")] = (
        Field(description="Name of the input. It must be unique within the job.")
    )
    s3: S3Location = Field(description="Location of the files in S3.")
    mount_path: Annotated[
        str,
        Field(
            min_length=2,
            max_length=512,
            json_schema_extra=cel(
                (
                    "self.startsWith('/app/')",
                    "mountPath must be below /app, the working directory of the code, for example "
                    "/app/data",
                ),
                (
                    "!self.split('/').exists(p, p == '..' || p == '.')",
                    "mountPath must not contain '.' or '..' segments",
                ),
            ),
        ),
    ] = Field(names.DEFAULT_DATA_PATH, description="Directory below /app for the files.")
    required: bool = Field(
        True, description="Whether a missing key or too few files fail the job with InputNotFound."
    )
    min_files: int = Field(
        1, ge=1, le=1_000_000, description="Minimum number of files of a required input."
    )
    max_bytes: int | None = Field(
        None,
        ge=1,
        le=1 << 50,
        description="Maximum size of the input in bytes. A larger input fails the job with "
        "InputTooLarge.",
    )
    unpack: bool = Field(False, description="Whether to unpack the object, a ZIP, into mountPath.")


class Outputs(Model):
    """The files to store after the code has ended, and their destination."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            json_schema_extra=cel(
                (
                    "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
                    "outputs.path is relative to /app and stays below it, for example output",
                ),
            ),
        ),
    ] = Field(
        names.DEFAULT_OUTPUT_DIR,
        description="Directory relative to /app. Its files are stored after the code has ended. It "
        "exists before the code starts, so use mkdir -p or os.makedirs(..., exist_ok=True). "
        "Unchanged files of the code's ZIP are not stored.",
    )
    s3: S3Target | None = Field(None, description="Destination of the files in S3.")
    include: Annotated[list[Glob], Field(max_length=32)] | None = Field(
        None,
        description="Globs of files to store, relative to path: *.csv is at its top, **/*.csv at "
        "all depths, *.{csv,json} is each of them. Case matters. Defaults to all files.",
    )
    exclude: Annotated[list[Glob], Field(max_length=32)] | None = Field(
        None, description="Globs of files not to store. They take precedence over include."
    )
    max_files: int = Field(1000, ge=1, le=10_000, description="Maximum number of stored files.")
    max_file_bytes: int = Field(
        1 << 30,
        ge=1,
        le=1 << 40,
        description="Maximum size of one file in bytes. A larger file fails the job.",
    )
    max_bytes: int | None = Field(
        None,
        ge=1,
        le=1 << 42,
        description="Maximum size of all files together, in bytes. Defaults to 4Gi, or to a larger "
        "maxFileBytes.",
    )
    upload_policy: Literal["Always", "OnSuccess", "Never"] = Field(
        "Always",
        description="When files are stored. Files of a failed run are stored below .partial/.",
    )
    url_format: Literal["S3", "Presigned"] = Field(
        "S3",
        description="URLs in the result: S3 gives s3://bucket/key, Presigned gives a download URL.",
    )
    presigned_expiry_seconds: int = Field(
        3600, ge=1, le=604_800, description="Lifetime of presigned URLs in seconds."
    )

    @property
    def total_bytes(self) -> int:
        """The maximum size of all files in force."""
        return self.max_bytes or max(TOTAL_BYTES, self.max_file_bytes)


class Logs(Model):
    """Amount of stdout and stderr that is kept."""

    max_bytes: int = Field(
        10 << 20,
        ge=1,
        le=32 << 20,
        description="Maximum size in bytes of the full text of each stream in S3. Further bytes "
        "are only counted.",
    )
    archive: bool = Field(
        True, description="Whether the full text is stored in S3 when the result shortens a stream."
    )


class Webhook(Model):
    """An HTTP endpoint that receives the result."""

    url: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s@#\\]+$")] = (
        Field(
            description="URL that receives the result by POST. It must begin with one of the "
            "operator's webhook.allowedUrlPrefixes. See docs/webhook.md."
        )
    )


class DeliveryRules(Model):
    """Receivers of the result, in addition to Redis."""

    webhook: Webhook | None = Field(
        None,
        description="Endpoint for the result. Defaults to the operator's webhook.url.",
    )
