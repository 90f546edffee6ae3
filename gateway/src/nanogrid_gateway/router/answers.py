"""What the router answers itself: ``{"error": {"reason", "message"}}``, and health. Pure."""

from typing import Any

from aiohttp import web

from nanogrid import names
from nanogrid.reasons import Reason, sentence
from nanogrid_gateway.router.access import Denial
from nanogrid_gateway.router.objects import Job
from nanogrid_gateway.router.route import Ended, NotReady

RETRY_SECONDS = "1"


def error(
    status: int, reason: str, detail: str = "", *, retry: bool = False, **more: Any
) -> web.Response:
    """An error with its reason; ``retry`` says that the same request may work in a moment.

    ``detail`` stands as it is when the reason is not one of ours.
    """
    known = reason in Reason.__members__.values()
    message = sentence(Reason(reason), detail) if known else detail
    headers = {"Retry-After": RETRY_SECONDS} if retry else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="nanogrid"'
    body = {"error": {"reason": str(reason), "message": message}, **more}
    return web.json_response(body, status=status, headers=headers)


def denied(denial: Denial) -> web.Response:
    """Why the caller may not enter."""
    return error(denial.status, denial.reason, denial.detail)


def ended(job: Job, route: Ended) -> web.Response:
    """410, with the S3 keys of what the session left."""
    below = names.session_prefix(job.request_id)
    stored = {
        "result": names.result_object(job.request_id),
        "artifacts": below + names.SESSION_ARTIFACTS,
        "records": below + names.SESSION_DEBUG,
    }
    # The status's message is a whole sentence with its cure already.
    body = {
        "error": {"reason": route.reason, "message": route.detail or "The session has ended."},
        "status": "ended",
        "session_id": job.request_id,
        "s3": stored,
    }
    return web.json_response(body, status=410)


def not_ready(job: Job, route: NotReady) -> web.Response:
    """503 for any path but ``/health``."""
    return error(503, route.reason, route.detail, retry=True, session_id=job.request_id)


def health(job: Job, route: NotReady, progress: dict[str, Any]) -> web.Response:
    """503 for ``/health``, in the shape that the session's agent itself has while it starts.

    Args:
        job: the session.
        route: why it takes no requests.
        progress: what the container that copies the inputs says of itself; empty if nothing.
    """
    body = progress | {
        "status": "ending" if route.ending else "initializing",
        "session_id": job.request_id,
        "reason": str(route.reason),
        "message": route.detail,
    }
    return web.json_response(body, status=503, headers={"Retry-After": RETRY_SECONDS})
