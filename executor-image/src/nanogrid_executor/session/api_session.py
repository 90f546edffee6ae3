"""Routes about the session as a whole: health, identity, contexts, its end, the API's document."""

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, request

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError
from nanogrid_executor.session.openapi import document
from nanogrid_executor.session.port import ContextInfo
from nanogrid_executor.session.requests import END_SCHEMA, answered, body


def add_routes(app: Flask, session: Session) -> None:
    """Add this module's routes."""

    @app.get("/health")
    def health() -> Response:
        status, said = session.health()
        response = answered(said, status)
        if said["status"] == "initializing":
            response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response

    @app.get("/container-info")
    def container_info() -> Response:
        session.check_id(request.args.get("session_id"))
        return answered(session.info())

    @app.get("/contexts")
    def contexts() -> Response:
        return answered({"contexts": [_context(info) for info in session.sandbox.contexts()]})

    @app.delete("/contexts/<name>")
    def drop_context(name: str) -> Response:
        if not session.sandbox.drop_context(name):
            said = f"There is no context {name!a}. GET /contexts lists them."
            raise ApiError(404, Reason.CONTEXT_NOT_FOUND, said)
        return answered({"context": name, "dropped": True})

    @app.post("/end")
    def end() -> Response:
        asked, _ = body(END_SCHEMA, optional=True)
        session.check_id(asked.get("session_id"))
        session.ask_end(Reason.SESSION_ENDED, asked.get("reason", ""))
        return answered({"status": "ending", "session_id": session.task.request_id}, 202)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return answered(document(session.rules))


def _context(info: ContextInfo) -> dict[str, Any]:
    return {wire.json_name(key): value for key, value in asdict(info).items()}
