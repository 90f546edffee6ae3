"""The smallest and largest CPU and memory of a sandbox: one rule for all surfaces. Pure.

The API server (CEL rules), the client, the gateway, the operator and the chart apply it.

``LEAST_MEMORY_MIB``: runc copies itself into the memory of the container before it starts it, about
10Mi (https://github.com/opencontainers/runc/issues/1980), and then the launcher and Python need
about as much. With less the container does not start, or is killed before the code runs.
``LEAST_CPU``: the kernel's smallest quota is 1 ms in 100 ms, and the kubelet silently raises
smaller limits to it. docs/limits.md describes both.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LEAST_MEMORY_MIB: Final = 16
LEAST_CPU: Final = "10m"
MOST_MEMORY: Final = "1Pi"  # JSON readers keep its bytes exact
MOST_CPU: Final = "10k"

MEMORY: Final = "memory"
CPU: Final = "cpu"
DISK: Final = "ephemeral-storage"


class Bounds(NamedTuple):
    """The allowed amounts, and why there is nothing below."""

    what: str  # cpu is in cores, all others in bytes
    least: str
    most: str
    why: str


SIZE: Final = Bounds("the size", "1Mi", MOST_MEMORY, "0 would be no limit")
_NO_REQUEST: Final = "leave it out for the default"
LIMITS: Final = {
    MEMORY: Bounds(
        MEMORY, f"{LEAST_MEMORY_MIB}Mi", MOST_MEMORY, "with less the sandbox does not start"
    ),
    CPU: Bounds(CPU, LEAST_CPU, MOST_CPU, "the kernel has no smaller quota"),
    DISK: SIZE,
}
REQUESTS: Final = {
    MEMORY: Bounds(MEMORY, "1Mi", MOST_MEMORY, _NO_REQUEST),
    CPU: Bounds(CPU, "1m", MOST_CPU, _NO_REQUEST),
    DISK: SIZE,
}
# Of the containers sync and agent; the smallest limits are their requests.
AGENT: Final = {
    MEMORY: Bounds(MEMORY, "64Mi", MOST_MEMORY, "sync and agent request as much"),
    CPU: Bounds(CPU, "50m", MOST_CPU, "sync and agent request as much"),
}
# Values of the chart, which the chart and the operator check.
CHART_VALUES: Final = {
    "sandbox.memory": LIMITS[MEMORY],
    "sandbox.cpu": LIMITS[CPU],
    "sandbox.cpuRequest": REQUESTS[CPU],
    "sandbox.agent.memory": AGENT[MEMORY],
    "sandbox.agent.cpu": AGENT[CPU],
    "sandbox.workspaceSize": SIZE,
    "sandbox.maxWorkspaceSize": SIZE,
    "sandbox.tmpSize": SIZE,
    "sandbox.ephemeralStorageRequest": REQUESTS[MEMORY]._replace(what="the size"),
    "tenancy.defaults.limits.memory": LIMITS[MEMORY],
    "tenancy.defaults.limits.cpu": LIMITS[CPU],
}
IN_BYTES: Final = (
    "the unit is bytes, and the suffixes m, u and n are fractions of a byte: use Mi or Gi, for "
    "example 256Mi instead of 256m"
)
FRACTION: Final = "[mun]$"


def problem(amount: str | int, bounds: Bounds) -> str:
    """What is wrong with an amount, and how to fix it; empty if nothing is."""
    from nanogrid.quantity import quantity  # late, because each pod imports this module

    try:
        value = quantity(amount)
    except ValueError as e:
        return str(e)
    if bounds.what != CPU and re.search(FRACTION, str(amount)):
        return IN_BYTES
    return "" if quantity(bounds.least) <= value <= quantity(bounds.most) else outside(bounds)


def cel_rules(bounds: Bounds) -> Iterator[tuple[str, str]]:
    """The same as rules of the API server, each with its message.

    A text that is no quantity is left to the pattern of the field.
    """
    known = "!isQuantity(string(self))"
    if bounds.what != CPU:
        yield f"!string(self).matches('{FRACTION}')", IN_BYTES
        known += f" || string(self).matches('{FRACTION}')"
    yield (
        f"{known} || (quantity(string(self)).compareTo(quantity('{bounds.least}')) >= 0 && "
        f"quantity(string(self)).compareTo(quantity('{bounds.most}')) <= 0)",
        outside(bounds),
    )


def outside(bounds: Bounds) -> str:
    """The message for an amount outside of the bounds."""
    return f"{bounds.what} is {bounds.least} at least and {bounds.most} at most: {bounds.why}"
