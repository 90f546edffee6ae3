"""Checks of ``doctor`` on the installation: API server, operator, router and image."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.finding import INSTALL_HINT, Finding, State
from nanogrid.controller_class import ENV, NO_CLASS, class_name
from nanogrid.network_condition import condition_of, config_map_name
from nanogrid.reasons import HELP, Reason
from nanogrid.redis_url import ENV_REDIS_MODE, ENV_REDIS_URL, shown
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Cluster

OPERATOR: Final = "app.kubernetes.io/part-of=nanogrid,app.kubernetes.io/component=operator"
ROUTER: Final = "app.kubernetes.io/part-of=nanogrid,app.kubernetes.io/component=router"
PROBE_SECONDS: Final = 10.0


def api_server(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check that the API server responds."""
    yield Finding("API server", "ok", str(cluster.version().get("gitVersion", "")))


def operator(
    cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS
) -> Iterator[Finding]:
    """Check that the operator is ready, watches the namespace, and reaches Redis and S3."""
    found = deployments(cluster, OPERATOR, controller_class)
    if not found:
        yield _no_operator(cluster, controller_class)
    for deployment in found:
        yield _ready("operator", deployment)
        yield from _watched(deployment, namespace)
        yield from _backends(cluster, deployment)
    yield from _rivals(found, namespace, controller_class)


def router(
    cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS
) -> Iterator[Finding]:
    """Check that the session router, if it is installed, is ready."""
    found = deployments(cluster, ROUTER, controller_class)
    if not found:
        hint = "To use sessions, set sessions.enabled in the chart's values."
        yield Finding("sessions", "warn", "no router; this installation has no sessions", hint)
    for deployment in found:
        yield _ready("sessions", deployment)


def isolation(
    cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS
) -> Iterator[Finding]:
    """Check what the operator's last test of NetworkPolicies showed."""
    for deployment in deployments(cluster, OPERATOR, controller_class):
        metadata = deployment["metadata"]
        maps = f"/api/v1/namespaces/{metadata['namespace']}/configmaps"
        found = condition_of(cluster.get(f"{maps}/{config_map_name(metadata['name'])}"))
        if found is None:
            hint = "Wait a minute, then see the operator's log."
            yield Finding("isolation", "warn", "the network is not tested yet", hint)
            continue
        detail = f"{found.reason}: {found.message} ({found.last_probe_time or 'not tested'})"
        if found.enforced:
            yield Finding("isolation", "ok", detail)
            continue
        allowed = env_of(deployment, "NANOGRID_ALLOW_UNENFORCED_NETWORK") == "true"
        state: State = "warn" if allowed else "fail"
        yield Finding("isolation", state, detail, HELP[Reason.NETWORK_NOT_ENFORCED].hint)


def deployments(cluster: "Cluster", labels: str, controller_class: str | None = None) -> list[Json]:
    """The Deployments of the cluster with these labels; of one controller class, or of all."""
    found = cluster.list("/apis/apps/v1/deployments", labels=labels)
    if controller_class is None:
        return found
    return [one for one in found if env_of(one, ENV) == controller_class]


def _no_operator(cluster: "Cluster", controller_class: str) -> Finding:
    """No operator runs the jobs of this class; names those of other classes."""
    others = [
        f"{one['metadata']['namespace']}/{one['metadata']['name']} ({class_name(env_of(one, ENV))})"
        for one in deployments(cluster, OPERATOR)
    ]
    if not others:
        return Finding("operator", "fail", "no Deployment of the operator", INSTALL_HINT)
    detail = f"no operator runs jobs of {class_name(controller_class)}; found: {', '.join(others)}"
    hint = f"Use --controller-class or {ENV} with the class of one of them, or install another one."
    return Finding("operator", "fail", detail, hint)


def _ready(check: str, deployment: Json) -> Finding:
    metadata, status = deployment["metadata"], deployment.get("status", {})
    desired, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    name = f"{metadata['namespace']}/{metadata['name']}"
    version = metadata.get("labels", {}).get("app.kubernetes.io/version", "")
    detail = f"{f'{name} {version}'.rstrip()}: {ready} of {desired} ready"
    if ready >= 1:
        return Finding(check, "ok", detail)
    target = f"kubectl -n {metadata['namespace']} describe deploy {metadata['name']}"
    return Finding(check, "fail", detail, f"{target}; then see its log.")


def env_of(deployment: Json, name: str) -> str:
    """The value of a variable in a Deployment's first container; "" if it is not set."""
    env = deployment["spec"]["template"]["spec"]["containers"][0].get("env", [])
    return next((str(one.get("value", "")) for one in env if one["name"] == name), "")


def _rivals(operators: list[Json], namespace: str, controller_class: str) -> Iterator[Finding]:
    """Two operators of one class in one namespace: both would write to the same jobs."""
    names_of = [
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in operators
        if watches(one, namespace)
    ]
    if len(names_of) > 1:
        detail = f"{' and '.join(names_of)} run the same jobs: {class_name(controller_class)}"
        hint = "Give all but one of them a controllerClass in the chart's values."
        yield Finding("operator", "fail", f"{detail}, namespace {namespace}", hint)


def watches(operator: Json, namespace: str) -> bool:
    """Whether the operator of a Deployment watches a namespace."""
    watched = [n for n in env_of(operator, "NANOGRID_WATCH_NAMESPACES").split(",") if n]
    return not watched or namespace in watched


