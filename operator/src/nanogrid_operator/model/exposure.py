"""From a session's Ingress or TargetGroupBinding, and its Events, to whether it works. Pure.

The rules are those of the AWS Load Balancer Controller. It adds a finalizer to each object that it
takes up. It writes the load balancer's name to the status of an Ingress, and the generation of the
spec to that of a TargetGroupBinding, after it has applied all of it. What keeps it from that is in
Warning Events on the object. Other controllers write the status of an Ingress too.
"""

from dataclasses import dataclass
from typing import Final

from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds

ABSENT_SECONDS: Final = 5.0  # without a trace of a controller; it acts within a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What is known about the object that exposes a session.

    ``works``: its controller has applied it. ``address`` is the host name or IP address of the load
    balancer that serves an Ingress. ``reason`` and ``detail`` say why it does not work.
    """

    works: bool
    address: str = ""
    reason: Reason = Reason.EXPOSURE_PENDING
    detail: str = ""


def exposure_facts(body: Json, events: list[Json], now: float) -> Exposure:
    """Read an Ingress or TargetGroupBinding.

    Args:
        body: The object.
        events: All Events on it.
        now: Seconds since the epoch.
    """
    status = body.get("status") or {}
    name = f"{body['kind']} {body['metadata']['name']}"
    address = _address(status)
    applied = status.get("observedGeneration")
    if address or (applied is not None and applied == body["metadata"].get("generation")):
        return Exposure(works=True, address=address)
    newest = max(events, key=_time, default=None)
    if newest is not None and newest.get("type") == "Warning":
        detail = f"{name}: {newest.get('reason', '')}: {newest.get('message', '')}"
        return Exposure(works=False, reason=Reason.EXPOSURE_FAILED, detail=detail)
    age = now - (seconds(body["metadata"].get("creationTimestamp")) or now)
    taken = bool(events or body["metadata"].get("finalizers"))
    if not taken and age >= ABSENT_SECONDS:
        return Exposure(works=False, reason=Reason.EXPOSURE_IGNORED, detail=_of_class(name, body))
    return Exposure(works=False, detail=name)


def _address(status: Json) -> str:
    entries = (status.get("loadBalancer") or {}).get("ingress") or []
    found = [entry.get("hostname") or entry.get("ip") or "" for entry in entries]
    return next((address for address in found if address), "")


def _of_class(name: str, body: Json) -> str:
    ingress_class = body["spec"].get("ingressClassName")
    return f"{name} of class {ingress_class}" if ingress_class else name


def _time(event: Json) -> str:
    """When an Event was last seen, as RFC 3339, which sorts by time."""
    found = event.get("lastTimestamp") or event.get("eventTime") or ""
    return found or event["metadata"].get("creationTimestamp") or ""
