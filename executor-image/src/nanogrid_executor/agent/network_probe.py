"""The pods that test whether the cluster enforces NetworkPolicies: ``probe-network KIND HOST``."""

import json
from typing import Final

from nanogrid import names
from nanogrid_executor.agent.network_gate import (
    Bounds,
    Outcome,
    Ports,
    watch_until_closed,
    watch_until_open,
)
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths

# Both together are less than the default life of the pod.
BOUNDS: Final = Bounds(enforce=30.0, reach=30.0)


def probe(kind: str, ports: Ports, bounds: Bounds = BOUNDS) -> Outcome:
    """What a pod of this kind (:data:`nanogrid.names.PROBE_KINDS`) observes."""
    watch = watch_until_open if kind == names.PROBE_ALLOWED else watch_until_closed
    return watch(ports, bounds)


def main(kind: str, host: str, paths: Paths) -> int:
    """Test, and write the result to the termination message; the exit code is 0 for any result."""
    found = probe(kind, Ports(host, names.RESULTS_PORT, names.DENIED_PORT))
    log("network-probe", kind=kind, port=found.value)
    result = {"port": found.value, "detail": ""}
    if found is Outcome.UNREACHABLE:
        port = names.DENIED_PORT if kind == names.PROBE_ALLOWED else names.RESULTS_PORT
        result["detail"] = f"it did not reach {host}:{port} within {BOUNDS.reach:g} s"
    paths.write_termination(json.dumps(result))
    return 0
