"""Routes of functions: upload, read, list, delete."""

from flask import Flask, Response, request

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.api.answers import answered, needs
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import invalid
from nanogrid_gateway.api.requests import FUNCTION, PageQuery, query, upload_form, valid_id

FILE_FIELDS = ("file", "code")


def add_routes(app: Flask, gateway: Gateway) -> None:
    """The routes below /upload and /functions."""
    functions = gateway.functions

    @app.post("/upload")
    @needs("create", names.FUNCTION_PLURAL)
    def upload() -> Response:
        form = upload_form(request)
        file = next((request.files[f] for f in FILE_FIELDS if f in request.files), None)
        if file is None:
            raise invalid("file: is missing; send multipart/form-data with the ZIP in `file`.")
        return answered(functions.upload(file.stream, form), 201)

    @app.get("/functions")
    @needs("list", names.FUNCTION_PLURAL)
    def list_functions() -> Response:
        page = query(request, PageQuery)
        return answered(functions.page(page.limit, page.continue_))

    @app.get("/functions/<function_id>")
    @needs("get", names.FUNCTION_PLURAL)
    def show(function_id: str) -> Response:
        return answered(functions.show(_id(function_id)))

    @app.get("/functions/<function_id>/versions")
    @needs("get", names.FUNCTION_PLURAL)
    def versions(function_id: str) -> Response:
        return answered({"versions": functions.versions(_id(function_id))})

    @app.delete("/functions/<function_id>")
    @needs("delete", names.FUNCTION_PLURAL)
    def delete(function_id: str) -> Response:
        return answered(functions.delete(_id(function_id)))


def _id(text: str) -> str:
    return valid_id(FUNCTION, text, Reason.FUNCTION_NOT_FOUND)
