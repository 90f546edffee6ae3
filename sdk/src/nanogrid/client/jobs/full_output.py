"""The full text of a stream that the status holds only in part. S3 has it in one of two places.

A stream of more than 64 KiB, or of bytes that are not UTF-8, has its own object. Another one is
complete in the stored result.
"""

from collections.abc import Callable

from nanogrid import json_text, names, wire
from nanogrid.client.errors import Forbidden, NanoGridError, NotFound
from nanogrid.client.storage import Storage
from nanogrid.types import Json


class NotKept(NanoGridError):
    """A stream was shortened, and the rest was not stored."""

    default_hint = "Raise spec.logs.maxBytes, or write important text to a file in output/."


def full_text(result: Json, stream: str, storage: Callable[[], Storage]) -> str:
    """All stored text of a stream; see Result.full_stdout.

    Args:
        result: JSON of the result.
        stream: stdout or stderr.
        storage: gives S3; called only when the text is there.
    """
    if not result.get(f"{stream}Truncated"):
        return str(result.get(stream) or "")
    return full_bytes(result, stream, storage).decode(errors="replace")


def full_bytes(result: Json, stream: str, storage: Callable[[], Storage]) -> bytes:
    """All stored bytes of a stream; see Result.full_stdout_bytes, and full_text."""
    binary = is_binary(result, stream)
    if not (result.get(f"{stream}Truncated") or binary):
        return str(result.get(stream) or "").encode()
    url = result.get(f"{stream}Url")
    if url:
        return b"".join(storage().chunks(str(url)))
    if binary:
        raise NotKept(f"the exact bytes of {stream} of {result['requestId']} were not kept in S3.")
    stored = _stored_result(result, storage())
    if stored is None or stored.get(f"{stream}Truncated"):
        raise NotKept(f"{stream} of {result['requestId']} was shortened and not kept in S3.")
    return str(stored.get(stream) or "").encode()


def is_binary(result: Json, stream: str) -> bool:
    """Whether the text of the result has U+FFFD for bytes that are not UTF-8."""
    return result.get(f"{stream}Encoding") == wire.ENCODING_BINARY


def _stored_result(result: Json, storage: Storage) -> Json | None:
    """The result in S3: below the root of its namespace, or below none as in older releases.

    Returns:
        None if S3 has only results of other jobs with the same requestId.
    """
    request_id, job = str(result["requestId"]), result.get("job") or {}
    roots = [storage.root_of(job.get("namespace")), storage.root, ""]
    refused: Forbidden | None = None
    others = False
    for root in dict.fromkeys(roots):
        try:
            found = _read(root + names.result_object(request_id), storage)
        except NotFound:
            continue
        except Forbidden as e:  # the credentials may be confined to one root
            refused = refused or e
            continue
        # An earlier job may have used the same requestId, and so the same key.
        if (found.get("job") or {}).get("uid") == job.get("uid"):
            return found
        others = True
    if refused is not None:
        raise refused
    if others:
        return None
    raise NotKept(f"the result of {request_id} is not in S3.")


def _read(key: str, storage: Storage) -> Json:
    content = b"".join(storage.chunks(f"s3:///{key}"))
    try:
        found: Json = json_text.parse(content)
    except ValueError as e:
        raise NotKept(f"{key} is not JSON: {e}.") from e
    return found
