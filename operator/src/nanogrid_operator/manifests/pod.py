"""From a job to the manifest of its sandbox pod. Pure: no client, no clock.

The pod has up to three containers. ``sync-input`` copies and verifies S3 input; it is an init
container, and exists only if there is input. ``agent`` has the credentials and reports the result.
``sandbox`` runs the launcher and the user's code without any credential. All of them meet the
``restricted`` Pod Security Standard:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from typing import Any

from nanogrid import names, wire
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.runtime import Timeouts
from nanogrid.controller_class import NO_CLASS, labels
from nanogrid.traces.settings import Sampler
from nanogrid_operator.kube.objects import owner_reference, pod_name
from nanogrid_operator.manifests.containers import (
    agent_container,
    runtime_checks,
    sandbox_container,
    sync_container,
)
from nanogrid_operator.manifests.network import egress_of
from nanogrid_operator.manifests.placement import place
from nanogrid_operator.manifests.sandbox_user import has_user_namespace, passwd, user_id
from nanogrid_operator.manifests.session_pod import adapt
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.manifests.volumes import (
    volumes,
)
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.settings import Settings

# The containers that use S3. On EKS they, and no others, get the service account's role.
WITH_ROLE = (names.CONTAINER_SYNC, names.CONTAINER_AGENT)


def needs_sync(task: wire.PodTask) -> bool:
    """Whether anything must be copied from S3 before the code starts."""
    return task.code_s3 is not None or bool(task.inputs)


def build_pod(
    job: ExecutionJob,
    attempt: int,
    settings: Settings,
    tenant: Tenant,
    memory_limit: int | None = None,
    gate_port: int | None = None,
    now: float = 0.0,
    sampler: Sampler | None = None,
) -> dict[str, Any]:
    """The manifest of the pod.

    Args:
        job: The job, with what is pinned of its function.
        attempt: The number of the attempt.
        settings: The operator's settings.
        tenant: What the job's namespace has and may do.
        memory_limit: Overrides the spec's limit; in bytes.
        gate_port: The operator's port that must be closed to the pod before any code has a network.
        now: Seconds since the epoch, for the expiry of credentials.
        sampler: Decides which traces are recorded; None: traces are off.

    Raises:
        InvalidSpecError: see :func:`nanogrid_operator.manifests.task.task_for`.
    """
    task = task_for(job, attempt, settings, tenant, memory_limit, gate_port, now, sampler)
    return pod_of(job, task, settings, memory_limit)


def deadline_seconds(spec: Spec, task: wire.PodTask) -> int:
    """Seconds after which the kubelet ends a batch job's pod if its agent does not."""
    timeouts = spec.timeouts or Timeouts()
    return (
        timeouts.startup_seconds
        + (timeouts.input_sync_seconds if needs_sync(task) else 0)
        + int(task.execution_timeout_seconds)
        + int(task.termination_grace_seconds)
        + timeouts.upload_seconds
    )


def pod_of(
    job: ExecutionJob, task: wire.PodTask, settings: Settings, memory_limit: int | None = None
) -> dict[str, Any]:
    """The manifest of the pod that has this task; see :func:`build_pod`."""
    timeouts = job.spec.timeouts or Timeouts()
    synced = needs_sync(task) and not task.inputs_by_agent
    user = user_id(job.metadata["uid"], job.spec, settings)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": job.spec.service_account_name or settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": deadline_seconds(job.spec, task),
        # After SIGTERM: the grace period of the user's code, then time to store and report.
        "terminationGracePeriodSeconds": int(task.termination_grace_seconds)
        + min(timeouts.upload_seconds, names.STOP_UPLOAD_SECONDS)
        + 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # The kubelet starts them one after another, about 0.1 s each. The launcher waits for the
        # agent, so the agent is first.
        "containers": [
            agent_container(job.spec, task, settings),
            sandbox_container(job.spec, task, settings, memory_limit),
        ],
        "volumes": volumes(job, settings),
        "tolerations": _tolerations(settings),
    }
    spec |= _options(job.spec, settings)
    first = runtime_checks(job.spec, task, settings) + (
        [sync_container(task, settings)] if synced else []
    )
    if first:
        spec["initContainers"] = first
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, task.attempt, user, first + spec["containers"]),
        "spec": spec,
    }
    if job.spec.is_session:
        adapt(pod, job, settings)
    return place(pod, settings)


def _tolerations(settings: Settings) -> list[dict[str, Any]]:
    """Tolerate a silent node for less time than the API server's default of 300 s."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": settings.node_lost_seconds,
        }
        for taint in ("not-ready", "unreachable")
    ]


def _options(spec: Spec, settings: Settings) -> dict[str, Any]:
    """Fields of the pod's spec that are left out if they are not set."""
    runtime = (spec.runtime and spec.runtime.runtime_class_name) or settings.runtime_class
    priority = spec.priority_class_name or settings.priority_class
    options = {"runtimeClassName": runtime, "priorityClassName": priority}
    found: dict[str, Any] = {name: value for name, value in options.items() if value}
    if secrets := settings.words("sandbox_pull_secrets"):
        found["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    if has_user_namespace(spec, settings):
        found["hostUsers"] = False
    return found


def _metadata(
    job: ExecutionJob, attempt: int, user: int, containers: list[dict[str, Any]]
) -> dict[str, Any]:
    name, uid = job.metadata["name"], job.metadata["uid"]
    given = job.metadata.get("labels") or {}
    return {
        "name": pod_name(name, uid, attempt),
        "namespace": job.metadata["namespace"],
        "labels": {
            **{label: given[label] for label in names.KUEUE_LABELS if label in given},
            "app.kubernetes.io/name": "nanogrid-sandbox",
            "app.kubernetes.io/managed-by": names.MANAGED_BY,
            names.LABEL_JOB: name,
            names.LABEL_JOB_UID: uid,
            names.LABEL_ATTEMPT: str(attempt),
            names.LABEL_EGRESS: egress_of(job.spec),
            **names.NOT_IN_BACKUPS,
            **labels(job.spec.controller_class or NO_CLASS),
        },
        "annotations": {
            names.ANNOTATION_DEFAULT_CONTAINER: names.CONTAINER_SANDBOX,
            names.ANNOTATION_IRSA_SKIP: ",".join(
                c["name"] for c in containers if c["name"] not in WITH_ROLE
            ),
            names.ANNOTATION_PASSWD: passwd(user),
        },
        "ownerReferences": [owner_reference(name, uid)],
    }
