"""Writes of ends that got no answer: what follows such a write waits until the status shows it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nanogrid.kube.conventions import KubeError
from nanogrid_operator.model.facts import Job

NO_ANSWER: Final = 0
SERVER_ERROR: Final = 500


def maybe_written(error: KubeError) -> bool:
    """Whether the API server may have done what was asked: nothing came back, or a code of 5xx.

    One is etcd's time-out: the write may be in the log of etcd all the same.
    """
    return error.code == NO_ANSWER or error.code >= SERVER_ERROR


class _Write(NamedTuple):
    attempt: int
    final: bool
    follow: Callable[[], None]


@dataclass(slots=True)
class UnansweredWrites:
    """At most one per job: the newest. They are lost with the process, and count nowhere then.

    So no end counts twice: an operator that starts, or takes over, knows no write of another one.
    """

    _writes: dict[str, _Write] = field(default_factory=dict, init=False)  # by the job's uid

    def put(self, job: Job, follow: Callable[[], None], *, final: bool) -> None:
        """A write that ends the current attempt of a job, and the job too if it is ``final``."""
        self._writes[job.uid] = _Write(job.attempt, final, follow)

    def observe(self, job: Job) -> None:
        """Do what follows the write of a job if its status shows the write."""
        known = self._writes.get(job.uid)
        if known is not None and (job.finished if known.final else job.attempt > known.attempt):
            del self._writes[job.uid]
            known.follow()

    def forget(self, uid: str) -> None:
        """The job is gone, or a later write of the same end had an answer."""
        self._writes.pop(uid, None)
