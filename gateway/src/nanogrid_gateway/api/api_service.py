"""What is about the gateway itself: its document, and how it is."""

from flask import Flask, Response

from nanogrid_gateway.api.answers import answered
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.openapi import document


def add_routes(app: Flask, gateway: Gateway) -> None:
    """The routes that need no token."""

    @app.get("/healthz")
    def healthz() -> Response:
        alive = gateway.feed.alive
        return answered({"status": "ok" if alive else "stuck"}, 200 if alive else 503)

    @app.get("/readyz")
    def readyz() -> Response:
        missing = gateway.missing()
        body = {"ready": not missing, "missing": missing, "warnings": gateway.warnings()}
        return answered(body, 503 if missing else 200)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return answered(document(gateway.settings))
