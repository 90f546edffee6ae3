"""What the current user can read about the installation, and the addresses it must protect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nanogrid import names
from nanogrid.cli.boundary.probe import GATEWAY
from nanogrid.cli.finding import Finding
from nanogrid.cli.installation_checks import OPERATOR, deployments, env_of, watches
from nanogrid.controller_class import ENV, NO_CLASS
from nanogrid.redis_url import ENV_REDIS_MODE, ENV_REDIS_URL, SENTINEL, STANDALONE
from nanogrid.redis_url import addresses as redis_addresses
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Cluster

HTTP_PORT: Final = 8080  # of the router and the gateway
KUBELET_PORT: Final = 10250
DNS_PORT: Final = 53
API_SERVER: Final = "kubernetes.default.svc"
API_SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
COMPONENTS: Final = (
    "app.kubernetes.io/part-of=nanogrid,app.kubernetes.io/component in (router,gateway)"
)
COMPONENT: Final = "app.kubernetes.io/component"
POD_IDENTITY: Final = "EKS Pod Identity"
# (name, address, port) of the metadata and credential services of clouds
METADATA: Final = (
    ("metadata", "169.254.169.254", 80),
    ("metadata, IPv6", "fd00:ec2::254", 80),
    (POD_IDENTITY, "169.254.170.23", 80),
    (f"{POD_IDENTITY}, IPv6", "fd00:ec2::23", 80),
)
MOST_NODES: Final = 3
MOST_PODS: Final = 3
READ_HINT: Final = "Run it as a user who may list {} in the cluster; the other rows are complete."


@dataclass(frozen=True, slots=True)
class Installation:
    """The release that watches the namespace.

    Attributes:
        namespace: of the release.
        operator: the operator's Deployment.
        components: Deployments of router and gateway.
    """

    namespace: str
    operator: Json
    components: tuple[Json, ...] = ()

    def env(self, name: str) -> str:
        """A setting of the operator; "" if it has no plain value."""
        return env_of(self.operator, name)

    @property
    def controller_class(self) -> str:
        """The class of the jobs that it runs; empty: of those without one."""
        return self.env(ENV)

    @property
    def image(self) -> str:
        """The operator's image."""
        return str(self.operator["spec"]["template"]["spec"]["containers"][0].get("image", ""))


@dataclass(frozen=True, slots=True)
class Target:
    """An address that user code tries to reach; ``open`` is whether it must succeed."""

    name: str
    host: str
    port: int
    open: bool = False

    def to_json(self) -> Json:
        """The target as the probe reads it."""
        return {"name": self.name, "host": self.host, "port": self.port, "open": self.open}


def find(
    cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS
) -> Installation | None:
    """The installation of a class that watches the namespace; None if there is none.

    Raises:
        Forbidden: the user cannot list Deployments.
    """
    for operator in deployments(cluster, OPERATOR, controller_class):
        if watches(operator, namespace):
            release = str(operator["metadata"]["namespace"])
            components = deployments(cluster, COMPONENTS, controller_class)
            own = (one for one in components if one["metadata"]["namespace"] == release)
            return Installation(release, operator, tuple(own))
    return None


def targets(
    cluster: "Cluster", namespace: str, installation: Installation | None
) -> tuple[list[Target], list[Finding]]:
    """All targets that the user can name, and a finding for those that the user cannot read."""
    from nanogrid.client import errors

    found = [*_fixed(), *(_platform(installation) if installation else ())]
    skipped = []
    for name, resource, source in SOURCES:
        try:
            found += source(cluster, namespace)
        except (errors.Forbidden, errors.NotFound) as error:
            detail = f"not tried: {error.message}"
            skipped.append(Finding(f"to {name}", "skip", detail, READ_HINT.format(resource)))
    return found, skipped


def _fixed() -> Iterator[Target]:
    """Targets of every cluster."""
    yield Target("DNS", API_SERVER, 0, open=True)
    yield Target("API server", API_SERVER, 443)
    yield Target("kubelet, by the gateway", GATEWAY, KUBELET_PORT)
    for name, host, port in METADATA:
        yield Target(name, host, port)


