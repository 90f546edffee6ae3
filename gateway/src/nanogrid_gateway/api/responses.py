"""Answers: JSON, errors and streams."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from nanogrid.error_headers import error_headers
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.counted import ContentFailedError

log = logging.getLogger("nanogrid.gateway")

JSON: Final = "application/json"


def json_response(body: dict[str, Any], status: int = 200) -> web.Response:
    """A JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(body=text.encode("utf-8", "replace"), status=status, content_type=JSON)


def error_response(error: ApiError) -> web.Response:
    """The JSON answer of an error, with the headers that belong to its status."""
    response = json_response(error.body(), error.status)
    response.headers.update(error_headers(error.status, error.retry_after, "nanogrid"))
    return response


async def send_stream(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send an answer piece by piece; a failure in the middle cuts the connection.

    Raises:
        ConnectionError: the client left.
        ContentFailedError: the content failed after the status was sent.
    """
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            async for chunk in chunks:
                await response.write(chunk)
        except ConnectionError:
            raise
        except Exception as e:
            log.exception("%s %s failed in the middle", request.method, request.path)
            raise ContentFailedError("the content failed") from e
    await response.write_eof()
    return response
