"""The router's own responses: errors ``{"error": {"reason", "message"}}``, and health. Pure."""

from typing import Any

from aiohttp import web

from nanogrid import names
from nanogrid.hints import Surface, sentence_for
from nanogrid.reasons import Reason
from nanogrid.tenancy import Area
from nanogrid_gateway.counted import with_reason
from nanogrid_gateway.router.access import Denial
from nanogrid_gateway.router.route import Ended, NotReady
from nanogrid_gateway.router.sessions import Job

RETRY_SECONDS = "1"


def error(
    status: int, reason: str, detail: str = "", *, retry: bool = False, **more: Any
) -> web.Response:
    """An error response.

    Args:
        status: of HTTP.
        reason: one of :class:`Reason`, or of a newer operator.
        detail: added to the meaning and hint of the reason; the whole message if the reason is
            unknown here.
        retry: whether the same request may succeed in a moment (Retry-After).
        more: further fields of the body.
    """
    known = reason in Reason.__members__.values()
    message = sentence_for(Reason(reason), detail, Surface.HTTP) if known else detail
    headers = {"Retry-After": RETRY_SECONDS} if retry else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="nanogrid"'
    body = {"error": {"reason": str(reason), "message": message}, **more}
    return with_reason(web.json_response(body, status=status, headers=headers), reason)


def too_many_attempts(seconds: int) -> web.Response:
    """429: this address sends too many requests that are not allowed."""
    detail = "Too many requests without permission come from this address"
    response = error(429, Reason.RATE_LIMITED, detail)
    response.headers["Retry-After"] = str(seconds)
    return response


def too_many_requests(namespace: str) -> web.Response:
    """429: the sessions of this namespace have too many requests at a time."""
    detail = f"The sessions of namespace {namespace} have too many requests at a time"
    return error(429, Reason.RATE_LIMITED, detail, retry=True)


def denied(denial: Denial) -> web.Response:
    """The caller may not use the session."""
    return error(denial.status, denial.reason, denial.detail)


def ended(job: Job, route: Ended, compatibility_namespace: str, s3_prefix: str) -> web.Response:
    """410 with the S3 keys of the session's stored files, below the default root.

    The router may not read NanoGridTenants, so it does not know a root of another name.
    """
    area = Area.of(
        job.address.namespace,
        bucket="",
        compatibility_namespace=compatibility_namespace,
        prefix=s3_prefix,
    )
    prefix = area.key(names.session_prefix(job.request_id))
    stored = {
        "result": area.key(names.result_object(job.request_id)),
        "artifacts": prefix + names.SESSION_ARTIFACTS,
        "records": prefix + names.SESSION_DEBUG,
    }
    # The status's message is a complete sentence that already includes its hint.
    body = {
        "error": {"reason": route.reason, "message": route.detail or "The session has ended."},
        "status": "ended",
        "session_id": job.request_id,
        "s3": stored,
    }
    return with_reason(web.json_response(body, status=410), route.reason)


def not_ready(job: Job, route: NotReady) -> web.Response:
    """503 for any path except ``/health``."""
    return error(503, route.reason, route.detail, retry=True, session_id=job.request_id)


def health(job: Job, route: NotReady, progress: dict[str, Any]) -> web.Response:
    """503 for ``/health``, in the format of the session's agent during its start.

    Args:
        job: the session.
        route: why it accepts no requests.
        progress: the health answer of the container that copies the inputs; empty if none.
    """
    body = progress | {
        "status": "ending" if route.ending else "initializing",
        "session_id": job.request_id,
        "reason": str(route.reason),
        "message": route.detail,
    }
    response = web.json_response(body, status=503, headers={"Retry-After": RETRY_SECONDS})
    return with_reason(response, route.reason)
