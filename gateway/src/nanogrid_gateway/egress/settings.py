"""All settings of the egress proxy: environment variable, default, meaning and unit."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nanogrid import log_line, names
from nanogrid.addresses import Networks, networks
from nanogrid.metrics import server as metrics_server
from nanogrid.settings import SettingsError, env, values


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """Read once at start; each field's ``doc`` is its documentation."""

    host: str = env("NANOGRID_HOST", "", "address to listen on; empty means all addresses")
    port: int = env("NANOGRID_PORT", names.EGRESS_PROXY_PORT, "port of the proxy", zero=True)
    probe_port: int = env("NANOGRID_PROBE_PORT", 8080, "port of probes", zero=True)
    metrics_port: int = env(metrics_server.ENV, 0, "port of /metrics; 0: none", zero=True)
    key: str = env(
        "NANOGRID_EGRESS_KEY",
        "",
        "the key that signs allow-lists, equal to the operator's, at least 16 bytes; required",
    )
    denied_cidrs: str = env(
        "NANOGRID_DENIED_CIDRS",
        "",
        "comma-separated CIDRs of public addresses that no job reaches",
    )

    read_seconds: float = env("NANOGRID_READ_SECONDS", 10.0, "time for the head of a request")
    resolve_seconds: float = env("NANOGRID_RESOLVE_SECONDS", 10.0, "time to resolve a name")
    connect_seconds: float = env("NANOGRID_CONNECT_SECONDS", 10.0, "time to connect to a name")
    idle_seconds: float = env("NANOGRID_IDLE_SECONDS", 300.0, "time without a byte in a tunnel")
    tunnel_seconds: float = env("NANOGRID_TUNNEL_SECONDS", 86400.0, "longest time of a tunnel")

    max_connections: int = env("NANOGRID_MAX_CONNECTIONS", 1000, "connections at a time")
    max_connections_per_address: int = env(
        "NANOGRID_MAX_CONNECTIONS_PER_ADDRESS", 200, "connections of one pod at a time"
    )
    max_tunnels_per_job: int = env("NANOGRID_MAX_TUNNELS_PER_JOB", 100, "tunnels at a time")
    max_tunnels_per_namespace: int = env(
        "NANOGRID_MAX_TUNNELS_PER_NAMESPACE", 400, "tunnels of all jobs of a namespace at a time"
    )
    max_slow_clients: int = env(
        "NANOGRID_MAX_SLOW_CLIENTS", 50, "clients that send a head slowly, at a time"
    )
    drain_start_seconds: float = env(
        "NANOGRID_DRAIN_START_SECONDS",
        5.0,
        "time after SIGTERM during which new tunnels are still accepted",
        zero=True,
    )
    drain_seconds: float = env(
        "NANOGRID_DRAIN_SECONDS", 60.0, "then the longest wait for open tunnels", zero=True
    )
    log_level: str = env(log_line.ENV_LEVEL, "INFO", "level of logs", choices=log_line.LEVELS)
    log_format: str = env(
        log_line.ENV_FORMAT, log_line.TEXT, "format of logs", choices=log_line.FORMATS
    )

    @property
    def denied(self) -> Networks:
        """The networks that no job reaches.

        Raises:
            SettingsError: the setting is no list of CIDRs.
        """
        return networks(self.denied_cidrs, "NANOGRID_DENIED_CIDRS")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "EgressSettings":
        """Read the environment.

        Raises:
            SettingsError: a value has the wrong type, the key is missing or short, or the denied
                networks are no CIDRs.
        """
        settings = cls(**values(cls, environ))
        if len(settings.key.encode()) < names.KEY_BYTES:
            raise SettingsError(
                f"NANOGRID_EGRESS_KEY has {len(settings.key.encode())} bytes, but needs at least "
                f"{names.KEY_BYTES}; use the Secret that the chart creates for operator "
                "and egress proxy"
            )
        _ = settings.denied
        return settings
