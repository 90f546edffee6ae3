"""The workers that take jobs from the queue, and the resync that puts all of them into it.

Errors of a job's reconciliation end here: the queue hands the key out again with back-off.
"""

import asyncio
import logging
from dataclasses import dataclass

from nanogrid import names
from nanogrid_operator.facts import Json
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from nanogrid_operator.reconcile import Reconciler
from nanogrid_operator.s3 import S3Error
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.workers")


@dataclass(slots=True, kw_only=True)
class Workers:
    """Everything it needs is handed in."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    reconciler: Reconciler

    async def work(self) -> None:
        """One worker: takes keys for ever."""
        while True:
            uid = await self.queue.get()
            try:
                await self.reconciler.reconcile(uid)
                self.queue.forget(uid)
            except KubeError as e:
                delay = self.queue.retry(uid)
                # A conflict means that a newer object is on its way; it is no news.
                level = logging.INFO if e.code == 409 else logging.WARNING
                log.log(level, "job uid=%s retry in %.1f s: %s", uid, delay, e)
            except S3Error as e:
                delay = self.queue.retry(uid)
                log.warning("job uid=%s retry in %.1f s: S3: %s", uid, delay, e)
            except Exception:
                delay = self.queue.retry(uid)
                log.exception("job uid=%s retry in %.1f s: unexpected error", uid, delay)
            finally:
                self.queue.done(uid)

    async def resync(self) -> None:
        """LIST everything and look at every job again."""
        listed_at = 0
        jobs: list[Json] = []
        pods: list[Json] = []
        for namespace in self.settings.namespaces or [""]:
            some, at_jobs = await self.kube.list(collection(JOBS, names.PLURAL, namespace))
            jobs += some
            some, at_pods = await self.kube.list(
                collection(CORE, "pods", namespace), labels=names.LABEL_JOB_UID
            )
            pods += some
            oldest = min(at_jobs, at_pods)
            listed_at = min(listed_at, oldest) if listed_at else oldest
        for uid in self.store.replace(jobs, pods, listed_at):
            self.queue.add(uid)
        log.info("resync: %d jobs, %d pods", len(jobs), len(pods))

    async def resync_forever(self) -> None:
        """Resync at the interval of the settings; a failure is tried again sooner."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.resync()
            except KubeError as e:
                log.warning("resync failed, trying again at the next interval: %s", e)
