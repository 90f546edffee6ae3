"""Whether a result that was read from S3, Redis or a termination message is believed. Pure."""

from dataclasses import dataclass

from nanogrid import wire
from nanogrid.tenancy import Area
from nanogrid_operator.decision import outcome
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOwner:
    """The attempt that results are read for.

    Attributes:
        area: the Redis names of its namespace.
        job: its job.
        attempt: its number.
        pod: its pod as it is or was last observed; None if it is not known.
    """

    area: Area
    job: Job
    attempt: int
    pod: Pod | None = None

    @property
    def key(self) -> str:
        """The Redis key of its result."""
        return self.area.result_key(self.job.request_id)

    def names(self, result: wire.Result) -> bool:
        """Whether a result says that it is of this attempt."""
        given = (result.job.uid, result.request_id, result.attempt)
        return given == (self.job.uid, self.job.request_id, self.attempt)

    def believes(self, result: wire.Result) -> bool:
        """Whether it is of this attempt. :class:`ResultKeys` has checked its code, if it has one.

        Only pods of older versions, whose agent has no key, may have a result without a code.
        """
        signed = result.authentication is not None
        return self.names(result) and (signed or (self.pod is not None and not self.pod.signs))

    def published(self, result: wire.Result) -> bool:
        """Whether an operator can have published it for this attempt.

        The result that the agent stored is not the published one if the kubelet contradicts it.
        """
        return self.believes(result) and outcome.credible(self.job, self.pod, result)

    def foreign(self, result: wire.Result) -> bool:
        """Whether it is the result of another job that has the same requestId.

        Values without a code in the keys of the older form may come from older versions.
        """
        if result.authentication is None:
            return self.area.plain and result.job.uid != self.job.uid
        same_place = (result.job.namespace, result.request_id) == (
            self.area.namespace, self.job.request_id,
        )  # fmt: skip
        return same_place and result.job.uid != self.job.uid
