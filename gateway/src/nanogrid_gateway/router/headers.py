"""What becomes of headers on their way through the router. Pure."""

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
OURS = frozenset({"host", "authorization", "cookie", "expect", "forwarded"})
# Files of a session come from the router's own origin. A page among them must not act there for
# the one who opens it, whose cookies (of a proxy in front, say) reach other sessions.
GUARDS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


class Via(NamedTuple):
    """How a request came: the client's address, the scheme that it used, the prefix it asked."""

    remote: str
    scheme: str
    prefix: str  # "" for the plain paths


def own_cookies(headers: Mapping[str, str], name: str) -> tuple[str | None, str]:
    """The value of our cookie, if there is one, and the Cookie header without it."""
    ours, others = None, []
    for part in headers.get("Cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            ours = value.strip('"') if ours is None else ours
        elif key:
            others.append(part.strip())
    return ours, "; ".join(others)


def request_headers(
    headers: "CIMultiDict[str]", via: Via, token: str, cookies: str
) -> "CIMultiDict[str]":
    """The headers for a session's agent; ``cookies`` is the Cookie header without ours."""
    kept = _end_to_end(headers, OURS)
    kept["Authorization"] = f"Bearer {token}"
    if cookies:
        kept["Cookie"] = cookies
    before = headers.get("X-Forwarded-For")
    kept["X-Forwarded-For"] = f"{before}, {via.remote}" if before else via.remote
    kept["X-Forwarded-Proto"] = via.scheme
    kept.setdefault("X-Forwarded-Host", headers.get("Host", ""))
    kept["X-Forwarded-Prefix"] = via.prefix
    return kept


def response_headers(
    headers: "CIMultiDict[str]", via: Via, origin: str, cookie_name: str
) -> "CIMultiDict[str]":
    """The headers for the client; ``origin`` is the agent's own, as in ``http://10.0.0.7:9080``."""
    cookies = [c for c in headers.getall("Set-Cookie", []) if not c.startswith(f"{cookie_name}=")]
    kept = _end_to_end(headers, frozenset({"set-cookie"}))
    for cookie in cookies:
        kept.add("Set-Cookie", cookie)
    if "Location" in kept:
        kept["Location"] = _location(kept["Location"], via.prefix, origin)
    kept.update(GUARDS)
    return kept


def client_scheme(headers: Mapping[str, str], own: str) -> str:
    """The scheme that the client used: what the load balancer in front says, or the request's."""
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
