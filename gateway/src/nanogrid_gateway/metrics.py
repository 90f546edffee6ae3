"""What gateway, router and egress proxy measure: one class for each of these processes.

Every label has a fixed set of values, so no client makes new series: a path becomes its pattern,
and a method, code or reason outside its set becomes ``_other``.
"""

from enum import StrEnum
from typing import Any, Final

from nanogrid.metrics.registry import OTHER, REQUEST_SECONDS, KubernetesRequests, Metrics
from nanogrid.reasons import Reason

CLIENT_CLOSED_REQUEST: Final = 499  # as nginx logs it

METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# A session's pod may run an image of its tenant, which can answer with any number.
CODES: Final = frozenset(
    {200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308}
    | {400, 401, 403, 404, 405, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 422, 429, 431}
    | {CLIENT_CLOSED_REQUEST, 500, 501, 502, 503, 504}
)
REASONS: Final = frozenset(reason.value for reason in Reason)

# POST /run waits up to a minute by default; an upload may take longer.
ANSWER_SECONDS: Final = (*REQUEST_SECONDS, 60, 300)
# Of a run or a session, up to the longest that a request can ask for.
WAIT_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 300, 3600)

_LABELS: Final = (
    "`route`: the pattern of the path. `method` and `code`: of HTTP; code 499: the client left "
    "before the answer."
)


class Answers:
    """The answers of an HTTP server.

    Args:
        metrics: declares them.
        name: what their names begin with.
        duration: what the time of a request is.
        errors: what is counted as an error.
    """

    def __init__(self, metrics: Metrics, name: str, *, duration: str, errors: str) -> None:
        self.request_seconds = metrics.histogram(
            f"{name}_request_seconds",
            f"{duration} {_LABELS}",
            ANSWER_SECONDS,
            ("route", "method", "code"),
        )
        self.requests_in_flight = metrics.gauge(
            f"{name}_requests_in_flight", "Requests without a complete answer."
        )
        self.refused_total = metrics.counter(
            f"{name}_refused_total",
            f"{errors} `reason`: of the error, one of docs/reasons.md.",
            ("reason",),
        )

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: one of a fixed set of patterns, or ``_other``.
            method: of the request.
            code: of the answer.
            seconds: since the request.
        """
        known_method = method if method in METHODS else OTHER
        known_code = str(code) if code in CODES else OTHER
        self.request_seconds.labels(route, known_method, known_code).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count an error."""
        self.refused_total.labels(reason if reason in REASONS else OTHER).inc()

    def refusal(self, body: dict[str, Any]) -> dict[str, Any]:
        """Count the error in the JSON of an answer, and return this JSON."""
        self.refused(body["error"]["reason"])
        return body


class GatewayMetrics:
    """What the gateway measures."""

    def __init__(self, metrics: Metrics) -> None:
        self.answers = Answers(
            metrics,
            "nanogrid_gateway",
            duration="Time from a request to the end of its answer.",
            errors="Requests and connections that the gateway answered with an error.",
        )
        self.run_wait_seconds = metrics.histogram(
            "nanogrid_gateway_run_wait_seconds",
            "How long POST /run waited for the result of its run, also when the wait ended first.",
            WAIT_SECONDS,
        )
        self.runs_waiting = metrics.gauge(
            "nanogrid_gateway_runs_waiting",
            "Requests POST /run that hold a slot to wait. When all slots are taken, a further "
            "request gets 202 immediately.",
        )
        self.kubernetes = KubernetesRequests(metrics)


class UpstreamError(StrEnum):
    """Why a session's pod gave no complete answer."""

    NOT_CONNECTED = "NotConnected"  # nothing was sent
    CONNECTION_LOST = "ConnectionLost"  # it is unknown whether the request was executed
    TIMEOUT = "Timeout"  # it sent nothing for too long
    STALE_ROUTE = "StaleRoute"  # another pod has the address
    INCOMPLETE = "Incomplete"  # the answer broke off after its head


