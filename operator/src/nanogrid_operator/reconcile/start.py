"""How an attempt gets its pod: pin the function, build the manifest, create the pod.

If the attempt can never have a pod, the job ends: each method returns that outcome, or None.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.runtime import Timeouts
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, JOBS, KubeError, collection
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision import (
    actions,
    decide,
    outcome,
    quota,
)
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.pod_use import pod_need
from nanogrid_operator.kube.network_policies import NETWORKING, PLURAL, NetworkPolicies
from nanogrid_operator.kube.secrets import S3SecretReplica
from nanogrid_operator.manifests import network, report_token, session
from nanogrid_operator.model import function_ref
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.observed import Inspection
from nanogrid_operator.model.pod_facts import Pod, pod_facts, warning_of
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.reconcile.claims import PodClaims, PodGone
from nanogrid_operator.reconcile.exposures import Exposures
from nanogrid_operator.reconcile.prepare import Preparation, Start
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.job import pinned_status
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import REFUSED_CODES, Writer
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

# Answers to a create that are final, and answers that can change: an admission policy, a missing
# service account, a quota. A quota that other pods have used up makes the job queue.
INVALID_CODES = frozenset({400, 422})
REJECTED_CODES = frozenset({403, 404})
WEBHOOK_FAILED = "failed calling webhook"  # message of code 500: its server does not answer


@dataclass(slots=True, kw_only=True)
class PodStarter:
    """Starts attempts."""

    settings: Settings
    tenants: Tenants
    cache: JobCache
    queue: WorkQueue
    kube: KubeApi
    secrets: S3SecretReplica
    policies: NetworkPolicies
    admission: AdmissionQueue
    exposures: Exposures
    preparation: Preparation
    claims: PodClaims
    writer: Writer
    traces: JobTraces
    on_started: Callable[[str, str], None]  # the namespace, and Warm or Cold
    clock: Callable[[], float] = time.time

    async def pin(self, job: Job, ref: FunctionRef) -> Outcome | None:
        """Read the job's function once. A second operator that does the same gets a conflict."""
        found: Json | None = None
        try:
            path = collection(JOBS, names.FUNCTION_PLURAL, job.namespace)
            found = await self.kube.get(path, ref.name)
        except KubeError as e:
            if e.code == 403:
                self._note_rejection(job, job.attempt, e.message)
                return None
            if e.code != 404:
                raise
        try:
            pinned = function_ref.pin(ref, found, self.tenants.of(job.namespace))
        except function_ref.FunctionRefused as e:
            return outcome.failure(job, e.reason, str(e))
        except InvalidSpecError as e:
            return outcome.failure(job, Reason.INVALID_SPEC, str(e))
        try:
            await self.writer.write(job, pinned_status(job, pinned))
        except KubeError as e:
            if e.code not in REFUSED_CODES:
                raise
            detail = f"function {ref.name} cannot be written to the status: {e.message}"
            return outcome.failure(job, Reason.INVALID_SPEC, detail)
        self.queue.add(job.uid)
        return None

    async def create(self, job: Job, attempt: int) -> Outcome | None:
        """Create the attempt's pod, or adopt the job's own pod of that name."""
        try:
            start = self.preparation.prepare(job, attempt)
        except ValueError as e:
            return outcome.failure(job, Reason.INVALID_SPEC, str(e))
        # There is no await between the check of the slots and this reservation.
        with self.admission.reserve(job.namespace, start.name, pod_need(start.pod)):
            return await self._start(start)

    async def _start(self, start: Start) -> Outcome | None:
        job, name, attempt = start.job, start.name, start.task.attempt
        path = collection(CORE, "pods", job.namespace)
        choice = self.claims.choice(job)
        recorded = choice.pool is not None or bool(choice.why)  # an Event says how it starts
        try:
            await self.policies.ensure(job.namespace)
            await self.secrets.ensure(job.namespace)
            # Before a warm start too: users of a session read its token from a Secret.
            await self._create_owned_objects(job)
            claimed = await self.claims.claim(start, choice) if recorded else None
            if claimed is not None:
                self._note_started(job, claimed)
                return None
            created = await self.kube.create(path, start.pod)
        except PodGone as e:
            log.warning("pod %s was claimed, and is gone", e)
            self.queue.add(job.uid)  # the next pass ends the attempt
            return None
        except KubeError as e:
            if e.code in INVALID_CODES:
                return outcome.failure(job, Reason.POD_REJECTED, e.message)
            if e.code in REJECTED_CODES or WEBHOOK_FAILED in e.message:
                self._note_refusal(job, attempt, e)
                return None
            if e.code != 409:
                raise
            created = await self.kube.get(path, name)
            if not _owned(created, job):
                detail = f"pod {name} exists and belongs to another owner"
                return outcome.failure(job, Reason.NAME_CONFLICT, detail)
        self.cache.put_pod(created)
        self._note_started(job, created)
        if not recorded:
            self.writer.record_event(job, Reason.POD_CREATED, f"Created pod {name}")
        return None

    def _note_started(self, job: Job, pod: Json) -> None:
        facts = pod_facts(self.cache.pod(job.uid, job.attempt) or pod)
        self.on_started(job.namespace, facts.start)
        self.traces.started(self.cache.job(job.uid), facts)
        self.queue.add(job.uid, _first_check(job))

    async def _create_owned_objects(self, job: Job) -> None:
        """Create the job's other objects. The name of one that exists shows that it is ours."""
        owned = [
            *report_token.owned_objects(job, self.settings),
            *session.owned_objects(job, self.settings),
        ]
        policy = network.job_policy(job)
        if policy is not None and self.settings.network_policies:
            owned.append((NETWORKING, PLURAL, policy))
        for base, plural, manifest in owned:
            try:
                await self.kube.create(collection(base, plural, job.namespace), manifest)
            except KubeError as e:
                if e.code != 409:
                    raise
        await self.exposures.create(job)

    async def look(self, job: Job, action: actions.Inspect | actions.ObserveExposure) -> None:
        """Look at what keeps a job's pod, or the way into its session, from working."""
        if isinstance(action, actions.Inspect):
            await self._inspect(job, action.pod)
        else:
            await self.exposures.observe(job)
        self.queue.add(job.uid)

    async def _inspect(self, job: Job, pod: Pod) -> None:
        """Read the pod's Events to find out why it does not start."""
        path = collection(CORE, "events", job.namespace)
        of_pod = f"involvedObject.uid={pod.uid},type=Warning"
        events, _ = await self.kube.list(path, fields=of_pod)
        inspection = Inspection(warning_of(events), self.clock())
        self.cache.put_inspection(job.uid, job.attempt, inspection)

    def _note_refusal(self, job: Job, attempt: int, error: KubeError) -> None:
        """The API server refused the pod: it queues for its quota, or shows the rejection."""
        if error.code != 403 or not quota.exceeded_for_now(error.message):
            self._note_rejection(job, attempt, error.message)
            return
        self.admission.hold(job.namespace, error.message)
        self.queue.add(job.uid)

    def _note_rejection(self, job: Job, attempt: int, message: str) -> None:
        self.cache.put_rejection(job.uid, attempt, message, self.clock())
        self.queue.add(job.uid)


def _first_check(job: Job) -> float:
    """Seconds until the job is looked at, if its pod does not change."""
    spec = job.spec
    if spec is None or spec.is_session or spec.active_deadline_seconds is not None:
        return 0.0  # the next pass knows
    startup = (spec.timeouts or Timeouts()).startup_seconds
    return min(decide.PENDING_AFTER_SECONDS, startup)


def _owned(pod: Json, job: Job) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job.uid for o in owners)
