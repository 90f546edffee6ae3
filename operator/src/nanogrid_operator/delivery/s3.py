"""The operator's use of S3: it reads and stores results, and checks the bucket.

boto3 blocks, so each call runs in a thread with connect and read timeouts.
"""

import asyncio
import logging
import time

from nanogrid import names, wire
from nanogrid.assumed_role import AssumedRole
from nanogrid.reasons import Reason
from nanogrid.result_auth import NotAuthenticError
from nanogrid.s3.client import S3
from nanogrid.s3.errors import S3Error
from nanogrid.tenancy import Area
from nanogrid_operator.decision.outcome import Storage, same_end
from nanogrid_operator.delivery.attempts import Attempted, unmeasured
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.targets import S3 as S3_TARGET
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.s3")


class ResultStore:
    """Results, each in the area of its namespace. ``bucket`` is the installation's default."""

    def __init__(
        self, settings: Settings, keys: ResultKeys, attempted: Attempted = unmeasured
    ) -> None:
        self.bucket = settings.s3_bucket
        self._keys = keys
        self._attempted = attempted
        self._s3: S3 | None = None
        self._settings = settings

    def _connect(self) -> S3:
        if self._s3 is None:
            s = self._settings
            self._s3 = S3(
                s.s3_endpoint,
                s.s3_region,
                connect=3,
                read=10,
                tries=3,
                proxy=s.s3_proxy,
                ca_bundle=s.s3_ca_bundle,
                kms_key_id=s.s3_kms_key_id,
                role=AssumedRole.of_component(s, "operator"),
            )
        return self._s3

    async def check(self) -> None:
        """Whether the default bucket answers.

        Raises:
            S3Error: It does not.
        """
        await asyncio.to_thread(lambda: self._connect().check(self.bucket))

    async def load(self, area: Area, request_id: str) -> wire.Result | None:
        """The stored result of a request in a namespace; None if there is none.

        Raises:
            S3Error: S3 failed.
            NotAuthenticError: the code of the stored result is wrong.
        """
        if not area.bucket:
            return None
        return await asyncio.to_thread(self._load, area, request_id)

    async def save(self, area: Area, result: wire.Result) -> Storage:
        """Store the decided result in place of any other result of its job.

        An authentic result that reports the same end stays: it may be the full result, of which
        this one is a shortened copy. The result of another job stays too.

        Raises:
            S3Error: S3 did not take it.
        """
        started, success = time.monotonic(), False
        try:
            storage = await asyncio.to_thread(self._save, area, result)
            success = True
        finally:
            self._attempted(S3_TARGET, success, time.monotonic() - started)
        return storage

    def _save(self, area: Area, result: wire.Result) -> Storage:
        if self._put_new(area, result):
            return Storage()
        stored = self._read_authentic(area, result.request_id)
        if stored is not None and _of_another_job(stored, result):
            where = f"s3://{area.bucket}/{_key(area, result.request_id)}"
            message = f"{where} holds the result of job uid {stored.job.uid}"
            return Storage(reason=Reason.REQUEST_ID_CONFLICT, message=message)
        if stored is None or stored.authentication is None or not same_end(stored, result):
            self._put(area, result)
        return Storage()

    def _put_new(self, area: Area, result: wire.Result) -> bool:
        """Whether it was stored. A server without conditional writes always stores it."""
        try:
            return self._put(area, result, only_if_absent=True)
        except S3Error as e:
            if not e.unsupported:
                raise
        return self._put(area, result)

    def _put(self, area: Area, result: wire.Result, *, only_if_absent: bool = False) -> bool:
        return self._connect().put(
            area.bucket,
            _key(area, result.request_id),
            wire.dumps(result).encode(),
            content_type="application/json",
            only_if_absent=only_if_absent,
        )

    def _read_authentic(self, area: Area, request_id: str) -> wire.Result | None:
        """The result of a request; None if the object is not a result, or its code is wrong."""
        try:
            return self._read(area, request_id)
        except NotAuthenticError as e:
            log.warning("s3://%s/%s is replaced: %s", area.bucket, _key(area, request_id), e)
            return None

    def _read(self, area: Area, request_id: str) -> wire.Result | None:
        """The result of a request; None if the object is not a result."""
        key = _key(area, request_id)
        body = self._connect().read(area.bucket, key, wire.REPORT_CAP_BYTES)
        try:
            return self._keys.read(body)
        except NotAuthenticError:
            raise
        except ValueError as e:
            log.warning("s3://%s/%s is not a result: %s", area.bucket, key, e)
            return None

    def _load(self, area: Area, request_id: str) -> wire.Result | None:
        try:
            return self._read(area, request_id)
        except S3Error as e:
            if e.unseen:
                return None
            raise


def _key(area: Area, request_id: str) -> str:
    return area.key(names.result_object(request_id))


def _of_another_job(stored: wire.Result, result: wire.Result) -> bool:
    """Whether another job with this requestId stored it; without a code, perhaps an older one."""
    if stored.job.uid == result.job.uid:
        return False
    same = (stored.request_id, stored.job.namespace) == (result.request_id, result.job.namespace)
    return same or stored.authentication is None
