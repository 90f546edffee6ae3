"""Reads the bodies of requests: bounded in size, in time, and in the number of slow clients."""

import contextlib
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final, TypeVar
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from nanogrid.connection_limits import Slots
from nanogrid.reasons import Reason
from nanogrid.threads import Threads
from nanogrid_gateway.api.errors import ApiError, bad_request, too_large
from nanogrid_gateway.api.pace import Pace

T = TypeVar("T")

FORM_PARTS: Final = 20
FORM_BYTES: Final = 64 * 1024  # of all fields without the file
CHUNK_BYTES: Final = 256 * 1024
WRITE_BYTES: Final = 1 << 20  # are written to the temporary file at once
URLENCODED: Final = "application/x-www-form-urlencoded"


@dataclass
class Form:
    """The fields of a form, and its file, which must be closed, with the name that it had."""

    fields: dict[str, str] = field(default_factory=dict)
    file: IO[bytes] | None = None
    filename: str = ""

    def close(self) -> None:
        """Close the file, if there is one."""
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies.

    Args:
        seconds: for a body without its size; see :class:`Pace`.
        slow: one slot for each slow client.
        threads: write the files of forms.
    """

    seconds: float
    slow: Slots
    threads: Threads

    async def read(self, request: web.Request, max_bytes: int) -> bytes:
        """A whole body.

        Raises:
            ApiError: 413 too large, 408 too slow, 400 cannot be read.
        """
        body = _Body(request, max_bytes, Pace(self.seconds, self.slow))
        data = bytearray()
        while chunk := await body.wait(request.content.readany()):
            body.received(len(chunk))
            data += chunk
        return bytes(data)

    async def form(
        self, request: web.Request, max_bytes: int, file_fields: tuple[str, ...] = ()
    ) -> Form:
        """A form, urlencoded or multipart; a body of another type has no fields.

        Args:
            request: with the body.
            max_bytes: of the whole body.
            file_fields: names of the field whose file is kept; other files are dropped.

        Raises:
            ApiError: 413 too large, 408 too slow, 400 cannot be read.
        """
        if request.content_type == URLENCODED:
            data = await self.read(request, min(max_bytes, FORM_BYTES))
            pairs = parse_qsl(data.decode(errors="replace"), keep_blank_values=True)
            return Form(dict(reversed(pairs)))
        if request.content_type != "multipart/form-data":
            return Form()
        body = _Body(request, max_bytes, Pace(self.seconds, self.slow))
        with _readable():
            reader = aiohttp.MultipartReader(request.headers, request.content)
        form = Form()
        try:
            await self._parts(body, reader, form, file_fields)
        except BaseException:
            form.close()
            raise
        return form

    async def _parts(
        self,
        body: "_Body",
        reader: aiohttp.MultipartReader,
        form: Form,
        file_fields: tuple[str, ...],
    ) -> None:
        left, number = FORM_BYTES, 0
        while (part := await body.wait(reader.next())) is not None:
            number += 1
            if number > FORM_PARTS:
                message = f"The form has more than {FORM_PARTS} parts."
                raise ApiError(413, Reason.REQUEST_TOO_LARGE, message)
            if not isinstance(part, aiohttp.BodyPartReader):
                raise bad_request("A form within a form cannot be read.")
            if part.filename is None:
                value = await _text(body, part, left)
                left -= len(value)
                form.fields.setdefault(part.name or "", value.decode(errors="replace"))
            elif form.file is None and part.name in file_fields:
                form.filename = part.filename
                form.file = tempfile.TemporaryFile()  # noqa: SIM115 the caller closes it
                await self._save(body, part, form.file)

    async def _save(self, body: "_Body", part: aiohttp.BodyPartReader, file: IO[bytes]) -> None:
        buffer = bytearray()
        while chunk := await body.wait(part.read_chunk(CHUNK_BYTES)):
            body.received(len(chunk))
            buffer += chunk
            if len(buffer) >= WRITE_BYTES:
                await self.threads.call(file.write, buffer)
                buffer = bytearray()
        await self.threads.call(file.write, buffer)
        file.seek(0)


class _Body:
    """The bounds of one body."""

    def __init__(self, request: web.Request, max_bytes: int, pace: Pace) -> None:
        if (request.content_length or 0) > max_bytes:
            raise too_large(max_bytes)
        self._content = request.content
        self._max_bytes = max_bytes
        self._pace = pace

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        with _readable():
            # A body that is here already takes no time.
            result = await (work if self._content.is_eof() else self._pace.wait(work))
        if self._content.total_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        return result

    def received(self, count: int) -> None:
        self._pace.received(count)


async def _text(body: _Body, part: aiohttp.BodyPartReader, max_bytes: int) -> bytes:
    data = bytearray()
    while chunk := await body.wait(part.read_chunk()):
        body.received(len(chunk))
        data += chunk
        if len(data) > max_bytes:
            raise too_large(FORM_BYTES)
    return bytes(data)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turns errors of the parser into a 400."""
    try:
        yield
    except (web.RequestPayloadError, HttpProcessingError, ValueError, RuntimeError) as e:
        raise bad_request(f"The body cannot be read ({e}).") from e
