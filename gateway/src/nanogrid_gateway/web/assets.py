"""The page's files: styles, scripts and the icon. Read once; each URL contains the digest."""

import hashlib
from importlib import resources
from typing import Final

from aiohttp import web

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.routing import Routes
from nanogrid_gateway.web import paths

TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def add_routes(routes: Routes) -> None:
    """The route of the files, which need no sign-in."""

    async def static(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in FILES:
            raise ApiError(404, Reason.FILE_NOT_FOUND, f"There is no file {name!a}.")
        kind, content, _ = FILES[name]
        # A changed file has another URL.
        headers = {"Content-Type": kind, "Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=content, headers=headers)

    routes.add_open("GET", f"{paths.STATIC}/{{name}}", static)


def url(name: str) -> str:
    """The URL of a file, with its digest."""
    return f"{paths.STATIC}/{name}?v={FILES[name][2]}"


def _read() -> dict[str, tuple[str, bytes, str]]:
    """Media type, content and digest of each file."""
    found = {}
    for file in resources.files(__package__).joinpath("static").iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2], "text/plain")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        found[file.name] = (f"{kind}; charset=utf-8", content, digest)
    return found


FILES: Final = _read()
