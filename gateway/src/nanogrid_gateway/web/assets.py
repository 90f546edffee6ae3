"""The page's files: styles, scripts and the icon, read once; their addresses have their digests."""

import hashlib
from importlib import resources
from typing import Final

from flask import Blueprint, Response

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.web import paths

TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def add_routes(web: Blueprint) -> None:
    """The route of the files, which are open to all."""

    @web.get(f"{paths.STATIC}/<name>")
    def static(name: str) -> Response:
        if name not in FILES:
            raise ApiError(404, Reason.FILE_NOT_FOUND, f"There is no {name!a} here.")
        kind, content, _ = FILES[name]
        response = Response(content, content_type=kind)
        # A changed file has another address.
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def url(name: str) -> str:
    """The address of a file, with its digest."""
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
