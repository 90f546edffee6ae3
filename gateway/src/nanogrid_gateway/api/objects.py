"""S3 for the requests' threads: code, large inputs, results and output files, in one bucket."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nanogrid import names, wire
from nanogrid_gateway.api.errors import storage_away
from nanogrid_gateway.api.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("nanogrid.gateway.s3")

CHUNK_BYTES = 256 * 1024
GONE = ("NoSuchKey", "404", "NotFound")
# Without the right to list, S3 answers 403 for a key that does not exist.
UNSEEN = (*GONE, "AccessDenied", "403")


@dataclass(frozen=True, slots=True)
class Download:
    """An object on its way: its size in bytes, and its content."""

    size: int
    chunks: Iterator[bytes]


class Objects:
    """The bucket; errors of S3 become a 503 with what S3 said."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        options: dict[str, Any] = {"region_name": settings.s3_region}
        if settings.s3_endpoint:
            options["endpoint_url"] = settings.s3_endpoint
        config = Config(
            connect_timeout=3,
            read_timeout=30,
            max_pool_connections=settings.spare_threads,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
            request_checksum_calculation="when_required",
        )
        self._client: S3Client = boto3.client("s3", config=config, **options)

    def check(self) -> None:
        """Whether the bucket answers.

        Raises:
            ApiError: 503.
        """
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as e:
            raise storage_away(f"bucket {self.bucket}: {e}") from e

    def put_new(self, key: str, body: IO[bytes] | bytes, content_type: str) -> bool:
        """Store an object unless there is one of that key; whether it was stored."""
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*"
            )
        except ClientError as e:
            if e.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                return False
            raise storage_away(f"s3://{self.bucket}/{key}: {e}") from e
        except BotoCoreError as e:
            raise storage_away(f"s3://{self.bucket}/{key}: {e}") from e
        return True

    def result(self, request_id: str) -> dict[str, Any] | None:
        """The stored result JSON of a request, or None if there is none that can be read."""
        key = names.result_object(request_id)
        try:
            body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            found = json.loads(body.read(wire.REPORT_CAP_BYTES))
        except ClientError as e:
            if e.response["Error"]["Code"] in UNSEEN:
                return None
            raise storage_away(f"s3://{self.bucket}/{key}: {e}") from e
        except BotoCoreError as e:
            raise storage_away(f"s3://{self.bucket}/{key}: {e}") from e
        except ValueError as e:
            log.warning("s3://%s/%s is no result: %s", self.bucket, key, e)
            return None
        return found if isinstance(found, dict) else None

    def download(self, bucket: str, key: str) -> Download | None:
        """An object's content, or None if there is no such object."""
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
        except ClientError as e:
            if e.response["Error"]["Code"] in GONE:
                return None
            raise storage_away(f"s3://{bucket}/{key}: {e}") from e
        except BotoCoreError as e:
            raise storage_away(f"s3://{bucket}/{key}: {e}") from e
        return Download(answer["ContentLength"], answer["Body"].iter_chunks(CHUNK_BYTES))

    def delete(self, prefix: str) -> int:
        """Remove everything below a prefix; how many objects it was."""
        count = 0
        try:
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
                    self._client.delete_objects(
                        Bucket=self.bucket,
                        Delete={"Objects": keys, "Quiet": True},  # type: ignore[typeddict-item]
                    )
                    count += len(keys)
        except (BotoCoreError, ClientError) as e:
            raise storage_away(f"s3://{self.bucket}/{prefix}: {e}") from e
        return count
