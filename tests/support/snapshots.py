"""Snapshots of a job, from which the operator decides."""

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator.decision.enforcement import OPEN, NetworkAdmission
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.observed import Inspection, Rejection
from nanogrid_operator.model.pod_facts import Pod
from support.builders import CREATED, a_job


def a_snapshot(
    job: Job | None = None,
    pod: Pod | None = None,
    report: wire.Report | None = None,
    *,
    age: float = 1.0,
    gone: Pod | None = None,
    had_pod: bool = False,
    reported_age: float | None = None,
    refused: tuple[float, float] | None = None,
    inspected_age: float | None = None,
    warning: tuple[Reason, str] | None = None,
    wait_reason: str = "",
    other_pods: tuple[Pod, ...] = (),
    network: NetworkAdmission = OPEN,
    default_ttl: int | None = None,
) -> Snapshot:
    """A snapshot ``age`` seconds after the pod's creation; the report came ``reported_age`` after.

    ``refused``: the ages between which the API server rejected the pod. The pod's Events were read
    at ``inspected_age`` and gave ``warning``.
    """
    if report is not None and reported_age is None:
        reported_age = age
    return Snapshot(
        job=job or a_job(),
        pod=pod,
        gone=gone,
        had_pod=had_pod or gone is not None,
        report=report,
        reported_at=None if reported_age is None else CREATED + reported_age,
        rejection=a_rejection(*refused) if refused else None,
        written_report=written_report(pod or gone),
        inspection=None if inspected_age is None else Inspection(warning, CREATED + inspected_age),
        wait_reason=wait_reason,
        other_pods=other_pods,
        network=network,
        default_ttl=default_ttl,
        now=CREATED + age,
    )


def written_report(pod: Pod | None) -> wire.Report | None:
    """The report in the agent's termination message, if there is one; it is not checked here."""
    ended = pod.container(names.CONTAINER_AGENT).ended if pod else None
    try:
        return wire.loads(wire.Report, ended.message) if ended else None
    except ValueError:
        return None


def a_rejection(since: float = 0.0, last: float = 0.0) -> Rejection:
    """The API server's rejection of a pod, between two ages."""
    return Rejection("denied by policy images", CREATED + since, CREATED + last)
