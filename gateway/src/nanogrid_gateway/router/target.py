"""The session that a request's path names. Pure."""

import re
from typing import Final, NamedTuple

from nanogrid import names
from nanogrid_gateway.router.sessions import Address

PREFIX: Final = "/sessions"
SESSION_PATH: Final = re.compile(
    rf"{PREFIX}/([a-z0-9.-]{{1,253}})/([a-z0-9.-]{{1,253}})(/.*)?", re.DOTALL
)


class RequestTarget(NamedTuple):
    """The session and path that a request names; ``address`` is None for the plain paths."""

    address: Address | None
    prefix: str
    path: str  # at the agent, encoded, without query


def parse_target(raw_path: str) -> RequestTarget | None:
    """Parse a path; None for a path below the prefix that cannot name a session."""
    if raw_path != PREFIX and not raw_path.startswith(f"{PREFIX}/"):
        return RequestTarget(None, "", raw_path)
    match = SESSION_PATH.fullmatch(raw_path)
    if match is None:
        return None
    namespace, name, path = match.groups()
    prefix = names.session_path(namespace, name)
    return RequestTarget(Address(namespace, name), prefix, path or "/")
