"""Reading one small object of S3 into memory."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanogrid_executor.s3 import Storage


def get_bytes(storage: "Storage", bucket: str, key: str) -> bytes:
    """The object's content.

    Raises:
        StorageError, DeadlineError: with the reason.
    """
    known = storage.head(bucket, key)
    if known.size == 0:
        return b""
    return bytes(storage.part(bucket, known, 0, known.size))
