"""Checks of ``doctor`` on the namespace: permissions, Pod Security and NetworkPolicies."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.app.pool_tables import ready_condition
from nanogrid.cli.finding import Finding
from nanogrid.hints import Surface, hint_for, without_hint
from nanogrid.plurals import counted

if TYPE_CHECKING:
    from nanogrid.client import Cluster

POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
# DaemonSets of network plugins that do not enforce NetworkPolicies, and of those that do.
NOT_ENFORCING: Final = ("kindnet", "kube-flannel", "kube-flannel-ds")
ENFORCING: Final = ("calico-node", "cilium", "antrea-agent", "weave-net", "kube-router")
# (verb, resource, API group, purpose)
REQUIRED: Final = (
    ("create", names.PLURAL, names.GROUP, "run jobs"),
    ("get", names.PLURAL, names.GROUP, "show jobs"),
    ("list", names.PLURAL, names.GROUP, "list jobs"),
    ("watch", names.PLURAL, names.GROUP, "follow jobs"),
    ("patch", names.PLURAL, names.GROUP, "cancel jobs"),
    ("delete", names.PLURAL, names.GROUP, "delete jobs"),
)
RECOMMENDED: Final = (
    ("list", names.FUNCTION_PLURAL, names.GROUP, "list functions"),
    ("list", names.POOL_PLURAL, names.GROUP, "list pools"),
    ("list", "pods", "", "list pods for why and cleanup"),
    ("get", "pods/log", "", "read logs of running jobs"),
    ("list", "events", "", "list Events for why"),
    ("get", "secrets", "", "read session tokens"),
)
EGRESS_GUIDE: Final = (
    "Deny egress of sandboxes except to S3, DNS and the operator; see docs/security.md."
)


def permissions(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check what the current credentials allow in the namespace."""
    missing, optional = (
        [
            use
            for verb, resource, group, use in rules
            if not cluster.can(verb, resource, namespace, group)
        ]
        for rules in (REQUIRED, RECOMMENDED)
    )
    if missing:
        hint = f"Request a Role with all verbs on {names.PLURAL}.{names.GROUP} in {namespace}."
        yield Finding("permissions", "fail", f"you cannot {', '.join(missing)}", hint)
    if optional:
        resources = "functions, executionpools, pods, pods/log, events, secrets"
        hint = f"Request get and list on {resources} in {namespace}."
        yield Finding("permissions", "warn", f"you cannot {', '.join(optional)}", hint)
    if not missing and not optional:
        yield Finding("permissions", "ok", f"all required permissions in {namespace}")


def pools(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check that pods of the namespace's pools get ready; jobs start cold until then."""
    from nanogrid.client import errors
    from nanogrid.client.kube.paths import pools as path_of

    try:
        found = cluster.list(path_of(namespace))
    except errors.NotFound:
        return  # the check of the CRD says so
    failing = [pool for pool in found if ready_condition(pool).get("status") == "False"]
    for pool in failing:
        name, condition = pool["metadata"]["name"], ready_condition(pool)
        reason = str(condition.get("reason") or "")
        detail = f"{name}: {without_hint(reason, str(condition.get('message') or reason))}"
        hint = hint_for(reason, Surface.CLI) or f"See `nanogrid pools {name}`."
        yield Finding("pools", "warn", detail, hint)
    if found and not failing:
        yield Finding("pools", "ok", f"{counted(len(found), 'pool')} in {namespace}")


def network(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check that the namespace has a NetworkPolicy, and a network plugin that enforces it."""
    policies = cluster.list(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
    plugins = {one["metadata"]["name"] for one in cluster.list("/apis/apps/v1/daemonsets")}
    weak, strong = plugins.intersection(NOT_ENFORCING), plugins.intersection(ENFORCING)
    if weak and not strong:
        detail = f"the network plugin ({', '.join(sorted(weak))}) may not enforce NetworkPolicies"
        hint = f"Test it, or use Calico or Cilium. {EGRESS_GUIDE}"
        yield Finding("network", "warn", detail, hint)
    if not policies:
        yield Finding("network", "warn", f"{namespace} has no NetworkPolicy", EGRESS_GUIDE)
    elif not weak or strong:
        yield Finding("network", "ok", f"{len(policies)} NetworkPolicies in {namespace}")


def pod_security(cluster: "Cluster", namespace: str) -> Iterator[Finding]:
    """Check that the namespace enforces the Pod Security level restricted."""
    labels = cluster.get(f"/api/v1/namespaces/{namespace}")["metadata"].get("labels", {})
    level = labels.get(POD_SECURITY)
    if level == "restricted":
        yield Finding("pod security", "ok", f"{namespace} enforces {level}")
        return
    detail = f"{namespace} enforces {level or 'no level'}; sandboxes need only restricted"
    hint = f"kubectl label namespace {namespace} {POD_SECURITY}=restricted"
    yield Finding("pod security", "warn", detail, hint)
