"""The loop body: what is stored about a job → facts → a decision → one act.

The only caller of the Kubernetes API, Redis and S3 on a job's behalf, and the only writer of
status. Errors end here: the work queue tries the key again with back-off.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator import decide, outcome
from nanogrid_operator.facts import Job, Json, Pod, job_facts, pod_facts
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.pod import InvalidSpecError, build_pod
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

# Answers to a pod create that no repetition mends.
REJECTED_CODES = frozenset({400, 403, 404, 422})


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Owns the workers; everything it needs is handed in."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    publisher: Publisher
    results: ResultStore
    secrets: S3SecretReplica
    clock: Callable[[], float] = time.time
    last_resync: float = field(default=0.0)

    async def work(self) -> None:
        """One worker: takes keys for ever."""
        while True:
            uid = await self.queue.get()
            try:
                await self.reconcile(uid)
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
        self.last_resync = self.clock()
        log.info("resync: %d jobs, %d pods", len(jobs), len(pods))

    async def resync_forever(self) -> None:
        """Resync at the interval of the settings; a failure is tried again sooner."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.resync()
            except KubeError as e:
                log.warning("resync failed, trying again at the next interval: %s", e)

    async def reconcile(self, uid: str) -> None:
        """Decide and act once for one job."""
        body = self.store.job(uid)
        if body is None:
            return
        job = job_facts(body)
        pod_body = self.store.pod(uid)
        pod = pod_facts(pod_body) if pod_body else None
        told = self.store.report(uid)
        view = decide.View(
            job=job,
            pod=pod,
            had_pod=self.store.had_pod(uid),
            report=told[0] if told else None,
            reported_at=told[1] if told else None,
            now=self.clock(),
        )
        await self._act(job, pod, decide.decide(view))

    async def _act(self, job: Job, pod: Pod | None, action: decide.Action) -> None:
        match action:
            case decide.Nothing():
                pass
            case decide.Wait(seconds):
                self.queue.add(job.uid, seconds)
            case decide.Create(attempt):
                await self._create(job, attempt)
            case decide.Progress():
                await self._progress(job, pod, action)
            case decide.Finish(result):
                await self._finish(job, pod, result)
            case decide.Recover(fallback):
                await self._recover(job, pod, fallback)
            case decide.Deliver():
                await self._deliver(job)

    async def _create(self, job: Job, attempt: int) -> None:
        assert job.model is not None  # noqa: S101 decide answers Finish for an invalid spec
        try:
            manifest = build_pod(job.model, attempt, self.settings)
        except InvalidSpecError as e:
            await self._finish(job, None, outcome.failure(job, Reason.INVALID_SPEC, str(e)))
            return
        path = collection(CORE, "pods", job.namespace)
        name = manifest["metadata"]["name"]
        try:
            await self.secrets.ensure(job.namespace)
            created = await self.kube.create(path, manifest)
        except KubeError as e:
            if e.code == 409:
                created = await self.kube.get(path, name)
                if not _owned(created, job):
                    detail = f"pod {name} exists and belongs to somebody else"
                    await self._finish(
                        job, None, outcome.failure(job, Reason.NAME_CONFLICT, detail)
                    )
                    return
            elif e.code in REJECTED_CODES:
                await self._finish(job, None, outcome.failure(job, Reason.POD_REJECTED, e.message))
                return
            else:
                raise
        self.store.put_pod(created)
        log.info("job %s/%s uid=%s: pod %s created", job.namespace, job.name, job.uid, name)
        self.queue.add(job.uid, decide.PROGRESS_AFTER_SECONDS)

    async def _progress(self, job: Job, pod: Pod | None, action: decide.Progress) -> None:
        status: Json = {
            "observedGeneration": job.generation,
            "phase": action.phase.value,
            "reason": action.reason.value,
            "message": action.message,
            "requestId": job.request_id,
        }
        if pod is not None:
            status["podName"] = pod.name
            status["startTime"] = outcome.timestamp(pod.created)
        await self._write(job, status)
        log.info(
            "job %s/%s uid=%s: %s %s", job.namespace, job.name, job.uid, status["phase"],
            status["reason"],
        )  # fmt: skip
        self.queue.add(job.uid, action.seconds)

    async def _recover(self, job: Job, pod: Pod | None, fallback: Outcome) -> None:
        stored = await self.results.load(job.request_id)
        if stored is None or stored.job.uid != job.uid:
            await self._finish(job, pod, fallback)
            return
        report = wire.Report(attempt=pod.attempt if pod else 0, result=stored)
        await self._finish(job, pod, outcome.from_report(job, pod, report))

    async def _finish(self, job: Job, pod: Pod | None, ended: Outcome) -> None:
        delivery = await self.publisher.publish(ended.result)
        await self._write(job, outcome.final_status(job, pod, ended, delivery, self.clock()))
        self.store.drop_report(job.uid)
        log.info(
            "job %s/%s uid=%s: %s %s exit=%s delivery=%s receivers=%s",
            job.namespace, job.name, job.uid, ended.result.status, ended.reason,
            ended.result.exit_code, delivery.state, delivery.receivers,
        )  # fmt: skip
        if ended.remove_pod and pod is not None:
            await self.kube.delete(collection(CORE, "pods", job.namespace), pod.name, pod.uid)
        if delivery.state == "Pending":
            log.warning("job uid=%s: delivery pending: %s", job.uid, delivery.message)
            self.queue.retry(job.uid)

    async def _deliver(self, job: Job) -> None:
        delivery = await self.publisher.publish(await self._whole_result(job))
        if delivery.state == "Pending":
            delay = self.queue.retry(job.uid)
            log.warning(
                "job uid=%s: delivery retry in %.1f s: %s", job.uid, delay, delivery.message
            )
            return
        await self._write(job, outcome.delivered_status(job, delivery, self.clock()))
        log.info("job %s/%s uid=%s: delivered late", job.namespace, job.name, job.uid)

    async def _whole_result(self, job: Job) -> wire.Result:
        """The result as it was decided; from S3 where the CR keeps a shortened copy only."""
        kept = wire.from_dict(wire.Result, job.status["result"])
        if not (kept.stdout_truncated or kept.stderr_truncated or outcome.shortened(kept)):
            return kept
        try:
            stored = await self.results.load(job.request_id)
        except S3Error as e:
            log.warning("job uid=%s: delivering the CR's copy of the result: %s", job.uid, e)
            return kept
        same = stored is not None and (stored.job.uid, stored.reason) == (job.uid, kept.reason)
        return stored if stored is not None and same else kept

    async def _write(self, job: Job, status: Json) -> None:
        """Write the status; a concurrent change is a conflict, and decided anew."""
        body = {"metadata": {"resourceVersion": job.resource_version}, "status": status}
        path = collection(JOBS, names.PLURAL, job.namespace)
        try:
            self.store.put_job(await self.kube.patch_status(path, job.name, body))
        except KubeError as e:
            if e.code == 404:
                self.store.drop_job(job.uid)
                return
            if e.code == 409:
                self.store.put_job(await self.kube.get(path, job.name))
            raise


def _owned(pod: Json, job: Job) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job.uid for o in owners)
