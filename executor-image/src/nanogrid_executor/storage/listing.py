"""Lists the objects of one input, without directory markers.

An object is a marker when it is empty and its key has a slash at the end. An empty object whose key
a list cannot express looks the same, and must not be left out in silence.
"""

from typing import Final

from nanogrid.reasons import Reason
from nanogrid.wire import S3Source
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.parallel import each
from nanogrid_executor.storage.s3 import NOT_LISTED, REPLACEMENT, Object, Storage

WORKERS: Final = 16


def list_source(storage: Storage, source: S3Source) -> list[Object]:
    """The one object of a key, or all objects below a prefix.

    Raises:
        StorageError, DeadlineError: with the reason.
    """
    if source.key is not None:
        return [storage.head(source.bucket, source.key, source.version_id)]
    prefix = (source.prefix or "").rstrip("/")
    found = storage.listing(source.bucket, prefix)

    def is_marker(item: Object) -> bool:
        return item.key == prefix or _has_slash(storage, source.bucket, item.key)

    empty = [item for item in found if item.size == 0]
    flags = each(is_marker, empty, WORKERS, storage.deadline)
    storage.deadline.check()
    markers = {item.key for item, flag in zip(empty, flags, strict=True) if flag}
    for key in markers:
        if REPLACEMENT in key and not any(item.key.startswith(f"{key}/") for item in found):
            raise StorageError(Reason.UNSAFE_PATH, f"s3://{source.bucket}/{key} {NOT_LISTED}")
    return [item for item in found if item.key not in markers]


def _has_slash(storage: Storage, bucket: str, key: str) -> bool:
    """Whether the key of an empty object ends in a slash, which makes it a directory marker.

    The listing of obstore shows ``a/b/`` as ``a/b``. Only a request for ``a/b`` shows which it is.
    """
    try:
        storage.head(bucket, key)
    except StorageError as error:
        if error.reason is Reason.INPUT_NOT_FOUND:
            return True
        raise
    return False
