"""Routes of functions: upload, read, list, delete."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.api.bodies import Bodies
from nanogrid_gateway.api.errors import ApiError, invalid
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.api.functions.upload import Uploads
from nanogrid_gateway.api.requests import FUNCTION, PageQuery, query, upload_form, valid_id
from nanogrid_gateway.api.responses import json_response
from nanogrid_gateway.api.reviews import Permission, require
from nanogrid_gateway.api.routing import ACCESS, Routes
from nanogrid_gateway.api.uncancelled import uncancelled

FILE_FIELDS: Final = ("file", "code")


@dataclass(frozen=True, slots=True)
class FunctionRoutes:
    """The handlers below /upload and /functions."""

    functions: Functions
    uploads: Uploads
    bodies: Bodies
    max_bytes: int

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        one = "/functions/{function_id}"
        # Which of both it needs depends on the form and on the functions that exist.
        routes.add("POST", "/upload", self.upload, _may("patch"), _may("create"))
        routes.add("GET", "/functions", self.list_functions, require("list", names.FUNCTION_PLURAL))
        routes.add("GET", one, self.show, require("get", names.FUNCTION_PLURAL))
        routes.add("GET", f"{one}/versions", self.versions, require("get", names.FUNCTION_PLURAL))
        routes.add("DELETE", one, self.delete, require("delete", names.FUNCTION_PLURAL))

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Store code as a new function, or as a new version."""

        async def permit(verb: str) -> None:
            await request[ACCESS].check(_may(verb))

        form = await self.bodies.form(request, self.max_bytes, FILE_FIELDS)
        try:
            fields = upload_form(form.fields)
        except ApiError:
            form.close()
            raise
        if form.file is None:
            raise invalid(
                "file: is missing; send multipart/form-data with a ZIP or a Python file in `file`."
            )
        stored = await uncancelled(self.uploads.upload(form.file, form.filename, fields, permit))
        return json_response(stored, 201)

    async def list_functions(self, request: web.Request) -> web.StreamResponse:
        """A page of functions."""
        page = query(request.query, PageQuery)
        return json_response(await self.functions.page(page.limit, page.continue_))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """One function."""
        return json_response(await self.functions.show(_id(request)))

    async def versions(self, request: web.Request) -> web.StreamResponse:
        """All versions of a function."""
        return json_response({"versions": await self.functions.versions(_id(request))})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete a function and its code."""
        return json_response(await uncancelled(self.functions.delete(_id(request))))


def _may(verb: str) -> Permission:
    return require(verb, names.FUNCTION_PLURAL)


def _id(request: web.Request) -> str:
    return valid_id(FUNCTION, request.match_info["function_id"], Reason.FUNCTION_NOT_FOUND)
