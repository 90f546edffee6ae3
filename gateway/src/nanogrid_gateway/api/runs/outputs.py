"""Output files for download: found by name in the result, sent as attachments."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from nanogrid.reasons import Reason
from nanogrid.tenant_keys import within
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError

# Types that a browser may interpret; all others, HTML above all, are sent as bytes.
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


@dataclass(frozen=True, slots=True)
class OutputDownload:
    """One output file: its safe media type, the headers, and the content."""

    media_type: str
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


async def open_output(objects: AsyncObjects, result: dict[str, Any], name: str) -> OutputDownload:
    """Open one output file of a run of the gateway's namespace.

    Args:
        objects: where it is.
        result: of the run; only files that it names can be downloaded.
        name: path of the file, relative to the output directory.

    Raises:
        ApiError: 404, 503.
    """
    found = output_of(result, name)
    bucket, key = location_of(found, objects.bucket)
    if bucket == objects.bucket and not within(key, objects.root):
        message = f"{name} is not below {objects.root}, the root of the namespace."
        raise ApiError(404, Reason.OUTPUT_NOT_FOUND, message)
    return await download_of(objects, found)


def output_of(result: dict[str, Any], name: str) -> dict[str, Any]:
    """An output file as a result names it.

    Raises:
        ApiError: 404.
    """
    found = next((o for o in result.get("outputs") or [] if o.get("path") == name), None)
    if found is None:
        raise ApiError(404, Reason.OUTPUT_NOT_FOUND)
    return dict(found)


async def download_of(objects: AsyncObjects, found: dict[str, Any]) -> OutputDownload:
    """Open an output file whose place the caller may read.

    Raises:
        ApiError: 404, 503.
    """
    name = str(found.get("path", ""))
    bucket, key = location_of(found, objects.bucket)
    download = await objects.download(bucket, key)
    if download is None:
        message = f"{name} was stored as s3://{bucket}/{key} and is not there any more."
        raise ApiError(404, Reason.OUTPUT_NOT_FOUND, message)
    declared = str(found.get("contentType", "")).partition(";")[0].strip().lower()
    kind = declared if declared in SAFE_TYPES else BYTES
    charset = "; charset=utf-8" if kind in ("text/plain", "text/csv") else ""
    headers = {
        "Content-Type": kind + charset,
        "Content-Length": str(download.size),
        "Content-Disposition": disposition(name),
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if digest := found.get("sha256"):
        headers["ETag"] = f'"{digest}"'
    return OutputDownload(kind, headers, download.chunks)


def disposition(path: str) -> str:
    """A Content-Disposition that saves a file by its own name, in any script (RFC 6266)."""
    name = path.rpartition("/")[2]
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def location_of(output: dict[str, Any], bucket: str) -> tuple[str, str]:
    """Bucket and key of an output's s3:// URL, or of a presigned one in path or host style."""
    url = str(output.get("url", ""))
    if url.startswith("s3://"):
        there, _, key = url.removeprefix("s3://").partition("/")
        return there, key
    path = unquote(urlsplit(url).path).lstrip("/")
    return bucket, path.removeprefix(f"{bucket}/")
