"""Routes of the session as a whole: health, identity, contexts, its end, the API's document."""

from flask import Response, g, request

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.session.api.openapi import document
from nanogrid_executor.session.api.requests import END_SCHEMA, json_response, read_body
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError
from nanogrid_executor.session.session import Session


class SessionRoutes:
    """The views of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def health(self) -> Response:
        """``GET /health``. Callers without the session's token do not learn its id."""
        if not g.trusted:
            self.session.check_id(request.args.get("session_id"), trusted=False)
        status, body = self.session.health()
        if g.trusted:
            body["session_id"] = self.session.task.request_id
        response = json_response(body, status)
        if body["status"] == "initializing":
            response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response

    def container_info(self) -> Response:
        """``GET /container-info``."""
        self.session.check_id(request.args.get("session_id"))
        return json_response(self.session.info())

    def contexts(self) -> Response:
        """``GET /contexts``."""
        contexts = [wire.to_dict(info) for info in self.session.sandbox.contexts()]
        return json_response({"contexts": contexts})

    def drop_context(self, name: str) -> Response:
        """``DELETE /contexts/NAME``."""
        if not self.session.sandbox.drop_context(name):
            message = f"Context {name!a} does not exist. GET /contexts lists the contexts."
            raise ApiError(404, Reason.CONTEXT_NOT_FOUND, message)
        return json_response({"context": name, "dropped": True})

    def end(self) -> Response:
        """``POST /end``."""
        body, _ = read_body(END_SCHEMA, optional=True)
        self.session.check_id(body.get("session_id"))
        self.session.request_end(Reason.SESSION_ENDED, body.get("reason", ""))
        return json_response({"status": "ending", "session_id": self.session.task.request_id}, 202)

    def openapi(self) -> Response:
        """``GET /openapi.json``."""
        return json_response(document(self.session.rules))
