"""What ``doctor`` looks at: each check asks the API server and gives findings with their cures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from nanogrid import names

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nanogrid.client import Cluster

Json = dict[str, Any]
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD: Final = f"{CRDS}/{names.PLURAL}.{names.GROUP}"
FUNCTION_CRD: Final = f"{CRDS}/{names.FUNCTION_PLURAL}.{names.GROUP}"
OPERATOR: Final = "app.kubernetes.io/part-of=nanogrid,app.kubernetes.io/component=operator"
ROUTER: Final = "app.kubernetes.io/part-of=nanogrid,app.kubernetes.io/component=router"
INSTALL: Final = "Install the chart: helm install nanogrid helm/nanogrid-operator (README.md)."
POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
# CNIs that do not enforce a NetworkPolicy; their DaemonSets' names.
NOT_ENFORCING: Final = ("kindnet", "kube-flannel", "kube-flannel-ds")
ENFORCING: Final = ("calico-node", "cilium", "antrea-agent", "weave-net", "kube-router")
NEEDED: Final = (
    ("create", names.PLURAL, names.GROUP, "run jobs"),
    ("get", names.PLURAL, names.GROUP, "see jobs"),
    ("list", names.PLURAL, names.GROUP, "list jobs"),
    ("watch", names.PLURAL, names.GROUP, "follow jobs"),
    ("patch", names.PLURAL, names.GROUP, "cancel jobs"),
    ("delete", names.PLURAL, names.GROUP, "remove jobs"),
)
WISHED: Final = (
    ("list", names.FUNCTION_PLURAL, names.GROUP, "list functions"),
    ("list", "pods", "", "why and cleanup see pods"),
    ("get", "pods/log", "", "logs of running jobs"),
    ("list", "events", "", "why sees Events"),
    ("get", "secrets", "", "tokens of sessions"),
)
PROBE_SECONDS: Final = 10.0
State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check found; ``cure`` is empty when all is well."""

    check: str
    state: State
    detail: str
    cure: str = ""

    def to_json(self) -> Json:
        """For -o json."""
        return dict(vars(self))


Check = Callable[["Cluster", str], Iterator[Finding]]


