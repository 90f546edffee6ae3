"""Asks S3 for the region of a bucket: the answer of a redirect does not reach us otherwise."""

import os
from typing import Final

from nanogrid import names
from nanogrid_executor.clock import Deadline
from nanogrid_executor.storage.parallel import each

SECONDS: Final = 5.0
HEADER: Final = "x-amz-bucket-region"


def bucket_region(bucket: str, deadline: Deadline) -> str:
    """The region of a bucket, which S3 shows everybody.

    Args:
        bucket: its name.
        deadline: of the phase. The answer only makes a message better, so the question gets no
            time that the phase does not have.

    Returns:
        The region; empty if S3 does not answer within ``SECONDS`` or before the deadline.
    """
    asked = Deadline(min(SECONDS, deadline.remaining()))
    if os.environ.get(names.ENV_S3_PROXY) or not asked.remaining():
        return ""
    # In a thread: the timeout of a socket limits each read, and the look-up of a name has none.
    (found,) = each(lambda name: _ask(name, asked), [bucket], 1, asked)
    return found or ""


def _ask(bucket: str, deadline: Deadline) -> str:
    import http.client  # late: only after an error
    from urllib.parse import urlsplit

    region = os.environ.get(names.ENV_S3_REGION) or "us-east-1"
    url = urlsplit(os.environ.get(names.ENV_S3_ENDPOINT) or f"https://s3.{region}.amazonaws.com")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        # Never 0, which would make the socket non-blocking.
        connection = kind(url.hostname or "", url.port, timeout=max(0.1, deadline.remaining()))
        try:
            connection.request("HEAD", f"/{bucket}")
            return connection.getresponse().getheader(HEADER) or ""
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return ""
