"""NetworkPolicies for sandbox pods: nothing reaches them, and they reach what their job may. Pure.

Each policy is about one direction: some engines apply a policy with both to more than it says. A
policy only adds allowed traffic to that of the others, so the ones below deny by being there.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from ipaddress import ip_address, ip_network
from typing import Final

from nanogrid import names
from nanogrid.addresses import Networks
from nanogrid.api.job import Spec
from nanogrid.api.network import EGRESS_ALLOWLIST, EGRESS_INTERNET, EGRESS_ORDER, Network
from nanogrid.controller_class import pod_selector, policy_name
from nanogrid.egress_grant import host_within, is_host
from nanogrid.public_addresses import METADATA, PRIVATE, PRIVATE_V4, PRIVATE_V6, is_public, within
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.settings import Settings

ALL_SANDBOXES: Final[Json] = {"key": names.LABEL_JOB_UID, "operator": "Exists"}


def egress_of(spec: Spec) -> str:
    """The network access of a job."""
    return (spec.network or Network()).access


def namespace_policies(settings: Settings) -> list[Json]:
    """The policies that a namespace needs before its first sandbox pod."""
    port = {"protocol": "TCP", "port": names.SESSION_PORT}
    router = settings.lists("session_ingress")
    session = {names.LABEL_MODE: names.MODE_SESSION}
    own = tuple(map(str, settings.own_networks))
    public = [
        {"to": [_block("0.0.0.0/0", (*PRIVATE_V4, *own)), _block("::/0", (*PRIVATE_V6, *own))]},
    ]

    def policy(name: str, labels: dict[str, str], direction: str, rules: list[Json]) -> Json:
        return _policy(*_of_class(name, labels, settings), direction, rules)

    found = [
        policy("ingress", {}, "Ingress", []),
        policy("egress", {}, "Egress", settings.lists("sandbox_egress")),
        policy("internet", {names.LABEL_EGRESS: EGRESS_INTERNET}, "Egress", public),
        # The load balancer or the Service of a session with an entry point of its own.
        policy("exposed", session | {names.LABEL_EXPOSED: "true"}, "Ingress", [{"ports": [port]}]),
    ]
    if router:
        allowed = [{"from": router, "ports": [port]}]
        found.append(policy("router", session, "Ingress", allowed))
    proxy = settings.lists("egress_proxy_peers")
    if proxy:
        open_port = {"protocol": "TCP", "port": names.EGRESS_PROXY_PORT}
        allowed = [{"to": proxy, "ports": [open_port]}]
        found.append(policy("proxy", {names.LABEL_EGRESS: EGRESS_ALLOWLIST}, "Egress", allowed))
    return found


def _of_class(name: str, labels: dict[str, str], settings: Settings) -> tuple[str, Json]:
    """Name and podSelector of a policy.

    Two installations may have jobs in one namespace. Each has policies for its own pods only.
    """
    own = settings.controller_class
    selector: Json = {"matchExpressions": [ALL_SANDBOXES, *pod_selector(own)]}
    if labels:
        selector["matchLabels"] = labels
    return policy_name(name, own), selector


def job_policy(job: Job) -> Json | None:
    """The policy of a job with an allow-list of networks; the job owns it."""
    network = (job.spec.network if job.spec else None) or Network()
    if network.access != EGRESS_ALLOWLIST or not network.cidrs:
        return None
    pods = {"matchLabels": {names.LABEL_JOB_UID: job.uid}}
    blocks = [_block(cidr, METADATA) for cidr in network.cidrs]
    name = f"{job.name[:45]}-n-{names.short_digest(job.uid)}"
    policy = _policy(name, pods, "Egress", [{"to": blocks}])
    policy["metadata"]["ownerReferences"] = [owner_reference(job.name, job.uid)]
    return policy


def gate_port(spec: Spec, settings: Settings, *, enforced: bool) -> int | None:
    """The port that must be closed to the pod before code has a network; None: no test.

    The port tells nothing if the job may reach one of the operator's own addresses anyway.
    """
    if not (enforced and settings.network_gate and settings.denied_port):
        return None
    network, own = spec.network or Network(), settings.words("pod_ips")
    if network.access == EGRESS_INTERNET and any(
        is_public(address, settings.own_networks) for address in own
    ):
        return None
    listed = [ip_network(cidr, strict=False) for cidr in network.cidrs]
    if any(ip_address(address) in each for address in own for each in listed):
        return None
    return settings.denied_port


def check_network(spec: Spec, tenant: Tenant, settings: Settings) -> None:
    """Whether the namespace may have the network access that a job asks for.

    Raises:
        InvalidSpecError: It may not; the message names the limit.
    """
    wanted, ceiling = spec.network or Network(), tenant.network
    limit = f"network of NanoGridTenant {tenant.namespace}"
    if EGRESS_ORDER.index(wanted.access) > EGRESS_ORDER.index(ceiling.egress):
        raise InvalidSpecError(
            f"network.egress: {wanted.access} exceeds {ceiling.egress}, the highest value of this "
            f"namespace: lower it, or ask the platform team to raise egress in {limit}"
        )
    open_ceiling = ceiling.egress == EGRESS_INTERNET
    closed = (*PRIVATE, *settings.own_networks) if open_ceiling else None
    for cidr in wanted.cidrs:
        _check_cidr(cidr, ceiling.cidrs, closed, limit)
    for host in wanted.hosts:
        if not settings.egress_proxy_url:
            raise InvalidSpecError(
                "network.hosts needs the egress proxy, which is not installed: use cidrs, or ask "
                "the platform team to set egressProxy.enabled in the chart's values"
            )
        if not open_ceiling and not host_within(host, ceiling.hosts):
            raise InvalidSpecError(
                f"network.hosts: {host} is not within hosts in {limit}: "
                f"ask the platform team to add it"
            )
        if not is_host(host.removeprefix("*.")):
            raise InvalidSpecError(
                f"network.hosts: {host} is no full DNS name: expected a name such as "
                "api.example.com or *.example.com, and cidrs for addresses"
            )


def _check_cidr(cidr: str, allowed: list[str], closed: Networks | None, limit: str) -> None:
    """Refuse a CIDR; all but those in ``closed`` are open to the namespace, None: none is."""
    try:
        network = ip_network(cidr)
    except ValueError as e:
        raise InvalidSpecError(f"network.cidrs: {e}") from None
    if any(within(network, ip_network(block)) for block in METADATA):
        raise InvalidSpecError(
            f"network.cidrs: {cidr} is a metadata or link-local address, which is never reachable: "
            "remove it"
        )
    if closed is not None and not any(map(network.overlaps, closed)):
        return
    if not any(within(network, ip_network(outer, strict=False)) for outer in allowed):
        raise InvalidSpecError(
            f"network.cidrs: {cidr} is not within cidrs in {limit}: ask the platform team to add it"
        )


def _block(cidr: str, excluded: tuple[str, ...]) -> Json:
    """An ipBlock; ``except`` may only name networks inside it."""
    block: Json = {"cidr": cidr}
    inside = [e for e in excluded if within(ip_network(e), ip_network(cidr))]
    if inside:
        block["except"] = inside
    return {"ipBlock": block}


def _policy(name: str, pods: Json, direction: str, rules: list[Json]) -> Json:
    key = direction.lower()
    spec: Json = {"podSelector": pods, "policyTypes": [direction]}
    if rules:  # the API server leaves an empty list out
        spec[key] = rules
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": names.MANAGED_BY},
        },
        "spec": spec,
    }
