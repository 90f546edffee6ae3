"""A session's overhead: the first execution after apply, and each execution minus its code.

Runs on the cluster with the chart. The calls go through the router and a port-forward, as for a
client outside the cluster. The same calls directly to the agent's port are measured in turn.
"""

import argparse
import statistics
import time
import uuid

from nanogrid import names
from scripts.devaccess import PortForward
from support.kubectl import Namespace, kubectl
from support.sessions import Caller, path_of, ready, router, session, token_of


def percentiles(values: list[float]) -> str:
    """p50 and p99 in milliseconds."""
    ordered = sorted(values)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered):6.1f}  p99 {last:6.1f} ms"


def overhead(caller: Caller, path: str, context: str | None) -> float:
    """The time of one execution minus the time of its code, in milliseconds."""
    more = {"context": context} if context else {}
    began = time.perf_counter()
    done = caller.execute(path, "pass", **more)
    return (time.perf_counter() - began) * 1000 - float(done["durationMillis"])


def measure(namespace: Namespace, count: int) -> None:
    """Create a session, measure ``count`` executions of each kind, and print the percentiles."""
    began = time.monotonic()
    namespace.apply(session("bench"))
    status = ready(namespace, "bench")
    path = path_of(namespace, "bench")
    token = token_of(namespace, status)
    (pod,) = namespace.pods("bench")
    target = f"pod/{pod['metadata']['name']}"
    with router() as url, PortForward(namespace.name, target, names.SESSION_PORT) as direct:
        routed, straight = (
            Caller(url, token),
            Caller(direct.wait_url(), token),
        )
        routed.execute(path, "print(1)")
        print(
            f"apply to first result: {time.monotonic() - began:.2f} s (two port-forwards included)"
        )
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(count):
            for way, caller in (("router", routed), ("direct", straight)):
                for kind, context in (("process", None), ("context", "c")):
                    found.setdefault((way, kind), []).append(overhead(caller, path, context))
    for (way, kind), values in found.items():
        print(f"{way:7} {kind:8} {percentiles(values)}   ({len(values)} executions)")


def main() -> None:
    """Measure in a new namespace."""
    parser = argparse.ArgumentParser(description="Latency of a session's executions.")
    parser.add_argument("--count", type=int, default=200)
    count = parser.parse_args().count
    namespace = Namespace(f"bench-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", namespace.name)
    try:
        measure(namespace, count)
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")


if __name__ == "__main__":
    main()
