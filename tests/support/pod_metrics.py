"""The metrics of all pods of a component in the cluster.

Through `kubectl port-forward`, which the kubelet of the pod connects: the API server's proxy of
pods comes from the node of the API server, and a NetworkPolicy may deny other nodes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nanogrid.metrics.server import PORT
from scripts.devaccess import NAMESPACE, RELEASE, PortForward
from support.kubectl import kubectl
from support.release import IN_RELEASE
from support.scraped import Scraped


class ComponentMetrics:
    """All replicas of a component, by the local ports of their metrics."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels, of all replicas."""
        return sum(Scraped.of_port(port).total(name, **labels) for port in self._ports)


@contextmanager
def component_metrics(component: str) -> Iterator[ComponentMetrics]:
    """The metrics of ``gateway``, ``router``, ``egress`` or ``operator``; no pods is an error."""
    label = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
    pods = kubectl(
        *(*IN_RELEASE, "get", "pods", "-l", label, "-o", "name"),
        "--field-selector=status.phase=Running",
    ).split()
    assert pods, f"no pods of {component}"
    with ExitStack() as stack:
        forwards = [stack.enter_context(PortForward(NAMESPACE, pod, PORT)) for pod in pods]
        yield ComponentMetrics([forward.wait_ready() for forward in forwards])
