"""The whole text of a stream that a status has only the end of: in S3, in one of two places.

A stream beyond 64 KiB has an object of its own; a shorter one is whole in the stored result.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanogrid import names
from nanogrid.client.errors import NanoGridError, NotFound

if TYPE_CHECKING:
    from nanogrid.client.result import Result
    from nanogrid.client.storage import Storage


class NotKept(NanoGridError):
    """A stream was shortened, and nothing has the rest."""

    default_cure = "Raise spec.logs.maxBytes, or write to output/ what has to stay whole."


def full_text(result: "Result", stream: str, storage: Callable[[], "Storage"]) -> str:
    """All of ``stdout`` or ``stderr``, as far as it was kept; see Result.full_stdout."""
    text = str(result.raw.get(stream) or "")
    if not result.raw.get(f"{stream}Truncated"):
        return text
    url = result.raw.get(f"{stream}Url")
    if url:
        return b"".join(storage().chunks(str(url))).decode(errors="replace")
    stored = _stored(result, storage())
    # The key is the requestId's: another job may have had it before.
    same_job = (stored.get("job") or {}).get("uid") == (result.raw.get("job") or {}).get("uid")
    if not same_job or stored.get(f"{stream}Truncated"):
        raise NotKept(f"{stream} of {result.request_id} was shortened and not kept in S3.")
    return str(stored.get(stream) or "")


def _stored(result: "Result", storage: "Storage") -> dict[str, Any]:
    key = names.result_object(result.request_id)
    try:
        content = b"".join(storage.chunks(f"s3:///{key}"))
    except NotFound as e:
        raise NotKept(f"the result of {result.request_id} is not in S3.") from e
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError as e:
        raise NotKept(f"{key} is not JSON: {e}.") from e
    return found
