"""The resync: LIST everything, fill the cache, enqueue every job that may need work.

It also deletes orphaned pods, and at the start it finds pods that no operator observed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nanogrid import names, pod_identity
from nanogrid.kube.client import KubeApi, Page
from nanogrid.kube.conventions import CORE, JOBS, KubeError, collection
from nanogrid.log_line import job_line_fields
from nanogrid.logs import about
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.model.claim import CLAIM_SUFFIX, ClaimProofs, claimed_pod
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.orphans import orphans, owner_name
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.watch.transform import transform_job, transform_pod
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.resync")

FIRST_RETRY_SECONDS = 2.0  # between tries of the first LIST, before which no job is reconciled
# The Events that scheduler and kubelet write before and when the containers of a pod start.
START_EVENTS = ("Scheduled", "Started")


@dataclass(slots=True, kw_only=True)
class Resync:
    """:meth:`first` before any worker starts, then :meth:`run` for ever.

    A process that stands by only fills its cache. When it takes over, it calls :meth:`first` again.

    ``on_job`` receives each whole job of a LIST.
    """

    settings: Settings
    selection: Selection
    cache: JobCache
    pools: PoolCache
    proofs: ClaimProofs
    queue: WorkQueue
    kube: KubeApi
    liveness: Liveness
    on_job: Callable[[Json], None]
    clock: Callable[[], float] = time.time
    orphans_deleted: int = field(default=0, init=False)  # since the start

    async def first(self) -> None:
        """Resync once, and find missed pods; tries again until the API server answers.

        After it, the cache has all that earlier leaders did.
        """
        while True:
            try:
                await self.resync()
                if not self.queue.paused:
                    await self.recover_missed_pods()
                    self._confirm()
                return
            except KubeError as e:
                log.error(
                    "cannot list ExecutionJobs and pods, trying again in %g s: %s",
                    FIRST_RETRY_SECONDS, e,
                )  # fmt: skip
                await asyncio.sleep(FIRST_RETRY_SECONDS)

    def take_over(self) -> None:
        """Enqueue the open jobs that a standby knows. After it, call :meth:`first` again."""
        self.queue.resume()
        for uid in self.cache.due():
            self.queue.add(uid)

    def _confirm(self) -> None:
        if self.cache.confirmed:
            return
        self.cache.confirmed = True
        for pods in self.cache.jobs_without_pod().values():
            for uid in pods.values():
                self.queue.add(uid)

    async def run(self) -> None:
        """Resync at the interval of the settings. A failed resync waits for the next interval."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.resync()
            except KubeError as e:
                log.warning("resync failed, trying again at the next interval: %s", e)

    async def resync(self) -> None:
        """LIST everything and enqueue every job that may need work."""
        listed_at = 0
        jobs: list[Json] = []
        pods: list[Json] = []
        pools: list[Json] = []
        for namespace in self.settings.namespaces or [""]:
            (some, at_jobs), (more, at_pods), (found, at_pools) = await self._list(namespace)
            jobs += some
            pods += more
            pools += found
            oldest = min(int(at_jobs), int(at_pods), int(at_pools or at_pods))
            listed_at = min(listed_at, oldest) if listed_at else oldest
        if self.cache.primed:
            if version := self.cache.newest_unknown_job(jobs):
                self.liveness.expect(names.PLURAL, version)
            if version := self.cache.newest_unknown_pod(pods):
                self.liveness.expect("pods", version)
        self.liveness.resynced()
        self.pools.replace_pools(pools, listed_at)
        self.pools.replace_pods(pods, listed_at)
        for uid in self.cache.replace(jobs, pods, listed_at):
            self.queue.add(uid)
        log.info("resync: %d jobs, %d pods", len(jobs), len(pods))
        if not self.queue.paused:
            await self._delete_orphans(orphans(pods, jobs, self.clock()))

    async def _list(
        self, namespace: str
    ) -> tuple[tuple[Page, str], tuple[Page, str], tuple[Page, str]]:
        """All jobs, pods and pools, at the same time: thousands take the API server a while."""
        path = collection(CORE, "pods", namespace)
        labels = self.selection.pod_labels
        try:
            async with asyncio.TaskGroup() as group:
                jobs = group.create_task(self._list_jobs(namespace))
                pods = group.create_task(self.kube.list(path, labels=labels, trim=transform_pod))
                pools = group.create_task(self._list_pools(namespace))
        except* KubeError as errors:
            failed = errors
        else:
            return jobs.result(), pods.result(), pools.result()
        raise failed.exceptions[0]

    async def _list_pools(self, namespace: str) -> tuple[Page, str]:
        """The pools of this installation; none if the CRD is not installed yet."""
        path = collection(JOBS, names.POOL_PLURAL, namespace)
        try:
            found, version = await self.kube.list(path)
        except KubeError as e:
            if e.code != 404:
                raise
            log.warning("there is no %s: pools are not available", names.POOL_PLURAL)
            return [], ""
        return [pool for pool in found if self.selection.serves(pool)], version

    async def _list_jobs(self, namespace: str) -> tuple[Page, str]:
        """The jobs of this installation, selected by the API server if it can."""
        path, fields = collection(JOBS, names.PLURAL, namespace), self.selection.job_fields
        try:
            found, version = await self.kube.list(path, fields=fields, trim=self._trim)
        except KubeError as e:
            if e.code != 400 or not fields:
                raise
            log.warning("the API server cannot select jobs by class, listing all: %s", e)
            self.selection.without_fields()
            found, version = await self.kube.list(path, trim=self._trim)
        return [job for job in found if self.selection.serves(job)], version

    def _trim(self, body: Json) -> Json:
        if self.selection.serves(body):
            self.on_job(body)
        return transform_job(body)

    async def _delete_orphans(self, pods: list[Json]) -> None:
        """Delete pods whose job is gone. The next LIST finds those that could not be deleted."""
        for pod in pods:
            with about(_fields_of_orphan(pod)):
                await self._delete_orphan(pod)

    async def _delete_orphan(self, pod: Json) -> None:
        meta = pod["metadata"]
        path = collection(CORE, "pods", meta["namespace"])
        try:
            if await self._has_job(pod):
                return
            await self.kube.delete(path, meta["name"], meta["uid"])
        except KubeError as e:
            log.warning("cannot delete orphan pod %s: %s", meta["name"], e)
            return
        self.orphans_deleted += 1
        log.warning(
            "orphan pod %s deleted: its job is gone; %d since the start",
            meta["name"], self.orphans_deleted,
        )  # fmt: skip

    async def _has_job(self, pod: Json) -> bool:
        """Whether the pod's job exists after all.

        The LIST has only the jobs of this installation, and whoever may change the labels of a pod
        can hide that it is another installation's.
        """
        meta, name = pod["metadata"], owner_name(pod)
        if not name:
            return False
        path = collection(JOBS, names.PLURAL, meta["namespace"])
        try:
            job = await self.kube.get(path, name)
        except KubeError as e:
            if e.code != 404:
                raise
            return False
        return bool(job["metadata"]["uid"] == pod_identity.job_uid(pod))

    async def recover_missed_pods(self) -> None:
        """Use Events to find pods that were created and deleted while no operator ran.

        A job that shows no pod may have had one: its operator died before it could write the
        pod's name, and the pod is gone since. Scheduler and kubelet wrote Events about it, which
        the API server keeps for an hour. One LIST per namespace and kind of Event, at the start
        only.
        """
        for namespace, pods in self.cache.jobs_without_pod().items():
            for reason in START_EVENTS:
                events = await self.kube.list(
                    collection(CORE, "events", namespace),
                    fields=f"involvedObject.kind=Pod,reason={reason}",
                )
                named = {event["involvedObject"].get("name", "") for event in events[0]}
                for name in named & pods.keys():
                    await self._recover_missed_pod(namespace, name, name, pods[name])
            await self._recover_claimed_pods(namespace, pods)

    async def _recover_claimed_pods(self, namespace: str, pods: Mapping[str, str]) -> None:
        """Find pods of pools that were claimed, and deleted, while no operator ran."""
        events, _ = await self.kube.list(
            collection(CORE, "events", namespace),
            fields=f"involvedObject.kind={names.KIND},reason={Reason.POD_CLAIMED}",
        )
        for event in events:
            name = event["metadata"]["name"].removesuffix(CLAIM_SUFFIX)
            uid = pods.get(name)
            if uid is None:
                continue
            pod = claimed_pod(event, self.proofs, uid, int(name.rpartition("-")[2]))
            if pod is not None and pod[0]:
                await self._recover_missed_pod(namespace, name, pod[0], uid)

    async def _recover_missed_pod(self, namespace: str, name: str, pod: str, uid: str) -> None:
        """Look for a pod of an attempt; ``name`` is that of a pod of its own."""
        with about(self.cache.log_fields(uid)):
            await self._look_for_pod(namespace, name, pod)

    async def _look_for_pod(self, namespace: str, name: str, pod: str) -> None:
        try:
            # Another operator may have created or claimed it since the LIST. One of a pool that is
            # not claimed still waits: the claim goes on.
            self.cache.put_pod(await self.kube.get(collection(CORE, "pods", namespace), pod))
        except KubeError as e:
            if e.code != 404:
                raise
            log.warning("pod %s is gone, and was missed", pod)
            self.cache.put_missed_pod(namespace, name)


def _fields_of_orphan(pod: Json) -> dict[str, Any]:
    """What logs about a pod without a job show; only the job has the requestId."""
    namespace, uid = pod["metadata"]["namespace"], pod_identity.job_uid(pod)
    return job_line_fields(namespace, owner_name(pod), uid, "", pod_identity.attempt(pod))
