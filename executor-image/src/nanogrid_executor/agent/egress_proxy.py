"""Waits until the egress proxy accepts connections of the pod, before its code has a network.

The network gate shows that the pod's own policies hold. The proxy has an ingress policy, which
selects pods by label: on the proxy's node, the network plugin may learn of the pod later. Code does
not expect that its proxy refuses it.
"""

from collections.abc import Callable
from typing import NamedTuple

from nanogrid import names, wire
from nanogrid_executor.first_connection import WAIT_SECONDS, address_of, await_connection
from nanogrid_executor.log import log


class EgressProxy(NamedTuple):
    """The proxy to which the operator leads the code's HTTPS clients."""

    address: tuple[str, int]
    longest: float = WAIT_SECONDS

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Return when it accepts a connection, or ``stopped`` says that this does not matter.

        Also after ``longest`` seconds: then the code sees what is wrong.
        """
        found = await_connection(self.address, self.longest, stopped)
        if found.worth_a_line:
            log("egress-proxy-first-connection", millis=found.millis, error=found.error or "none")


def egress_proxy_of(task: wire.PodTask) -> EgressProxy | None:
    """The egress proxy of a job's code, if it has one.

    Its URL has the job's uid as user name. Another proxy is one that the job itself has chosen.
    """
    url = task.env.get(names.ENV_HTTPS_PROXY, "")
    return EgressProxy(address_of(url)) if f"://{task.uid}:" in url else None
