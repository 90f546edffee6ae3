"""Asks S3 for the region of a bucket: the answer of a redirect does not reach us otherwise."""

import os
from typing import Final
from urllib.parse import urlsplit

from nanogrid import names

SECONDS: Final = 5.0
HEADER: Final = "x-amz-bucket-region"


def bucket_region(bucket: str) -> str:
    """The region of a bucket, which S3 tells everybody; empty if it does not answer."""
    import http.client  # late: only after an error

    if os.environ.get(names.ENV_S3_PROXY):
        return ""
    region = os.environ.get(names.ENV_S3_REGION) or "us-east-1"
    url = urlsplit(os.environ.get(names.ENV_S3_ENDPOINT) or f"https://s3.{region}.amazonaws.com")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(url.hostname or "", url.port, timeout=SECONDS)
        try:
            connection.request("HEAD", f"/{bucket}")
            return connection.getresponse().getheader(HEADER) or ""
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return ""