def _watched(deployment: Json, namespace: str) -> Iterator[Finding]:
    watched = [n for n in env_of(deployment, "NANOGRID_WATCH_NAMESPACES").split(",") if n]
    if not watches(deployment, namespace):
        detail = f"it watches only {', '.join(watched)}, not {namespace}"
        hint = "Use a watched namespace, or add yours to watchNamespaces in the chart's values."
        yield Finding("operator", "fail", detail, hint)


def _backends(cluster: "Cluster", deployment: Json) -> Iterator[Finding]:
    """Redis and S3, as the operator's readiness probe reports them."""
    from nanogrid.client import errors

    metadata = deployment["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/services"
    readiness: Json | None
    try:
        readiness = cluster.get(f"{path}/{metadata['name']}:{names.RESULTS_PORT}/proxy/readyz")
    except errors.Forbidden:
        detail = "unknown; these credentials cannot use services/proxy"
        hint = "Ask the platform team to run nanogrid doctor."
        yield Finding("Redis and S3", "warn", detail, hint)
        return
    except errors.ApiError as error:
        # Without a ready pod the Service has no endpoint, so ask the pod directly.
        readiness = pod_readiness(cluster, metadata["namespace"])
        # A NetworkPolicy of the operator keeps the API server's proxy out, but not the kubelet.
        readiness = readiness or forwarded_readiness(cluster, metadata["namespace"])
        if readiness is None:
            hint = "See the operator's log; the operator checks again every few seconds."
            yield Finding("Redis and S3", "fail", f"unknown; {error.message}", hint)
            return
    missing = readiness.get("missing", {})
    for name, target in _backend_targets(deployment).items():
        problem = missing.get(name, "")
        hint = f"Check {name}: its address, credentials and network." if problem else ""
        state: State = "fail" if problem else "ok"
        yield Finding(name.capitalize(), state, f"{target} {problem}".strip(), hint)


def _backend_targets(deployment: Json) -> dict[str, str]:
    bucket = env_of(deployment, "NANOGRID_S3_BUCKET")
    endpoint = env_of(deployment, names.ENV_S3_ENDPOINT) or "AWS"
    return {
        "redis": shown(env_of(deployment, ENV_REDIS_URL), env_of(deployment, ENV_REDIS_MODE)),
        "s3": f"bucket {bucket} at {endpoint}",
    }


def pod_readiness(cluster: "Cluster", namespace: str) -> Json | None:
    """The body of /readyz of an operator pod that is not ready; None if no pod responds."""
    from urllib3.exceptions import HTTPError

    from nanogrid.client.kube.paths import pods

    # Not through cluster.get: it raises on 503, whose body is needed here.
    connection = cluster.connection
    for pod in cluster.list(pods(namespace), labels=OPERATOR):
        path = f"{pods(namespace)}/{pod['metadata']['name']}:{names.RESULTS_PORT}/proxy/readyz"
        try:
            response = connection.pool.request(
                "GET",
                connection.host + path,
                headers=connection.auth_headers(),
                timeout=PROBE_SECONDS,
                retries=False,
            )
            readiness: Json = json.loads(response.data)
        except (HTTPError, ValueError):
            continue
        if "missing" in readiness:
            return readiness
    return None


def forwarded_readiness(cluster: "Cluster", namespace: str) -> Json | None:
    """The body of /readyz of an operator pod, through a port-forward; None if there is no way."""
    from urllib3 import request
    from urllib3.exceptions import HTTPError

    from nanogrid.client import errors
    from nanogrid.client.kube.paths import pods
    from nanogrid.client.kube.port_forward import port_forward

    for pod in cluster.list(pods(namespace), labels=OPERATOR):
        target = f"pod/{pod['metadata']['name']}"
        try:
            with port_forward(
                cluster, namespace, target, names.RESULTS_PORT, ready_seconds=PROBE_SECONDS
            ) as port:
                url = f"http://127.0.0.1:{port}/readyz"
                response = request("GET", url, timeout=PROBE_SECONDS, retries=False)
                readiness: Json = json.loads(response.data)
        except (errors.NotConfigured, errors.Unreachable, HTTPError, ValueError):
            continue
        if "missing" in readiness:
            return readiness
    return None


def image(
    cluster: "Cluster", namespace: str, controller_class: str = NO_CLASS
) -> Iterator[Finding]:
    """Check that nodes have the executor image; otherwise the first job waits for its pull."""
    for deployment in deployments(cluster, OPERATOR, controller_class):
        name = env_of(deployment, "NANOGRID_EXECUTOR_IMAGE")
        nodes = cluster.list("/api/v1/nodes")
        count = sum(_has_image(node, name) for node in nodes)
        detail = f"{name} is on {count} of {len(nodes)} nodes"
        if count or not nodes:
            yield Finding("image", "ok", detail)
        elif env_of(deployment, "NANOGRID_IMAGE_PULL_POLICY") == "Never":
            hint = "Load it onto the nodes; pullPolicy Never forbids the pull."
            yield Finding("image", "fail", detail, hint)
        else:
            hint = "The first job waits for the pull. (A node lists only its 50 largest images.)"
            yield Finding("image", "warn", detail, hint)


def _has_image(node: Json, image: str) -> bool:
    # The node lists full names: docker.io/library/x:1 for x:1.
    images = node.get("status", {}).get("images", [])
    full_names = [name for one in images for name in one.get("names") or []]
    return any(name == image or name.endswith(f"/{image}") for name in full_names)
