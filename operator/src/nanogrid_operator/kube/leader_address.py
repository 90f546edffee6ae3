"""Where the leader takes reports, from its pod. Pure."""

from typing import NamedTuple

from nanogrid.types import Json

CONTAINER = "operator"
PORT = "http"


class LeaderAddress(NamedTuple):
    """An address of IPv4 or IPv6, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_in(pod: Json) -> LeaderAddress | None:
    """The address in an operator's pod, as the chart makes it; None if the pod has none yet.

    The port is that of the pod's own manifest: during an upgrade the leader is of another version.
    """
    host = pod.get("status", {}).get("podIP")
    for container in pod.get("spec", {}).get("containers", []):
        for port in container.get("ports") or []:
            if host and (container["name"], port.get("name")) == (CONTAINER, PORT):
                return LeaderAddress(host, port["containerPort"])
    return None