def api_server(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """It answers."""
    yield Finding("API server", "ok", str(cluster.version().get("gitVersion", "")))


def crd(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """The jobs' is there, established, and serves what this program speaks."""
    from nanogrid.job import Spec

    yield from _definition(cluster, "CRD", CRD, Spec, "fail")


def function_crd(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """The same of functions, without which jobs run all the same."""
    from nanogrid.spec_function import FunctionSpec

    yield from _definition(cluster, "functions", FUNCTION_CRD, FunctionSpec, "warn")


def _definition(
    cluster: "Cluster", check: str, path: str, spec: "type[BaseModel]", without: State
) -> Iterator[Finding]:
    from nanogrid.client import errors

    try:
        found = cluster.get(path)
    except errors.NotFound:
        yield Finding(check, without, f"{path.rpartition('/')[2]} does not exist", INSTALL)
        return
    served = [one["name"] for one in found["spec"]["versions"] if one["served"]]
    if names.VERSION not in served:
        cure = "Install a version of this program that belongs to the chart, or upgrade the chart."
        said = f"serves {', '.join(served) or 'nothing'}, this program speaks {names.VERSION}"
        yield Finding(check, "fail", said, cure)
        return
    told = {one["type"]: one for one in found.get("status", {}).get("conditions", [])}
    if told.get("Established", {}).get("status") != "True":
        cure = "Wait a moment; `kubectl describe crd` shows its conditions."
        yield Finding(check, "fail", "is not established", cure)
        return
    version = found["spec"]["versions"][served.index(names.VERSION)]
    there = set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
    ours = {field.alias or name for name, field in spec.model_fields.items()}
    if missing := sorted(ours - there):
        said = f"is older than this program: it lacks spec.{', spec.'.join(missing)}"
        yield Finding(check, "warn", said, "Upgrade the chart with its CRD.")
    else:
        yield Finding(check, "ok", f"{names.GROUP}/{names.VERSION}")


def operator(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Its Deployment is ready, and what its readiness probe says."""
    found = _deployments(cluster, OPERATOR)
    if not found:
        yield Finding("operator", "fail", "there is no Deployment of it", INSTALL)
    for deployment in found:
        yield _ready("operator", deployment)
        yield from _watched(deployment, namespace)
        yield from _probes(cluster, deployment)


def router(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """The sessions' router is ready, if there is one."""
    found = _deployments(cluster, ROUTER)
    if not found:
        cure = "For sessions: set sessions.enabled in the chart's values."
        yield Finding("sessions", "warn", "no router: this installation has no sessions", cure)
    for deployment in found:
        yield _ready("sessions", deployment)


def _deployments(cluster: "Cluster", labels: str) -> list[Json]:
    return cluster.list("/apis/apps/v1/deployments", labels=labels)


def _ready(check: str, deployment: Json) -> Finding:
    metadata, status = deployment["metadata"], deployment.get("status", {})
    wanted, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    where = f"{metadata['namespace']}/{metadata['name']}"
    version = metadata.get("labels", {}).get("app.kubernetes.io/version", "")
    said = f"{where} {version}: {ready} of {wanted} ready".replace(" :", ":")
    if ready >= 1:
        return Finding(check, "ok", said)
    cure = f"kubectl -n {metadata['namespace']} describe deploy {metadata['name']}; see its log."
    return Finding(check, "fail", said, cure)


def env_of(deployment: Json, name: str) -> str:
    """A variable of a Deployment's first container; "" when it has none."""
    given = deployment["spec"]["template"]["spec"]["containers"][0].get("env", [])
    return next((str(one.get("value", "")) for one in given if one["name"] == name), "")


def _watched(deployment: Json, namespace: str) -> Iterator[Finding]:
    watched = [n for n in env_of(deployment, "NANOGRID_WATCH_NAMESPACES").split(",") if n]
    if watched and namespace not in watched:
        cure = "Use one of these namespaces, or add yours to watchNamespaces in the chart's values."
        said = f"it watches only {', '.join(watched)}, not {namespace}"
        yield Finding("operator", "fail", said, cure)


def _probes(cluster: "Cluster", deployment: Json) -> Iterator[Finding]:
    """Redis and S3 as the operator's own readiness probe sees them."""
    from nanogrid.client import errors

    redis = env_of(deployment, "NANOGRID_REDIS_URL")
    bucket = env_of(deployment, "NANOGRID_S3_BUCKET")
    endpoint = env_of(deployment, names.ENV_S3_ENDPOINT) or "AWS"
    shown = {"redis": _without_password(redis), "s3": f"bucket {bucket} at {endpoint}", "crd": ""}
    metadata = deployment["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/services"
    try:
        told = cluster.get(f"{path}/{metadata['name']}:{names.RESULTS_PORT}/proxy/readyz")
    except errors.Forbidden:
        said = "not to be seen: these credentials may not use services/proxy"
        yield Finding("Redis and S3", "warn", said, "Ask the platform team to run nanogrid doctor.")
        return
    except errors.ApiError as error:
        # No pod is ready, so the Service leads nowhere: ask the pod itself.
        asked = unready(cluster, metadata["namespace"])
        if asked is None:
            cure = "See the operator's log; it looks again every few seconds."
            yield Finding("Redis and S3", "fail", f"not to be seen: {error.message}", cure)
            return
        told = asked
    missing = told.get("missing", {})
    for name in ("redis", "s3"):
        wrong = missing.get(name, "")
        cure = f"Check {name} and its address, credentials and network." if wrong else ""
        state: State = "fail" if wrong else "ok"
        yield Finding(name.capitalize(), state, f"{shown[name]} {wrong}".strip(), cure)


def unready(cluster: "Cluster", namespace: str) -> Json | None:
    """What the probe of an operator that is not ready says; None when it cannot be asked."""
    import json

    from urllib3.exceptions import HTTPError

    from nanogrid.client import pods

    for pod in cluster.list(pods(namespace), labels=OPERATOR):
        path = f"{pods(namespace)}/{pod['metadata']['name']}:{names.RESULTS_PORT}/proxy/readyz"
        # Not by cluster.get: the answer that matters is the body of a 503.
        link = cluster.connection
        try:
            answer = link.pool.request(
                "GET",
                link.host + path,
                headers=link.auth_headers(),
                timeout=PROBE_SECONDS,
                retries=False,
            )
            told: Json = json.loads(answer.data)
        except (HTTPError, ValueError):
            continue
        if "missing" in told:
            return told
    return None


def _without_password(url: str) -> str:
    scheme, split, rest = url.partition("://")
    return f"{scheme}{split}{rest.rpartition('@')[2]}"


def rights(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """What these credentials may do in the namespace."""
    missing = [w for *a, w in NEEDED if not cluster.can(a[0], a[1], namespace, a[2])]
    wished = [w for *a, w in WISHED if not cluster.can(a[0], a[1], namespace, a[2])]
    if missing:
        cure = f"Ask for a Role with all verbs on {names.PLURAL}.{names.GROUP} in {namespace}."
        yield Finding("permissions", "fail", f"you may not {', '.join(missing)}", cure)
    if wished:
        cure = "Ask for get and list of functions, pods, pods/log, events and secrets there."
        yield Finding("permissions", "warn", f"not allowed: {', '.join(wished)}", cure)
    if not missing and not wished:
        yield Finding("permissions", "ok", f"all that is needed in {namespace}")


def isolation(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Whether a NetworkPolicy holds for the namespace's sandboxes, and whether one would count."""
    policies = cluster.list(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
    agents = {one["metadata"]["name"] for one in cluster.list("/apis/apps/v1/daemonsets")}
    weak, strong = agents.intersection(NOT_ENFORCING), agents.intersection(ENFORCING)
    guide = "See docs/security.md: deny egress of sandboxes but to S3, DNS and the operator."
    if weak and not strong:
        said = f"the network plugin ({', '.join(sorted(weak))}) may not enforce NetworkPolicies"
        yield Finding("network", "warn", said, f"Prove it, or use Calico or Cilium. {guide}")
    if not policies:
        yield Finding("network", "warn", f"{namespace} has no NetworkPolicy", guide)
    elif not weak or strong:
        yield Finding("network", "ok", f"{len(policies)} NetworkPolicies in {namespace}")


def pod_security(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Whether the namespace admits restricted pods only."""
    found = cluster.get(f"/api/v1/namespaces/{namespace}")
    level = found["metadata"].get("labels", {}).get(POD_SECURITY)
    if level == "restricted":
        yield Finding("pod security", "ok", f"{namespace} enforces {level}")
        return
    cure = f"kubectl label namespace {namespace} {POD_SECURITY}=restricted"
    said = f"{namespace} enforces {level or 'nothing'}; sandboxes fit into restricted"
    yield Finding("pod security", "warn", said, cure)


def images(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Whether nodes have the executor's image already: a first job else waits for the pull."""
    for deployment in _deployments(cluster, OPERATOR):
        image = env_of(deployment, "NANOGRID_EXECUTOR_IMAGE")
        nodes = cluster.list("/api/v1/nodes")
        have = [n for n in nodes if _has_image(n, image)]
        said = f"{image} is on {len(have)} of {len(nodes)} nodes"
        if have or not nodes:
            yield Finding("image", "ok", said)
        elif env_of(deployment, "NANOGRID_IMAGE_PULL_POLICY") == "Never":
            yield Finding(
                "image", "fail", said, "Load it: pulling is forbidden (pullPolicy Never)."
            )
        else:
            cure = "The first job waits for the pull. (A node shows its 50 largest images only.)"
            yield Finding("image", "warn", said, cure)


def _has_image(node: Json, image: str) -> bool:
    for one in node.get("status", {}).get("images", []):
        # The node shows full names: docker.io/library/x:1 for x:1.
        if any(name == image or name.endswith(f"/{image}") for name in one.get("names") or []):
            return True
    return False


CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("CRD", crd),
    ("functions", function_crd),
    ("operator", operator),
    ("sessions", router),
    ("permissions", rights),
    ("pod security", pod_security),
    ("network", isolation),
    ("image", images),
)
