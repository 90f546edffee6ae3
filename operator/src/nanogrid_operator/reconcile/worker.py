"""The workers that take jobs from the queue and reconcile them.

Errors of a reconciliation end here. The queue hands out the key again after a back-off.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nanogrid.kube.conventions import KubeError
from nanogrid.s3.errors import S3Error
from nanogrid_operator.workqueue import WorkQueue, run_workers

log = logging.getLogger("nanogrid.workers")

RECONCILE_SECONDS = 180.0  # more than all timeouts of the calls of one pass together


class Workers:
    """:meth:`run` reconciles jobs for ever, ``workers`` of them at the same time."""

    def __init__(
        self,
        queue: WorkQueue,
        reconcile: Callable[[str], Awaitable[None]],
        workers: int,
        log_fields: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._queue = queue
        self._log_fields = log_fields
        self._reconcile = reconcile
        self._workers = workers

    async def run(self) -> None:
        """Reconcile jobs for ever."""
        await run_workers(
            self._queue,
            self._workers,
            self._reconcile,
            self._failed,
            log_fields=self._log_fields,
            timeout_seconds=RECONCILE_SECONDS,
        )

    def _failed(self, uid: str, error: Exception) -> None:
        if isinstance(error, KubeError):
            delay = self._queue.retry(uid, at_least=error.retry_after)
            # A conflict means that the watch will soon bring a newer object.
            level = logging.INFO if error.code == 409 else logging.WARNING
            log.log(level, "retry in %.1f s: %s", delay, error)
            return
        delay = self._queue.retry(uid)
        if isinstance(error, S3Error):
            log.warning("retry in %.1f s: S3: %s", delay, error)
        else:
            log.error("retry in %.1f s: unexpected error", delay, exc_info=error)
