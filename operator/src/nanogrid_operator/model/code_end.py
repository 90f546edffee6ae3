"""When the code of an attempt ended. Pure."""

from typing import Final

from nanogrid import names
from nanogrid_operator.model.pod_facts import Pod

# The kubelet writes whole seconds of its own clock. Only if it says a much earlier time than the
# report does, the report was late.
KUBELET_SECONDS: Final = 3.0


def code_end(pod: Pod | None, reported_at: float | None, upload_millis: int | None) -> float | None:
    """When the code ended, in seconds since the epoch; None if it is not known.

    Args:
        pod: of the attempt, as far as it is known.
        reported_at: when the agent's report came, in seconds since the epoch; None if none came.
        upload_millis: how long the agent uploaded before it reported.
    """
    ended = pod.container(names.CONTAINER_SANDBOX).ended if pod is not None else None
    by_kubelet = ended.at + 1 if ended is not None and ended.at is not None else None
    if reported_at is None:
        return by_kubelet
    by_report = reported_at - (upload_millis or 0) / 1000
    if by_kubelet is not None and by_kubelet < by_report - KUBELET_SECONDS:
        return by_kubelet
    return by_report
