"""Which deliveries count for the objective that Redis has a result soon after its code. Pure."""

from nanogrid import wire
from nanogrid_operator.decision.outcome import Delivery
from nanogrid_operator.model.facts import Job


def counts_for_objective(job: Job, result: wire.Result, delivery: Delivery) -> bool:
    """Whether the time of this delivery is measured.

    Redis has it now, and not from an earlier try. Code of a batch job has ended: a session ends
    when its user wants it, and a job without code has no end to measure from.
    """
    first = delivery.state == "Delivered" and delivery.previous_result is None
    session = job.spec is not None and job.spec.is_session
    return first and result.exit_code is not None and not session
