"""The operator's uses of S3: results that agents stored, results that only it knows, a check.

boto3 blocks, so each call runs in a thread with connect and read timeouts.
"""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator.outcome import Storage, same_end
from nanogrid_operator.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


log = logging.getLogger("nanogrid.s3")


class S3Error(Exception):
    """S3 did not answer, or refused; the message says what and where."""


class ResultStore:
    """Results in the operator's bucket; does nothing when there is no bucket."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._client: S3Client | None = None
        self._settings = settings

    def _connect(self) -> "S3Client":
        if self._client is None:
            s = self._settings
            options: dict[str, Any] = {"region_name": s.s3_region}
            if s.s3_endpoint:
                options["endpoint_url"] = s.s3_endpoint
            config = Config(
                connect_timeout=3,
                read_timeout=10,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": "path" if s.s3_endpoint else "auto"},
            )
            self._client = boto3.client("s3", config=config, **options)
        return self._client

    async def check(self) -> None:
        """Whether the bucket answers.

        Raises:
            S3Error: it does not.
        """
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        try:
            self._connect().head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as e:
            raise S3Error(f"bucket {self.bucket}: {e}") from e

    async def load(self, request_id: str) -> wire.Result | None:
        """The stored result of a request, or None if there is none.

        Raises:
            S3Error: S3 did not answer properly.
        """
        if not self.bucket:
            return None
        return await asyncio.to_thread(self._load, request_id)

    async def save(self, result: wire.Result) -> Storage:
        """Store a result that was decided, in place of whatever else was told of its job.

        What says the same is left: it may be the whole result of which this is a shortened copy.
        So is another job's.

        Raises:
            S3Error: S3 did not take it.
        """
        return await asyncio.to_thread(self._save, result)

    def _save(self, result: wire.Result) -> Storage:
        key = names.result_object(result.request_id)
        try:
            if self._put(key, result, only_if_absent=True):
                return Storage()
            there = self._read(key)
            if there is not None and there.job.uid != result.job.uid:
                said = f"s3://{self.bucket}/{key} holds the result of job uid {there.job.uid}"
                return Storage(reason=Reason.REQUEST_ID_CONFLICT, message=said)
            if there is None or not same_end(there, result):
                self._put(key, result)
            return Storage()
        except (BotoCoreError, ClientError) as e:
            raise S3Error(f"s3://{self.bucket}/{key}: {e}") from e

    def _put(self, key: str, result: wire.Result, *, only_if_absent: bool = False) -> bool:
        """Whether it was stored; a server that knows no conditions stores it in any case."""
        put = partial(
            self._connect().put_object,
            Bucket=self.bucket,
            Key=key,
            Body=wire.dumps(result).encode(),
            ContentType="application/json",
        )
        if not only_if_absent:
            put()
            return True
        try:
            put(IfNoneMatch="*")
        except ClientError as e:
            code = e.response["Error"]["Code"]
            if code in ("PreconditionFailed", "412"):
                return False
            if code not in ("NotImplemented", "501"):
                raise
            put()
        return True

    def _read(self, key: str) -> wire.Result | None:
        """The result of a key; None when what is there is none."""
        body = self._connect().get_object(Bucket=self.bucket, Key=key)["Body"]
        try:
            return wire.loads(wire.Result, body.read(wire.REPORT_CAP_BYTES))
        except ValueError as e:
            log.warning("s3://%s/%s is no result: %s", self.bucket, key, e)
            return None

    def _load(self, request_id: str) -> wire.Result | None:
        key = names.result_object(request_id)
        try:
            return self._read(key)
        except ClientError as e:
            # Without the right to list, S3 answers 403 for a key that does not exist.
            if e.response["Error"]["Code"] in ("NoSuchKey", "404", "AccessDenied", "403"):
                return None
            raise S3Error(f"s3://{self.bucket}/{key}: {e}") from e
        except BotoCoreError as e:
            raise S3Error(f"s3://{self.bucket}/{key}: {e}") from e
