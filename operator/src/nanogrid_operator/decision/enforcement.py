"""What the tests of the network mean, and which jobs run without a network boundary. Pure.

Two pods test the cluster. The denied one has the policy of a sandbox: it must reach the results
port and must not reach the denied port. The allowed one must reach the denied port: it shows that
only a policy can have closed it.
"""

from typing import NamedTuple

from nanogrid.api.job import Spec
from nanogrid.api.network import EGRESS_INTERNET, Network
from nanogrid.network_condition import Enforcement, NetworkCondition, condition
from nanogrid_operator.kube.objects import seconds, timestamp
from nanogrid_operator.settings import Settings

# What a pod observed of the denied port. The denied pod looks when it reaches the results port.
PORT_OPEN = "open"
PORT_CLOSED = "closed"

RETRY_SECONDS = 600.0  # between tests while the network is not shown to be enforced


class Seen(NamedTuple):
    """What one pod observed of the denied port; ``port`` is empty if it could not tell."""

    port: str
    detail: str = ""


class NetworkAdmission(NamedTuple):
    """Whether a job may start, as far as the network decides; both texts are empty if it may."""

    wait: str = ""
    refusal: str = ""


OPEN = NetworkAdmission()


def first_condition(settings: Settings) -> NetworkCondition:
    """The condition before the first test."""
    if not settings.network_policies:
        message = "network.policies is false in the chart's values: the chart isolates nothing"
        return condition(Enforcement.POLICIES_DISABLED, message)
    if not tests_network(settings):
        message = (
            "NANOGRID_FULLNAME, NANOGRID_NAMESPACE and NANOGRID_DENIED_PORT are not set, so "
            "nothing tests the network"
        )
        return condition(Enforcement.PROBE_FAILED, message)
    return condition(Enforcement.UNKNOWN, "the first test has not ended")


def tests_network(settings: Settings) -> bool:
    """Whether the operator can test the network."""
    known = settings.fullname and settings.namespace and settings.denied_port
    return settings.network_policies and bool(known)


def judge(denied: Seen, allowed: Seen) -> tuple[Enforcement, str]:
    """What one test shows, with a message."""
    if denied.port == PORT_OPEN:
        message = (
            "a pod with the policy of a sandbox reached a port that the policy does not open: the "
            "network plugin does not enforce NetworkPolicy, or network.extraEgress opens the port"
        )
        return Enforcement.NOT_ENFORCED, message
    if denied.port != PORT_CLOSED:
        detail = denied.detail or "it did not reach the results port"
        return Enforcement.PROBE_FAILED, f"the denied pod: {detail}"
    if allowed.port != PORT_OPEN:
        detail = allowed.detail or "it did not reach the port that its policy opens"
        return Enforcement.PROBE_FAILED, f"the allowed pod, the positive control: {detail}"
    return Enforcement.ENFORCED, "a denied connection failed, and an allowed one succeeded"


def next_condition(
    previous: NetworkCondition, found: tuple[Enforcement, str], now: float
) -> NetworkCondition:
    """The condition after a test. A test that could not be done changes no earlier conclusion."""
    enforcement, message = found
    at = timestamp(now)
    conclusive = previous.reason in (Enforcement.ENFORCED, Enforcement.NOT_ENFORCED)
    if enforcement is Enforcement.PROBE_FAILED and conclusive:
        enforcement = Enforcement(previous.reason)
        message = f"the last test could not be done, the result before it counts: {message}"
    same = previous.reason == enforcement and previous.last_transition_time
    changed = previous.last_transition_time if same else at
    return condition(enforcement, message, changed, at)


def first_pause_seconds(current: NetworkCondition, now: float) -> float:
    """Seconds from the operator's start to its first test; 0 without a recent result.

    An operator that restarts again and again must not start two pods each time.

    Args:
        current: The result of an earlier operator, if there is one.
        now: Seconds since the epoch.
    """
    tested = seconds(current.last_probe_time)
    if tested is None or not current.enforced:
        return 0.0
    return min(RETRY_SECONDS, max(0.0, tested + RETRY_SECONDS - now))


def pause_seconds(current: NetworkCondition, settings: Settings) -> float:
    """Seconds until the next test."""
    interval = settings.network_probe_seconds
    return interval if current.enforced else min(interval, RETRY_SECONDS)


def admission(spec: Spec, current: NetworkCondition, settings: Settings) -> NetworkAdmission:
    """Whether a job may start on this network."""
    if current.enforced or settings.allow_unenforced_network:
        return OPEN
    promise = _promise(spec, settings)
    if not promise:
        return OPEN
    if current.reason == Enforcement.UNKNOWN:
        return NetworkAdmission(wait=f"It needs {promise}")
    return NetworkAdmission(refusal=f"It needs {promise}, but {current.message}")


def _promise(spec: Spec, settings: Settings) -> str:
    """What a job promises that only an enforced network keeps; empty for nothing.

    Without policies of the chart, the platform team isolates sandboxes. Then only a job that names
    its access makes a promise.
    """
    if spec.is_session and spec.session_rules.auth == "Unprotected":
        return "a network that only the router reaches (session.auth: Unprotected)"
    egress = (spec.network or Network()).access
    if egress == EGRESS_INTERNET or (spec.network is None and not settings.network_policies):
        return ""
    return f"network.egress: {egress}"
