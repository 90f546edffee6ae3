"""How an attempt gets its pod: the function pinned, the manifest built and created.

What can never become a pod ends the job: each method answers with that end, or None.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator import decide, functionref, jobstatus, outcome, retry, session, webhook_rules
from nanogrid_operator.facts import Job, Json, warning_of
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.places import Places
from nanogrid_operator.pod import build_pod
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Inspection, Store
from nanogrid_operator.task import base_memory_limit
from nanogrid_operator.view import View
from nanogrid_operator.workqueue import WorkQueue
from nanogrid_operator.writer import Writer

log = logging.getLogger("nanogrid.reconcile")

# Answers to a pod create that no repetition mends, and those that somebody can mend meanwhile
# (quota, admission policy, a missing service account).
INVALID_CODES = frozenset({400, 422})
REFUSED_CODES = frozenset({403, 404})


@dataclass(slots=True, kw_only=True)
class Starting:
    """Everything it needs is handed in."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    secrets: S3SecretReplica
    places: Places
    writer: Writer
    clock: Callable[[], float] = time.time

    async def pin(self, job: Job) -> Outcome | None:
        """Read the job's function once; another operator that does so too is a conflict."""
        ref = job.model.spec.function_ref if job.model else None
        assert ref is not None  # noqa: S101 decide pins jobs that refer to a function
        found: Json | None = None
        try:
            path = collection(JOBS, names.FUNCTION_PLURAL, job.namespace)
            found = await self.kube.get(path, ref.name)
        except KubeError as e:
            if e.code == 403:
                self._note_refusal(job, job.attempt, e.message)
                return None
            if e.code != 404:
                raise
        try:
            pinned = functionref.pin(ref, found, self.settings)
        except functionref.FunctionRefused as e:
            return outcome.failure(job, e.reason, str(e))
        await self.writer.write(job, jobstatus.pinned_status(job, pinned))
        self.queue.add(job.uid)
        return None

    async def create(self, job: Job, attempt: int) -> Outcome | None:
        """Create the attempt's pod; one of that name that is the job's own is adopted."""
        try:
            manifest = self._manifest(job, attempt)
        except ValueError as e:
            return outcome.failure(job, Reason.INVALID_SPEC, str(e))
        # Nothing is awaited between the look at the places and this.
        with self.places.taken(job.namespace, manifest["metadata"]["name"]):
            return await self._create(job, attempt, manifest)

    async def _create(self, job: Job, attempt: int, manifest: Json) -> Outcome | None:
        path = collection(CORE, "pods", job.namespace)
        name = manifest["metadata"]["name"]
        try:
            await self.secrets.ensure(job.namespace)
            await self._create_companions(job)
            created = await self.kube.create(path, manifest)
        except KubeError as e:
            if e.code in INVALID_CODES:
                return outcome.failure(job, Reason.POD_REJECTED, e.message)
            if e.code in REFUSED_CODES:
                self._note_refusal(job, attempt, e.message)
                return None
            if e.code != 409:
                raise
            created = await self.kube.get(path, name)
            if not _owned(created, job):
                detail = f"pod {name} exists and belongs to somebody else"
                return outcome.failure(job, Reason.NAME_CONFLICT, detail)
        self.store.put_pod(created)
        self.writer.tell(job, Reason.POD_CREATED, f"Created pod {name}")
        self.queue.add(job.uid, decide.PROGRESS_AFTER_SECONDS)
        return None

    def _manifest(self, job: Job, attempt: int) -> Json:
        """The attempt's pod.

        Raises:
            ValueError: the spec asks for what cannot be, or is not allowed.
        """
        assert job.model is not None  # noqa: S101 decide answers Finish for an invalid spec
        spec = job.model.spec
        base = base_memory_limit(spec, self.settings)
        memory = retry.memory_limit(job, base)
        webhook_rules.target(spec, self.settings)  # before the code runs
        manifest = build_pod(job.model, attempt, self.settings, memory if memory != base else None)
        if refused := session.refusal(job, self.settings):
            raise ValueError(refused)
        return manifest

    async def _create_companions(self, job: Job) -> None:
        """What a session needs beside its pod; what exists is this job's own by its name."""
        for base, plural, manifest in session.companions(job, self.settings):
            try:
                await self.kube.create(collection(base, plural, job.namespace), manifest)
            except KubeError as e:
                if e.code != 409:
                    raise

    async def inspect(self, v: View) -> None:
        """Ask the pod's events why it does not start."""
        assert v.pod is not None  # noqa: S101 decide inspects pods that are there
        path = collection(CORE, "events", v.job.namespace)
        of_pod = f"involvedObject.uid={v.pod.uid},type=Warning"
        events, _ = await self.kube.list(path, fields=of_pod)
        inspection = Inspection(warning_of(events), self.clock())
        self.store.put_inspection(v.job.uid, v.job.attempt, inspection)
        self.queue.add(v.job.uid)

    def _note_refusal(self, job: Job, attempt: int, message: str) -> None:
        self.store.put_rejection(job.uid, attempt, message, self.clock())
        self.queue.add(job.uid)


def _owned(pod: Json, job: Job) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job.uid for o in owners)
