"""How Redis is reached: mode, addresses, users, passwords, and the CAs of its certificate.

A URL may name several servers: ``rediss://user@a:26379,b:26379/0``. They are the Sentinels, or the
nodes of a Redis Cluster that a client asks first. Users and passwords also come from separate
variables and Secrets. Standard library only.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote

from nanogrid.ca_bundle import certificates
from nanogrid.redis_role import Iam

STANDALONE: Final = "Standalone"
SENTINEL: Final = "Sentinel"
CLUSTER: Final = "Cluster"
MODES: Final = (STANDALONE, SENTINEL, CLUSTER)
Address = tuple[str, int]  # host and port
REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
ENV_REDIS_URL: Final = "NANOGRID_REDIS_URL"
ENV_REDIS_MODE: Final = "NANOGRID_REDIS_MODE"

# Scheme, user and password, addresses, and the rest: the database and options.
_URL: Final = re.compile(
    r"(?P<scheme>rediss?)://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<rest>.*)"
)
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:,\s]*))(?::(?P<port>[0-9]+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """Where Redis is, and as whom it is used.

    Attributes:
        url: ``redis://`` or ``rediss://``; see the module.
        mode: one of :data:`MODES`.
        username: in place of the URL's own, if not empty.
        password: in place of the URL's own, if not empty.
        ca_bundle: PEM text of CAs that Redis and the Sentinels may have, besides the system's.
        sentinel_master: name of the master that Sentinels are asked for.
        sentinel_username: of the Sentinels themselves; empty: their default user.
        sentinel_password: of the Sentinels themselves; empty: they need none.
        iam: takes the place of username and password.
    """

    url: str = field(repr=False)  # it may have a password
    mode: str = STANDALONE
    username: str = ""
    password: str = field(default="", repr=False)
    ca_bundle: str = field(default="", repr=False)
    sentinel_master: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    iam: Iam | None = None

    @property
    def addresses(self) -> list[Address]:
        """Host and port of each server of the URL.

        Raises:
            ValueError: the URL is none of Redis.
        """
        return addresses(self.url, self.mode)


def server_problem(server: RedisServer) -> str:
    """Why a server cannot be used as it is described; empty if it can. Shows no password."""
    if server.mode not in MODES:
        return f"the mode is {server.mode!r}: expected {', '.join(MODES)}"
    try:
        found = server.addresses
    except ValueError as e:
        return str(e)
    if server.iam is not None and server.mode == SENTINEL:
        return f"the mode is {SENTINEL}, but AWS has no Sentinels that take an IAM role"
    if server.mode == STANDALONE and len(found) > 1:
        return (
            f"the URL names {len(found)} servers, and the mode is {STANDALONE}: name one, or set "
            f"the mode to {SENTINEL} or {CLUSTER}"
        )
    if server.mode == CLUSTER and (database := _database(server.url)) not in ("", "0"):
        return f"the URL names the database {database}: a Redis Cluster has only the database 0"
    if server.mode == SENTINEL and not server.sentinel_master:
        return f"the mode {SENTINEL} needs the name of the master that the Sentinels know"
    return ""


def addresses(url: str, mode: str = STANDALONE) -> list[Address]:
    """Host and port of each server of a URL; the default port is that of the mode.

    Raises:
        ValueError: the URL is none of Redis.
    """
    default = SENTINEL_PORT if mode == SENTINEL else REDIS_PORT
    found = []
    for text in _parts(url)["hosts"].split(","):
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or int(match["port"] or default) > 65535:
            raise ValueError(
                "an address of the URL is not valid: expected HOST, HOST:PORT or [IPv6]:PORT, "
                "separated by commas"
            )
        host = unquote(match["v6"] or match["name"]) or "localhost"
        found.append((host, int(match["port"] or default)))
    return found


def shown(url: str, mode: str) -> str:
    """A URL without user and password, and with the mode, unless it is Standalone or empty."""
    scheme, separator, rest = url.partition("://")
    text = f"{scheme}{separator}{rest.rpartition('@')[2]}"
    return text if mode in ("", STANDALONE) else f"{text} ({mode})"


def with_credentials(url: str, username: str, password: str) -> str:
    """``url`` with the password, and with the username in place of the URL's own.

    Without both, ``url`` unchanged.

    Raises:
        ValueError: the URL is none of Redis.
    """
    if not (username or password):
        return url
    parts = _parts(url)
    own_user, _, own_password = (parts["user"] or "").partition(":")
    user = quote(username, safe="") or own_user
    secret = quote(password, safe="") or own_password
    return f"{parts['scheme']}://{user}:{secret}@{parts['hosts']}{parts['rest']}"


def without_addresses(url: str) -> str:
    """``url`` with credentials, database and options, and with one address in place of its own.

    Raises:
        ValueError: the URL is none of Redis.
    """
    parts = _parts(url)
    user = "" if parts["user"] is None else f"{parts['user']}@"
    return f"{parts['scheme']}://{user}localhost{parts['rest']}"


def tls_options(url: str, ca_bundle: str) -> dict[str, Any]:
    """Options of a Redis client that trusts the system's CAs and these; none without TLS.

    Raises:
        ValueError: see :func:`nanogrid.ca_bundle.certificates`.
    """
    if not ca_bundle or _parts(url)["scheme"] != "rediss":
        return {}
    return {"ssl_ca_data": certificates(ca_bundle)}


def _parts(url: str) -> re.Match[str]:
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            "the URL is none of Redis: expected redis://HOST:PORT/0 or rediss://USER@HOST:PORT/0"
        )
    return match


def _database(url: str) -> str:
    """The database of a URL; empty if it names none."""
    path, _, query = _parts(url)["rest"].partition("#")[0].partition("?")
    named: list[str] = parse_qs(query).get("db", [])
    return named[0] if named else path.strip("/")
