"""The workers that take jobs from the queue, and the resync that puts all of them into it.

Errors of a job's reconciliation end here: the queue hands the key out again with back-off.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names
from nanogrid_operator.facts import Json
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, Page, collection
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.reconcile import Reconciler
from nanogrid_operator.s3 import S3Error
from nanogrid_operator.settings import Settings
from nanogrid_operator.slim import slim_job, slim_pod
from nanogrid_operator.store import Store
from nanogrid_operator.sweep import orphans
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.workers")

RECONCILE_SECONDS = 180.0  # more than all timeouts of its calls together
# What the scheduler writes before, and the kubelet when, a pod's containers start.
WITNESSES = ("Scheduled", "Started")


@dataclass(slots=True, kw_only=True)
class Workers:
    """Everything it needs is handed in."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    reconciler: Reconciler
    liveness: Liveness
    listed: Callable[[Json], None] = lambda body: None  # a whole job, as a LIST shows it
    swept: int = 0  # orphans deleted since the start

    async def work(self) -> None:
        """One worker: takes keys for ever."""
        while True:
            uid = await self.queue.get()
            try:
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await self.reconciler.reconcile(uid)
                self.queue.forget(uid)
            except KubeError as e:
                delay = self.queue.retry(uid, at_least=e.retry_after)
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
            (some, at_jobs), (more, at_pods) = await self._list(namespace)
            jobs += some
            pods += more
            oldest = min(at_jobs, at_pods)
            listed_at = min(listed_at, oldest) if listed_at else oldest
        if self.store.primed:
            for kind, bodies in ((names.PLURAL, jobs), ("pods", pods)):
                if version := self.store.news(bodies, pods=kind == "pods"):
                    self.liveness.expect(kind, version)
        self.liveness.resynced()
        for uid in self.store.replace(jobs, pods, listed_at):
            self.queue.add(uid)
        log.info("resync: %d jobs, %d pods", len(jobs), len(pods))
        await self._sweep(orphans(pods, jobs, self.reconciler.clock()))

    async def _list(self, namespace: str) -> tuple[tuple[Page, int], tuple[Page, int]]:
        """All jobs and all pods, side by side: the API server takes its time over thousands."""
        paths = (collection(JOBS, names.PLURAL, namespace), collection(CORE, "pods", namespace))
        try:
            async with asyncio.TaskGroup() as group:
                jobs = group.create_task(self.kube.list(paths[0], trim=self._trim))
                pods = group.create_task(
                    self.kube.list(paths[1], labels=names.LABEL_JOB_UID, trim=slim_pod)
                )
        except* KubeError as errors:
            failed = errors
        else:
            return jobs.result(), pods.result()
        raise failed.exceptions[0]

    def _trim(self, body: Json) -> Json:
        self.listed(body)
        return slim_job(body)

    async def _sweep(self, pods: list[Json]) -> None:
        """Delete pods whose job is gone; what fails is found again by the next LIST."""
        for pod in pods:
            meta = pod["metadata"]
            path = collection(CORE, "pods", meta["namespace"])
            try:
                await self.kube.delete(path, meta["name"], meta["uid"])
            except KubeError as e:
                log.warning("orphan %s/%s stays: %s", meta["namespace"], meta["name"], e)
                continue
            self.swept += 1
            log.warning(
                "orphan %s/%s deleted: its job is gone; %d since the start",
                meta["namespace"], meta["name"], self.swept,
            )  # fmt: skip

    async def call_witnesses(self) -> None:
        """Ask events for pods that came and went before this process looked.

        A job that shows no pod may have had one: its operator died before it could write the name,
        and the pod vanished meanwhile. Scheduler and kubelet have written events about it, which
        stay for an hour. One LIST per namespace and kind of event, at the start only.
        """
        for namespace, pods in self.store.unstarted().items():
            for reason in WITNESSES:
                events = await self.kube.list(
                    collection(CORE, "events", namespace),
                    fields=f"involvedObject.kind=Pod,reason={reason}",
                )
                told = {event["involvedObject"].get("name", "") for event in events[0]}
                for name in told & pods.keys():
                    await self._witnessed(namespace, name, pods[name])

    async def _witnessed(self, namespace: str, name: str, uid: str) -> None:
        try:
            # Another operator may have created it since the LIST.
            self.store.put_pod(await self.kube.get(collection(CORE, "pods", namespace), name))
        except KubeError as e:
            if e.code != 404:
                raise
            log.warning("job uid=%s: pod %s/%s came and went unseen", uid, namespace, name)
            self.store.witness(namespace, name)

    async def resync_forever(self) -> None:
        """Resync at the interval of the settings; a failure is tried again sooner."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.resync()
            except KubeError as e:
                log.warning("resync failed, trying again at the next interval: %s", e)
