"""Objects in S3 as jobs name them: ``s3://bucket/key`` and its parts. Pure."""

import re
from dataclasses import dataclass

from nanogrid.client.errors import InvalidRequest


@dataclass(frozen=True)
class Uploaded:
    """A stored object: its URI, its SHA-256 in hex, its size in bytes.

    ``unpack`` marks the ZIP of a folder: as an input it becomes the folder again.
    """

    uri: str
    sha256: str
    bytes: int
    unpack: bool = False


def split_uri(uri: str) -> tuple[str | None, str]:
    """Bucket (None: the operator's bucket) and key of ``s3://bucket/key``.

    Raises:
        InvalidRequest: the text is not an S3 URI.
    """
    if re.fullmatch(r"s3://[^/]*/*", uri):
        raise InvalidRequest(
            f"{uri!r} is the root of a bucket, which cannot be used as a whole.",
            "Name an object, s3://bucket/key, or a folder, s3://bucket/prefix/.",
        )
    found = re.fullmatch(r"s3://([^/]*)/(.+)", uri, re.DOTALL)
    if found is None:
        raise InvalidRequest(
            f"{uri!r} is not an S3 URI.",
            "Write s3://bucket/key, or s3://bucket/prefix/ for a folder. For local files, give a "
            "pathlib.Path.",
        )
    return found[1] or None, found[2]
