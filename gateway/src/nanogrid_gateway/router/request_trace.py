"""What the span of a request to a session says about it. Pure."""

from nanogrid_gateway.router.patterns import session_pattern
from nanogrid_gateway.router.sessions import Job
from nanogrid_gateway.tracing import RequestSpan


def describe(span: RequestSpan, path: str, job: Job) -> None:
    """Complete the span of an authorized request.

    Args:
        span: of the request.
        path: at the session's agent.
        job: of the session.
    """
    span.known = True
    span.route = session_pattern(span.method, path)
    span.attributes |= {
        "k8s.namespace.name": job.address.namespace,
        "nanogrid.job.name": job.address.name,
        "nanogrid.job.uid": job.uid,
    }