class RouterMetrics:
    """What the router measures."""

    def __init__(self, metrics: Metrics) -> None:
        self.answers = Answers(
            metrics,
            "nanogrid_router",
            duration="Time from a request to the head of its answer.",
            errors="Requests and connections that the router itself answered with an error; those "
            "of sessions do not count.",
        )
        self.streams = metrics.gauge(
            "nanogrid_router_streams", "Answers of sessions whose body is being forwarded."
        )
        self.sessions = metrics.gauge(
            "nanogrid_router_sessions", "Sessions that the router knows, also those that ended."
        )
        self.pods = metrics.gauge("nanogrid_router_pods", "Pods of sessions that the router knows.")
        self.start_wait_seconds = metrics.histogram(
            "nanogrid_router_start_wait_seconds",
            "Time from the first request that a session could not take yet, because it starts, to "
            "the first request that it took. The router keeps no request waiting: its clients "
            "repeat them.",
            WAIT_SECONDS,
        )
        self.upstream_errors_total = metrics.counter(
            "nanogrid_router_upstream_errors_total",
            "Requests that the pod of a session did not answer completely. `reason`: "
            + _listed(UpstreamError),
            ("reason",),
        )
        for reason in UpstreamError:
            self.upstream_errors_total.labels(reason.value)
        self.kubernetes = KubernetesRequests(metrics)


class EgressOutcome(StrEnum):
    """What became of a connection to the egress proxy."""

    ALLOWED = "allowed"  # a tunnel was opened
    DENIED = "denied"  # the request is not allowed, or above a limit
    FAILED = "failed"  # the name cannot be resolved or reached
    NO_REQUEST = "no_request"  # the client sent no complete head


class EgressRefusal(StrEnum):
    """Why a request got no tunnel."""

    MALFORMED = "Malformed"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    HEAD_TOO_LARGE = "HeadTooLarge"
    UNAUTHORIZED = "Unauthorized"
    PORT_NOT_ALLOWED = "PortNotAllowed"
    HOST_NOT_ALLOWED = "HostNotAllowed"
    ADDRESS_NOT_PUBLIC = "AddressNotPublic"
    TOO_MANY_TUNNELS = "TooManyTunnels"
    TOO_MANY_CONNECTIONS = "TooManyConnections"
    TOO_SLOW = "TooSlow"
    DNS_FAILED = "DnsFailed"
    DNS_TIMEOUT = "DnsTimeout"
    CONNECT_FAILED = "ConnectFailed"
    CONNECT_TIMEOUT = "ConnectTimeout"


class EgressMetrics:
    """What the egress proxy measures."""

    def __init__(self, metrics: Metrics) -> None:
        self.connections_open = metrics.gauge(
            "nanogrid_egress_connections_open", "Connections of sandboxes that are open."
        )
        self.connections_total = metrics.counter(
            "nanogrid_egress_connections_total",
            "Connections of sandboxes. `outcome`: " + _listed(EgressOutcome),
            ("outcome",),
        )
        self.refused_total = metrics.counter(
            "nanogrid_egress_refused_total",
            "Requests that got no tunnel. `reason`: " + _listed(EgressRefusal),
            ("reason",),
        )
        self.bytes_total = metrics.counter(
            "nanogrid_egress_bytes_total",
            "Bytes through tunnels. `direction`: up, from the sandbox, or down, to it.",
            ("direction",),
        )
        for outcome in EgressOutcome:
            self.connections_total.labels(outcome.value)
        for reason in EgressRefusal:
            self.refused_total.labels(reason.value)
        self.bytes_up = self.bytes_total.labels("up")
        self.bytes_down = self.bytes_total.labels("down")

    def ended(self, outcome: EgressOutcome) -> None:
        """Count a connection whose outcome is known."""
        self.connections_total.labels(outcome.value).inc()

    def refused(self, reason: EgressRefusal) -> None:
        """Count a refusal."""
        self.refused_total.labels(reason.value).inc()


def _listed(values: type[StrEnum]) -> str:
    *most, last = [f"`{value}`" for value in values]
    return f"{', '.join(most)} or {last}."
