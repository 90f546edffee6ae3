"""The pattern of a request's path, for metrics. Pure.

Paths of sessions are those of the agent's API (docs/sessions.md). The router forwards others as
well; they share one pattern, because anything can be a path.
"""

import re
from typing import Final

from nanogrid.metrics.registry import OTHER

OWN: Final = ("/health", "/healthz", "/readyz")
SESSION: Final = "/sessions/{namespace}/{name}"
# Methods and paths of the agent. GET includes HEAD.
AGENT: Final = (
    ("GET", "/health"),
    ("GET", "/container-info"),
    ("GET", "/contexts"),
    ("DELETE", "/contexts/{name}"),
    ("POST", "/end"),
    ("GET", "/openapi.json"),
    ("POST", "/execute"),
    ("GET", "/executions"),
    ("GET", "/executions/{number}"),
    ("DELETE", "/executions/{number}"),
    ("GET", "/executions/{number}/stream"),
    ("GET", "/debug/files"),
    ("GET", "/files"),
    ("PUT", "/files/{path}"),
    ("GET", "/files/{path}"),
    ("DELETE", "/files/{path}"),
    ("POST", "/file-sync"),
)


def _expression(pattern: str) -> str:
    """A regular expression for the paths of a pattern; only ``{path}`` has slashes."""
    parts = re.split(r"(\{\w+\})", pattern)
    return "".join(
        (".+" if part == "{path}" else "[^/]+") if part.startswith("{") else re.escape(part)
        for part in parts
    )


_KNOWN: Final = tuple(
    (method, re.compile(f"{_expression(path)}/?", re.DOTALL), path) for method, path in AGENT
)


def session_pattern(method: str, path: str) -> str:
    """The pattern of a request to a session; ``path`` is the agent's, without query."""
    wanted = "GET" if method == "HEAD" else method
    for known, expression, pattern in _KNOWN:
        if known == wanted and expression.fullmatch(path):
            return SESSION + pattern
    return OTHER
