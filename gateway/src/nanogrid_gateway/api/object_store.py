"""S3, blocking: code, large inputs, results and output files of one namespace."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from nanogrid import json_text, names, wire
from nanogrid.assumed_role import AssumedRole
from nanogrid.s3.client import S3, Download
from nanogrid.s3.errors import S3Error
from nanogrid_gateway.api.errors import storage_failed
from nanogrid_gateway.api.settings import Settings

log = logging.getLogger("nanogrid.gateway.s3")

CHUNK_BYTES = 256 * 1024


class Objects:
    """The namespace's part of the bucket; errors of S3 become a 503 with the message of S3."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self.root = settings.s3_root
        self._s3 = S3(
            settings.s3_endpoint,
            settings.s3_region,
            connect=3,
            read=30,
            tries=3,
            connections=settings.storage_threads,
            proxy=settings.s3_proxy,
            ca_bundle=settings.s3_ca_bundle,
            kms_key_id=settings.s3_kms_key_id,
            role=AssumedRole.of_component(settings, "gateway"),
            checksums="when_required",
        )

    def key(self, relative: str) -> str:
        """The key of a name of :mod:`nanogrid.names`."""
        return self.root + relative

    def check(self) -> None:
        """Whether the bucket answers.

        Raises:
            ApiError: 503.
        """
        with _answers():
            self._s3.check(self.bucket)

    def put_new(self, key: str, body: IO[bytes] | bytes, content_type: str) -> bool:
        """Store an object unless there is one of that key; whether it was stored."""
        with _answers():
            return self._s3.put(
                self.bucket, key, body, content_type=content_type, only_if_absent=True
            )

    def result(self, request_id: str) -> dict[str, Any] | None:
        """The stored result JSON of a request, or None if there is none that can be read."""
        key = self.key(names.result_object(request_id))
        try:
            found = json_text.parse(self._s3.read(self.bucket, key, wire.REPORT_CAP_BYTES))
        except S3Error as e:
            if e.unseen:
                return None
            raise storage_failed(e) from e
        except ValueError as e:
            log.warning("s3://%s/%s is not a result: %s", self.bucket, key, e)
            return None
        return found if isinstance(found, dict) else None

    def download(self, bucket: str, key: str) -> Download | None:
        """An object's content, or None if there is no such object."""
        try:
            return self._s3.download(bucket, key, CHUNK_BYTES)
        except S3Error as e:
            if e.missing:
                return None
            raise storage_failed(e) from e

    def written(self, prefix: str) -> dict[str, float]:
        """When each object below a prefix was written, in seconds since the epoch, by its key."""
        with _answers():
            return self._s3.written(self.bucket, prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        with _answers():
            self._s3.delete(self.bucket, keys)


@contextmanager
def _answers() -> Iterator[None]:
    """Turns the errors of S3 into a 503."""
    try:
        yield
    except S3Error as e:
        raise storage_failed(e) from e
