"""How Redis is reached: its URL with user and password, and the CAs of its certificate.

User and password come from separate variables and a Secret.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from nanogrid.ca_bundle import certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """Where Redis is, and as whom it is used.

    Attributes:
        url: ``redis://`` or ``rediss://``.
        username: in place of the URL's own, if not empty.
        password: in place of the URL's own, if not empty.
        ca_bundle: PEM text of CAs that Redis may have, besides the system's.
    """

    url: str = field(repr=False)  # it may have a password
    username: str = ""
    password: str = field(default="", repr=False)
    ca_bundle: str = field(default="", repr=False)


def with_credentials(url: str, username: str, password: str) -> str:
    """``url`` with the password, and with the username in place of the URL's own.

    Without both, ``url`` unchanged.
    """
    if not (username or password):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = quote(username, safe="") or parts.username or ""
    secret = quote(password, safe="") or parts.password or ""
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))


def tls_options(url: str, ca_bundle: str) -> dict[str, Any]:
    """Options of a Redis client that trusts the system's CAs and these; none without TLS.

    Raises:
        ValueError: see :func:`nanogrid.ca_bundle.certificates`.
    """
    if not ca_bundle or urlsplit(url).scheme != "rediss":
        return {}
    return {"ssl_ca_data": certificates(ca_bundle)}
