"""Output files for download: found by name in the result, given as attachments."""

from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from flask import Response

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.objects import Objects

# What a browser may be told; anything else, HTML above all, is bytes.
SAFE_TYPES: Final = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/gif",
        "application/pdf",
        "text/plain",
        "application/json",
        "text/csv",
        "application/zip",
        "application/gzip",
    }
)
BYTES: Final = "application/octet-stream"


def output_response(objects: Objects, result: dict[str, Any], name: str) -> Response:
    """One output file of a run.

    Args:
        objects: where it is.
        result: of the run; only files that it names can be had.
        name: path of the file, relative to the output directory.

    Raises:
        ApiError: 404, 503.
    """
    found = next((o for o in result.get("outputs") or [] if o.get("path") == name), None)
    if found is None:
        raise ApiError(404, Reason.OUTPUT_NOT_FOUND)
    bucket, key = _place(str(found.get("url", "")), objects.bucket)
    download = objects.download(bucket, key)
    if download is None:
        said = f"{name} was stored as s3://{bucket}/{key} and is not there any more."
        raise ApiError(404, Reason.OUTPUT_NOT_FOUND, said)
    response = Response(download.chunks, direct_passthrough=True)
    kind = str(found.get("contentType", "")).partition(";")[0].strip().lower()
    charset = "; charset=utf-8" if kind in ("text/plain", "text/csv") else ""
    response.headers["Content-Type"] = kind + charset if kind in SAFE_TYPES else BYTES
    response.headers["Content-Length"] = str(download.size)
    response.headers["Content-Disposition"] = disposition(name)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    if digest := found.get("sha256"):
        response.headers["ETag"] = f'"{digest}"'
    return response


def disposition(path: str) -> str:
    """A Content-Disposition that saves a file by its own name, in any script (RFC 6266)."""
    name = path.rpartition("/")[2]
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _place(url: str, bucket: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URL, or of a presigned one in path or host style."""
    if url.startswith("s3://"):
        there, _, key = url.removeprefix("s3://").partition("/")
        return there, key
    path = unquote(urlsplit(url).path).lstrip("/")
    return bucket, path.removeprefix(f"{bucket}/")
