"""The parts of the URL of the operator's results endpoint.

``urllib.parse`` takes a twentieth of the CPU time of an agent, most of it for what no URL of an
operator has.
"""

from typing import NamedTuple


class ResultsUrl(NamedTuple):
    """An absolute URL; ``port`` is None if it is that of the scheme."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def authority(self) -> str:
        """Host and port, as in the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse(url: str) -> ResultsUrl:
    """The parts of a URL; the host is empty if it has none.

    Raises:
        ValueError: its port is not a number.
    """
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    host, _, port = authority.rpartition(":") if authority[-1:] != "]" else (authority, "", "")
    if not host:
        host, port = authority, ""
    return ResultsUrl(scheme, host.strip("[]"), int(port) if port else None, f"/{path}")


def with_path(url: str, path: str) -> str:
    """The URL of another path of the same server."""
    parts = parse(url)
    return f"{parts.scheme}://{parts.authority}{path}"
