"""Reads the results that agents leave where others may write: termination message and S3.

Only an authentic result of the attempt counts. Another one is ignored, and an Event says so.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.result_auth import NotAuthenticError
from nanogrid.s3.errors import S3Error
from nanogrid_operator.decision import outcome
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.status.writer import Writer

log = logging.getLogger("nanogrid.reconcile")

NO_CODE = "it has no authentication code"
UNREADABLE_SECONDS = 600.0  # how long the operator waits for a result that only S3 can have


@dataclass(slots=True, kw_only=True)
class ResultRecovery:
    """Finds the results of attempts that have not reported."""

    tenants: Tenants
    keys: ResultKeys
    results: ResultStore
    writer: Writer
    clock: Callable[[], float] = time.time
    # Since when S3 cannot tell whether it has an attempt's result, in seconds since the epoch.
    _unreadable: dict[tuple[str, int], float] = field(default_factory=dict, init=False)
    _noted: set[tuple[str, int, str]] = field(default_factory=set, init=False)

    def forget(self, uid: str) -> None:
        """The job was deleted."""
        for attempt in [a for a in self._unreadable if a[0] == uid]:
            del self._unreadable[attempt]
        self._noted = {noted for noted in self._noted if noted[0] != uid}

    def written_report(self, job: Job, pod: Pod | None) -> wire.Report | None:
        """The report in the agent's termination message, the second source of a result."""
        ended = pod.container(names.CONTAINER_AGENT).ended if pod is not None else None
        if ended is None or not ended.message:
            return None
        where = "the termination message of the agent"
        try:
            report = self.keys.read_report(ended.message)
        except NotAuthenticError as e:
            self._note_forged(job, where, str(e))
            return None
        except ValueError:
            return None  # it is a text, not a report
        if pod is not None and pod.signs and report.result.authentication is None:
            self._note_forged(job, where, NO_CODE)
            return None
        return report

    async def stored_result(
        self, job: Job, pod: Pod | None, fallback: Outcome
    ) -> tuple[wire.Result | None, Outcome]:
        """The attempt's result in S3, None if there is none, and the fallback to use then.

        If S3 fails, the fallback counts if it knows the exit code. With any other fallback S3 is
        tried again, but not for ever: in the end the job fails with ResultUnreadable.

        Raises:
            S3Error: S3 failed and is to be tried again.
        """
        attempt = (job.uid, job.attempt)
        area = self.tenants.area(job.namespace)
        stored = None
        where = f"{area.key(names.result_object(job.request_id))} in S3"
        try:
            stored = await self.results.load(area, job.request_id)
        except NotAuthenticError as e:
            self._note_forged(job, where, str(e))
        except S3Error as e:
            since = self._unreadable.setdefault(attempt, self.clock())
            if fallback.result.exit_code is not None:
                log.warning("using the agent's short copy: %s", e)
            elif self.clock() < since + UNREADABLE_SECONDS:
                raise
            else:
                detail = f"{fallback.reason}; {e}"
                fallback = outcome.failure(job, Reason.RESULT_UNREADABLE, detail)
        self._unreadable.pop(attempt, None)
        owner = ResultOwner(area=area, job=job, attempt=job.attempt, pod=pod)
        if stored is not None and not owner.believes(stored):
            if owner.names(stored):
                self._note_forged(job, where, NO_CODE)
            stored = None
        return stored, fallback

    def _note_forged(self, job: Job, where: str, why: str) -> None:
        noted = (job.uid, job.attempt, where)
        if noted in self._noted:
            return
        self._noted.add(noted)
        detail = f"{where}: {why}"
        log.warning("ignored a result that is not authentic: %s", detail)
        text = sentence(Reason.RESULT_NOT_AUTHENTIC, detail)
        self.writer.record_event(job, Reason.RESULT_NOT_AUTHENTIC, text, bad=True)
