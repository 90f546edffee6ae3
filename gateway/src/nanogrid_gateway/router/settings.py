"""Every tunable of the router: its environment variable, default, meaning and unit, once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nanogrid import names
from nanogrid.envsettings import LOG_LEVELS, SettingsError, values
from nanogrid.envsettings import env as _env


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read once at start; see each field's ``doc``."""

    host: str = _env("NANOGRID_HOST", "", "address to listen on; empty is all")
    port: int = _env("NANOGRID_PORT", 8080, "port of sessions, probes and metrics")
    session_key: str = _env(
        "NANOGRID_SESSION_KEY",
        "",
        "the installation's secret, the same text as the operator's, at least 16 bytes; required",
    )
    auth_mode: str = _env(
        "NANOGRID_AUTH_MODE",
        "token",
        "token: the caller sends the session's token; header: a proxy in front has checked the "
        "caller and says so in a header that nobody else can set",
        choices=("token", "header"),
    )
    auth_header: str = _env(
        "NANOGRID_AUTH_HEADER", "X-Forwarded-User", "the trusted header of mode header"
    )
    auth_header_values: str = _env(
        "NANOGRID_AUTH_HEADER_VALUES", "", "comma-separated values that may enter; empty is any"
    )
    allow_open_sessions: bool = _env(
        "NANOGRID_ALLOW_OPEN_SESSIONS",
        False,
        "whether sessions with spec.session.auth Unprotected are open to all who reach the router",
    )
    watch_namespaces: str = _env("NANOGRID_WATCH_NAMESPACES", "", "comma-separated; empty is all")

    connect_timeout_seconds: float = _env(
        "NANOGRID_CONNECT_TIMEOUT_SECONDS", 3.0, "to a session's pod"
    )
    idle_timeout_seconds: float = _env(
        "NANOGRID_IDLE_TIMEOUT_SECONDS", 900.0, "without a byte from a session, or from a client"
    )
    max_body_bytes: int = _env("NANOGRID_MAX_BODY_BYTES", 1 << 30, "of a request; it is streamed")
    keepalive_seconds: float = _env(
        "NANOGRID_KEEPALIVE_SECONDS",
        4000.0,
        "clients' idle connections; more than the idle timeout of the load balancer in front",
    )
    drain_start_seconds: float = _env(
        "NANOGRID_DRAIN_START_SECONDS", 10.0, "still taking requests after SIGTERM", zero=True
    )
    drain_seconds: float = _env(
        "NANOGRID_DRAIN_SECONDS", 900.0, "then, at most, for the requests that run", zero=True
    )

    cookie_name: str = _env("NANOGRID_COOKIE_NAME", "nanogrid_session", "of the session cookie")
    cookie_ttl_seconds: int = _env("NANOGRID_COOKIE_TTL_SECONDS", 86400, "life of a cookie")
    cookie_secure: str = _env(
        "NANOGRID_COOKIE_SECURE",
        "auto",
        "auto: Secure when the client came by https (X-Forwarded-Proto); or always, never",
        choices=("auto", "always", "never"),
    )

    resync_seconds: float = _env("NANOGRID_RESYNC_SECONDS", 300.0, "between full LISTs")
    watch_seconds: float = _env("NANOGRID_WATCH_SECONDS", 120.0, "life of one watch request")
    kube_timeout_seconds: float = _env("NANOGRID_KUBE_TIMEOUT_SECONDS", 15.0, "per API request")
    log_level: str = _env("NANOGRID_LOG_LEVEL", "INFO", "of logs", choices=LOG_LEVELS)

    @property
    def key(self) -> bytes:
        """The session key as the tokens are made with."""
        return self.session_key.encode()

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to watch; empty means all."""
        return _words(self.watch_namespaces)

    @property
    def allowed_header_values(self) -> frozenset[str]:
        """The values of the trusted header that may enter; empty means any."""
        return frozenset(_words(self.auth_header_values))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: a value has the wrong type, or the session key is missing or short.
        """
        settings = cls(**values(cls, environ))
        if len(settings.key) < names.SESSION_KEY_BYTES:
            raise SettingsError(
                f"NANOGRID_SESSION_KEY has {len(settings.key)} bytes, at least "
                f"{names.SESSION_KEY_BYTES} are needed; take the Secret that the chart makes "
                "for operator and router"
            )
        return settings


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
