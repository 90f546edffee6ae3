"""Bodies of requests over a real connection: sizes, forms, and what cannot be read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nanogrid.connection_limits import Slots
from nanogrid.threads import Threads
from nanogrid_gateway.api.bodies import FORM_BYTES, FORM_PARTS, Bodies
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.responses import error_response, json_response

MAX_BYTES = 100_000
MULTIPART = {"Content-Type": 'multipart/form-data; boundary="b"'}
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    threads = Threads(1)
    bodies = Bodies(0.2, Slots(5), threads)

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            if request.path == "/body":
                data = await bodies.read(request, MAX_BYTES)
                return json_response({"bytes": len(data)})
            form = await bodies.form(request, MAX_BYTES, ("file", "code"))
            content = form.file.read() if form.file else None
            form.close()
            size = None if content is None else len(content)
            return json_response({"fields": form.fields, "file": size})
        except ApiError as e:
            return error_response(e)

    app = web.Application()
    app.router.add_post("/{path}", handle)
    async with TestClient(TestServer(app)) as client:
        yield client
    threads.close()


async def posted(client: Any, path: str, data: Any, **headers: str) -> tuple[int, Any]:
    response = await client.post(path, data=data, headers=headers)
    return response.status, await response.json()


async def in_pieces(*pieces: bytes, pause: float = 0) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(pause)


@pytest.mark.parametrize(("size", "status"), [(0, 200), (MAX_BYTES, 200), (MAX_BYTES + 1, 413)])
async def test_the_size_of_a_body_is_limited(client: Any, size: int, status: int) -> None:
    whole = await posted(client, "/body", b"x" * size)
    pieces = in_pieces(b"x" * (size // 2), b"x" * (size - size // 2))
    chunked = await posted(client, "/body", pieces)

    assert (whole[0], chunked[0]) == (status, status)
    if status == 200:
        assert whole[1] == chunked[1] == {"bytes": size}


async def test_a_body_that_arrives_too_slowly_is_refused(client: Any) -> None:
    status, body = await posted(client, "/body", in_pieces(*[b"x"] * 50, pause=0.1))

    assert status == 408
    assert "bytes a second" in body["error"]["message"]


async def test_a_form_has_fields_and_the_file_that_is_asked_for(client: Any) -> None:
    form = aiohttp.FormData()
    form.add_field("runtime", "python")
    form.add_field("runtime", "second")
    form.add_field("other", b"dropped" * 1000, filename="other.txt")
    form.add_field("code", b"z" * 70_000, filename="c.zip")
    form.add_field("note", "값")

    status, body = await posted(client, "/form", form)

    assert status == 200
    assert body == {"fields": {"runtime": "python", "note": "값"}, "file": 70_000}


async def test_a_file_keeps_every_byte_whatever_it_holds(client: Any) -> None:
    content = b"\r\n--\r\n\n--b\r--b--\r\n-" * 3000
    status, body = await posted(client, "/form", PART + content + b"\r\n--b--\r\n", **MULTIPART)

    assert (status, body["file"]) == (200, len(content))


async def test_an_urlencoded_form_has_fields_and_no_file(client: Any) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = await posted(client, "/form", b"a=1&a=2&b=%EA%B0%80&c=", **kind)

    assert (status, body) == (200, {"fields": {"a": "1", "b": "가", "c": ""}, "file": None})


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json"])
async def test_a_body_of_another_type_has_no_fields(client: Any, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}

    assert await posted(client, "/form", b"x", **headers) == (200, {"fields": {}, "file": None})


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (PART + b"x" * MAX_BYTES + b"\r\n--b--\r\n", 413),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * (FORM_BYTES + 1), 413),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * (FORM_PARTS + 1), 413),
        (b"", 400),
        (b"no boundary at all", 400),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n", 400),
        (b"--b\r\nX-Large: " + b"x" * 20_000 + b"\r\n\r\nx\r\n--b--\r\n", 400),
        (PART + b"the end is missing", 400),
    ],
    ids=["large file", "large field", "many parts", "empty", "no boundary", "nested", "header",
         "cut off"],
)  # fmt: skip
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_form_that_cannot_be_read_is_refused(
    client: Any, data: bytes, status: int, chunked: bool
) -> None:
    body: Any = in_pieces(data[:10], data[10:]) if chunked else data
    got, answer = await posted(client, "/form", body, **MULTIPART)

    assert (got, set(answer)) == (status, {"error"})


@pytest.mark.parametrize("parameter", ["", f"; boundary={'x' * 99}"])
async def test_a_form_without_a_usable_boundary_is_refused(client: Any, parameter: str) -> None:
    kind = {"Content-Type": f"multipart/form-data{parameter}"}
    status, _ = await posted(client, "/form", PART, **kind)

    assert status == 400