def _platform(installation: Installation) -> Iterator[Target]:
    """Services of the installation."""
    results = urlsplit(installation.env(names.ENV_RESULTS_URL))
    if results.hostname:
        port = results.port or names.RESULTS_PORT
        yield Target("operator's results port", results.hostname, port, open=True)
    mode = installation.env(ENV_REDIS_MODE) or STANDALONE
    name = "Sentinel" if mode == SENTINEL else "Redis"
    if url := installation.env(ENV_REDIS_URL):
        found = redis_addresses(url, mode)[:MOST_NODES]
        for host, port in found:
            yield Target(name if len(found) == 1 else f"{name} at {host}:{port}", host, port)
    for one in installation.components:
        metadata = one["metadata"]
        # The chart gives a Service the name of its Deployment.
        host = f"{metadata['name']}.{metadata['namespace']}.svc"
        yield Target(metadata["labels"][COMPONENT], host, HTTP_PORT)


def _api_servers(cluster: "Cluster", namespace: str) -> Iterator[Target]:
    """The API server's own addresses: a plugin may see the Service's address instead of them."""
    for one in cluster.list(API_SLICES, labels="kubernetes.io/service-name=kubernetes"):
        addresses = [a for end in one.get("endpoints") or [] for a in end["addresses"]]
        for address in addresses[:MOST_NODES]:
            for port in (one.get("ports") or [])[:1]:
                yield Target(f"API server at {address}", address, int(port["port"]))


def _kubelets(cluster: "Cluster", namespace: str) -> Iterator[Target]:
    for node in cluster.list("/api/v1/nodes")[:MOST_NODES]:
        addresses = node.get("status", {}).get("addresses") or []
        internal = [one["address"] for one in addresses if one["type"] == "InternalIP"]
        for address in internal[:1]:
            yield Target(f"kubelet of {node['metadata']['name']}", address, KUBELET_PORT)


def _neighbours(cluster: "Cluster", namespace: str) -> Iterator[Target]:
    """Pods of the namespace itself, such as the sandboxes of other jobs."""
    from nanogrid.client.kube.paths import pods

    found = cluster.list(pods(namespace), fields="status.phase=Running")
    listening = [(pod, port) for pod in found if (port := _port(pod))]
    for pod, port in listening[:MOST_PODS]:
        address = pod["status"]["podIP"]
        yield Target(f"pod {pod['metadata']['name']}", address, port)


def _strangers(cluster: "Cluster", namespace: str) -> Iterator[Target]:
    """One pod of each of some other namespaces."""
    from nanogrid.client.kube.paths import pods

    chosen: dict[str, Target] = {}
    for pod in cluster.list(pods(), fields="status.phase=Running"):
        metadata, port = pod["metadata"], _port(pod)
        # Sandboxes may reach the operator and the S3 server of the release.
        ours = (metadata.get("labels") or {}).get("app.kubernetes.io/part-of") == "nanogrid"
        if port and not ours and metadata["namespace"] != namespace:
            name = f"pod {metadata['namespace']}/{metadata['name']}"
            target = Target(name, pod["status"]["podIP"], port)
            chosen.setdefault(metadata["namespace"], target)
    yield from list(chosen.values())[:MOST_PODS]


def _port(pod: Json) -> int:
    """A TCP port that the pod declares, except DNS; 0 for none, or without an own address."""
    if pod["spec"].get("hostNetwork") or not pod.get("status", {}).get("podIP"):
        return 0
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports") or []]
    tcp = [int(one["containerPort"]) for one in ports if one.get("protocol", "TCP") == "TCP"]
    return next((port for port in tcp if port != DNS_PORT), 0)


Source = Callable[["Cluster", str], Iterator[Target]]
# (what, the resource that the user must be able to list, the targets)
SOURCES: Final[tuple[tuple[str, str, Source], ...]] = (
    ("API server's addresses", "EndpointSlices", _api_servers),
    ("kubelets", "nodes", _kubelets),
    ("pods of the namespace", "pods", _neighbours),
    ("pods of other namespaces", "pods", _strangers),
)
