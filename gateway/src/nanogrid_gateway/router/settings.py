"""All settings of the router: environment variable, default, meaning and unit."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nanogrid import controller_class, log_line, names
from nanogrid.addresses import Networks, networks
from nanogrid.metrics import server as metrics_server
from nanogrid.settings import SettingsError, env, values


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """Read once at start; each field's ``doc`` is its documentation."""

    host: str = env("NANOGRID_HOST", "", "address to listen on; empty means all addresses")
    port: int = env("NANOGRID_PORT", 8080, "port for sessions and probes")
    metrics_port: int = env(metrics_server.ENV, 0, "port of /metrics; 0: none", zero=True)
    session_key: str = env(
        "NANOGRID_SESSION_KEY",
        "",
        "the installation's secret, equal to the operator's, at least 16 bytes; required",
    )
    auth_mode: str = env(
        "NANOGRID_AUTH_MODE",
        "token",
        "token: the caller sends the session's token; header: a proxy in front authenticates the "
        "caller and sets a header that no other client can set",
        choices=("token", "header"),
    )
    auth_header: str = env(
        "NANOGRID_AUTH_HEADER", "X-Forwarded-User", "the trusted header of mode header"
    )
    auth_header_values: str = env(
        "NANOGRID_AUTH_HEADER_VALUES", "", "comma-separated allowed values; empty allows any value"
    )
    network_config_map: str = env(
        "NANOGRID_NETWORK_CONFIG_MAP",
        "",
        "NAMESPACE/NAME of the operator's tests of the network; mode header serves only while they "
        "succeed; empty: it always serves",
    )
    allow_open_sessions: bool = env(
        "NANOGRID_ALLOW_OPEN_SESSIONS",
        False,
        "whether sessions with spec.session.auth Unprotected need no token at the router",
    )
    watch_namespaces: str = env(
        "NANOGRID_WATCH_NAMESPACES", "", "comma-separated; empty means all namespaces"
    )
    controller_class: str = env(
        controller_class.ENV, "", "spec.controllerClass of the sessions, the operator's"
    )
    compatibility_namespace: str = env(
        "NANOGRID_COMPATIBILITY_NAMESPACE",
        "",
        "namespace whose S3 keys have no root, the operator's; empty: none",
    )
    s3_prefix: str = env(
        names.ENV_S3_PREFIX, "", "in front of the default roots of all namespaces, the operator's"
    )

    connect_timeout_seconds: float = env(
        "NANOGRID_CONNECT_TIMEOUT_SECONDS", 3.0, "timeout of a connection to a session's pod"
    )
    idle_timeout_seconds: float = env(
        "NANOGRID_IDLE_TIMEOUT_SECONDS", 900.0, "time without a byte from a session or a client"
    )
    max_body_bytes: int = env(
        "NANOGRID_MAX_BODY_BYTES", 1 << 30, "limit of a request body, which is streamed"
    )
    read_seconds: float = env(
        "NANOGRID_READ_SECONDS",
        30.0,
        "time for a client's first byte, and as much for the head of a request",
    )
    max_slow_clients: int = env(
        "NANOGRID_MAX_SLOW_CLIENTS",
        100,
        "clients that send a head slowly, at a time; others are answered 408",
    )
    max_connections: int = env(
        "NANOGRID_MAX_CONNECTIONS",
        2000,
        "connections of clients at a time; one without a request makes room for a new one",
    )
    max_connections_per_address: int = env(
        "NANOGRID_MAX_CONNECTIONS_PER_ADDRESS",
        1000,
        "connections of one address at a time, except of trusted proxies",
    )
    max_requests_per_namespace: int = env(
        "NANOGRID_MAX_REQUESTS_PER_NAMESPACE",
        1000,
        "requests to the sessions of one namespace at a time; below the connections, so that other "
        "namespaces get some of them",
    )
    trusted_proxies: str = env(
        "NANOGRID_TRUSTED_PROXIES",
        "",
        "comma-separated CIDRs of load balancers whose X-Forwarded-For is believed, for limits per "
        "address; empty: the address of the connection counts",
    )
    keepalive_seconds: float = env(
        "NANOGRID_KEEPALIVE_SECONDS",
        4000.0,
        "idle time of client connections; more than the idle timeout of the load balancer in front",
    )
    drain_start_seconds: float = env(
        "NANOGRID_DRAIN_START_SECONDS",
        10.0,
        "time after SIGTERM during which new requests are still accepted",
        zero=True,
    )
    drain_seconds: float = env(
        "NANOGRID_DRAIN_SECONDS", 900.0, "then the longest wait for running requests", zero=True
    )

    cookie_secure: str = env(
        "NANOGRID_COOKIE_SECURE",
        "auto",
        "Secure attribute; auto: when the client used https (X-Forwarded-Proto); always; never",
        choices=("auto", "always", "never"),
    )
    cookie_name: str = env("NANOGRID_COOKIE_NAME", "nanogrid_session", "session cookie's name")
    cookie_ttl_seconds: int = env("NANOGRID_COOKIE_TTL_SECONDS", 86400, "lifetime of a cookie")

    resync_seconds: float = env("NANOGRID_RESYNC_SECONDS", 300.0, "between full LISTs")
    watch_seconds: float = env("NANOGRID_WATCH_SECONDS", 120.0, "duration of one watch request")
    kube_timeout_seconds: float = env(
        "NANOGRID_KUBE_TIMEOUT_SECONDS", 15.0, "timeout per request to the API server"
    )
    log_level: str = env(log_line.ENV_LEVEL, "INFO", "level of logs", choices=log_line.LEVELS)
    log_format: str = env(
        log_line.ENV_FORMAT, log_line.TEXT, "format of logs", choices=log_line.FORMATS
    )

    @property
    def key(self) -> bytes:
        """The session key as bytes, from which tokens are derived."""
        return self.session_key.encode()

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to watch; empty means all."""
        return _comma_separated(self.watch_namespaces)

    @property
    def allowed_header_values(self) -> frozenset[str]:
        """The allowed values of the trusted header; empty allows any value."""
        return frozenset(_comma_separated(self.auth_header_values))

    @property
    def proxies(self) -> Networks:
        """The networks of the trusted proxies.

        Raises:
            SettingsError: the setting is no list of CIDRs.
        """
        return networks(self.trusted_proxies, "NANOGRID_TRUSTED_PROXIES")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "RouterSettings":
        """Read the environment.

        Raises:
            SettingsError: a value has the wrong type, the session key is missing or short, or the
                trusted proxies are no CIDRs.
        """
        settings = cls(**values(cls, environ))
        if len(settings.key) < names.KEY_BYTES:
            raise SettingsError(
                f"NANOGRID_SESSION_KEY has {len(settings.key)} bytes, but needs at least "
                f"{names.KEY_BYTES}; use the Secret that the chart creates for operator "
                "and router"
            )
        _ = settings.proxies
        if wrong := controller_class.problem(settings.controller_class):
            raise SettingsError(f"{controller_class.ENV}: {wrong}")
        return settings


def _comma_separated(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
