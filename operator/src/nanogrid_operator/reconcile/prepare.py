"""What an attempt needs before its pod: its task, and the manifest of a pod of its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nanogrid import wire
from nanogrid.api.job import ExecutionJob
from nanogrid.types import Json
from nanogrid_operator.decision import limits, policy, retry, webhook
from nanogrid_operator.decision.pod_use import pod_need
from nanogrid_operator.manifests import namespace, network, session
from nanogrid_operator.manifests.pod import pod_of
from nanogrid_operator.manifests.task import base_memory_limit, task_for
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.tenant import Tenants, with_default_limits
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.traces import JobTraces


class Start(NamedTuple):
    """An attempt that is about to start."""

    job: Job
    task: wire.PodTask
    pod: Json  # the manifest of a pod of its own

    @property
    def name(self) -> str:
        """The name of a pod of the attempt's own."""
        return str(self.pod["metadata"]["name"])

    @property
    def model(self) -> ExecutionJob:
        """The job's."""
        return _model(self.job)


class _Memory(NamedTuple):
    """The limit of an attempt in bytes; None: that of the spec."""

    settings: Settings
    changed: int | None


@dataclass(slots=True, kw_only=True)
class Preparation:
    """Checks what a job asks for, and makes its task."""

    settings: Settings
    tenants: Tenants
    network: NetworkProbe
    traces: JobTraces
    clock: Callable[[], float] = time.time

    def prepare(self, job: Job, attempt: int) -> Start:
        """The attempt's task, and a pod of its own.

        Raises:
            ValueError: The spec is impossible, or not allowed.
        """
        model = _model(job)
        tenant = self.tenants.of(job.namespace)
        settings, changed = self._memory(job)
        policy.check(model.spec, tenant, settings)
        policy.check_labels(model.metadata.get("labels") or {}, tenant)
        webhook.target(model.spec, self.settings)  # checks the URL before the code runs
        network.check_network(model.spec, tenant, self.settings)
        task = self.task(job, attempt)
        pod = pod_of(model, task, settings, changed)
        refused = namespace.refusal(job, self.settings) or session.refusal(job, self.settings)
        if refused:
            raise ValueError(refused)
        where = self.tenants.limits_from(job.namespace)
        if refused := limits.never_fits(pod_need(pod), tenant.limits, where):
            raise ValueError(refused)
        return Start(job, task, pod)

    def task(self, job: Job, attempt: int) -> wire.PodTask:
        """The attempt's task.

        Raises:
            InvalidSpecError: see :func:`nanogrid_operator.manifests.task.task_for`.
        """
        model = _model(job)
        settings, changed = self._memory(job)
        enforced = self.network.condition.enforced
        return task_for(
            model,
            attempt,
            settings,
            self.tenants.of(job.namespace),
            changed,
            network.gate_port(model.spec, self.settings, enforced=enforced),
            now=self.clock(),
            sampler=self.traces.sampler,
        )

    def _memory(self, job: Job) -> _Memory:
        spec = _model(job).spec
        settings = with_default_limits(self.settings, self.tenants.of(job.namespace).limits)
        base = base_memory_limit(spec, settings)
        memory = retry.memory_limit(job, base)
        return _Memory(settings, memory if memory != base else None)


def _model(job: Job) -> ExecutionJob:
    assert job.model is not None  # noqa: S101 an invalid spec never leads to a start
    return job.model
