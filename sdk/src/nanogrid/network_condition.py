"""Whether the cluster enforces NetworkPolicies: a condition in a ConfigMap of the release.

The operator writes it after each test; a restarted operator, the router and ``nanogrid doctor``
read it.
"""

from enum import StrEnum
from typing import Final

from nanogrid import wire
from nanogrid.record import Record
from nanogrid.types import Json

KEY: Final = "networkEnforced"  # in the ConfigMap's data


def config_map_name(fullname: str) -> str:
    """The name of the ConfigMap of a release."""
    return f"{fullname}-network"


class Enforcement(StrEnum):
    """What the tests have shown; the reason of the condition."""

    UNKNOWN = "Unknown"  # no test has ended
    ENFORCED = "Enforced"
    NOT_ENFORCED = "NotEnforced"
    PROBE_FAILED = "ProbeFailed"  # no test could be done
    POLICIES_DISABLED = "PoliciesDisabled"  # the chart creates no policies


STATUS: Final[dict[Enforcement, str]] = {
    Enforcement.UNKNOWN: "Unknown",
    Enforcement.ENFORCED: "True",
    Enforcement.NOT_ENFORCED: "False",
    Enforcement.PROBE_FAILED: "Unknown",
    Enforcement.POLICIES_DISABLED: "False",
}


class NetworkCondition(Record):
    """The condition, in the form of Kubernetes conditions."""

    status: str
    reason: str
    message: str
    last_transition_time: str | None = None
    last_probe_time: str | None = None
    type: str = "NetworkEnforced"

    @property
    def enforced(self) -> bool:
        """Whether the last conclusive test showed that policies are enforced."""
        return self.status == STATUS[Enforcement.ENFORCED]


def condition(
    enforcement: Enforcement, message: str, changed: str | None = None, probed: str | None = None
) -> NetworkCondition:
    """The condition for what the tests have shown; times as Kubernetes writes them."""
    return NetworkCondition(
        status=STATUS[enforcement],
        reason=enforcement.value,
        message=message,
        last_transition_time=changed,
        last_probe_time=probed,
    )


def data_of(found: NetworkCondition) -> dict[str, str]:
    """The data of the ConfigMap."""
    return {KEY: wire.dumps(found)}


def condition_of(config_map: Json) -> NetworkCondition | None:
    """The condition in a ConfigMap; None before the first test.

    Raises:
        ValueError: it is not a condition, or of a reason that this release does not know.
    """
    text = (config_map.get("data") or {}).get(KEY)
    if not text:
        return None
    found = wire.loads(NetworkCondition, text)
    Enforcement(found.reason)
    return found
