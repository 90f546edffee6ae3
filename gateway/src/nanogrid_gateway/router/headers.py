"""Request and response headers on their way through the router. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from multidict import CIMultiDict

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Request headers that the router sets or handles itself. Cookies of a proxy or load balancer in
# front are credentials for all sessions, and what listens in a pod may be an image of its tenant.
HANDLED = frozenset(
    {"host", "authorization", "cookie", "expect", "forwarded", "traceparent", "tracestate"}
)
# Files of a session come from the router's own origin. An HTML page among them must not run
# scripts with the cookies of the user who opens it (a proxy's cookie, for example), because they
# give access to other sessions.
SECURITY_HEADERS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


class ForwardedInfo(NamedTuple):
    """Values of the X-Forwarded headers: the client's address, the scheme it used, the prefix."""

    remote: str
    scheme: str
    prefix: str  # "" for the plain paths


def own_cookie(headers: Mapping[str, str], name: str) -> str | None:
    """The value of the first cookie ``name``, if present."""
    for part in headers.get("Cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value.strip('"')
    return None


def request_headers(
    headers: "CIMultiDict[str]", forwarded: ForwardedInfo, token: str
) -> "CIMultiDict[str]":
    """The headers for a session's agent."""
    kept = _end_to_end(headers, HANDLED)
    kept["Authorization"] = f"Bearer {token}"
    previous = headers.get("X-Forwarded-For")
    kept["X-Forwarded-For"] = f"{previous}, {forwarded.remote}" if previous else forwarded.remote
    kept["X-Forwarded-Proto"] = forwarded.scheme
    kept.setdefault("X-Forwarded-Host", headers.get("Host", ""))
    kept["X-Forwarded-Prefix"] = forwarded.prefix
    return kept


def response_headers(headers: "CIMultiDict[str]", prefix: str, origin: str) -> "CIMultiDict[str]":
    """The headers for the client. A session sets no cookie: its origin is that of all sessions.

    Args:
        headers: the agent's.
        prefix: of the session's paths at the router; "" for the plain paths.
        origin: the agent's own, such as ``http://10.0.0.7:9080``.
    """
    kept = _end_to_end(headers, frozenset({"set-cookie"}))
    if "Location" in kept:
        kept["Location"] = _location(kept["Location"], prefix, origin)
    kept.update(SECURITY_HEADERS)
    return kept


def client_scheme(headers: Mapping[str, str], own: str) -> str:
    """The scheme that the client used: X-Forwarded-Proto of a load balancer, or the request's."""
    return headers.get("X-Forwarded-Proto", own).split(",")[0].strip().lower()


def _location(value: str, prefix: str, origin: str) -> str:
    if value.startswith(f"{origin}/"):
        value = value[len(origin) :]
    rooted = value.startswith("/") and not value.startswith("//")
    return prefix + value if rooted else value


def _end_to_end(headers: "CIMultiDict[str]", without: Iterable[str]) -> "CIMultiDict[str]":
    named = {w.strip().lower() for v in headers.getall("Connection", []) for w in v.split(",")}
    drop = HOP_BY_HOP | named | frozenset(without)
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in drop)
