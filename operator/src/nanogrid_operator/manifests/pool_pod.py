"""From a pool to the manifest of a pod that waits for a job. Pure.

A pool's pod is the pod of a job without all that belongs to the job: its agent asks the operator
for the task, see :mod:`.hand_over`.
"""

import hashlib
import json
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.api.inputs_outputs import Code
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.pool import PoolSpec
from nanogrid.api.session import SessionSpec
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pool_reference
from nanogrid_operator.manifests.pod import pod_of
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.claim import ClaimProofs
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.pool import ENV_OF_JOB, Pool
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.settings import Settings

LOG_JOB: Final = "--log-job="  # arguments of the launcher
WAIT: Final = "--wait-interpreter"
PRELOAD: Final = "--preload="
_ANY: Final = "00000000"  # the token of the pod that the version is of


def blank_job(pool: Pool, token: str = _ANY) -> ExecutionJob:
    """A job that fits the pool, and does nothing.

    Raises:
        InvalidSpecError: the pool is not valid.
    """
    spec = pool.spec
    if spec is None:
        raise InvalidSpecError(pool.error)
    return ExecutionJob(
        api_version=names.API_VERSION,
        metadata={
            "name": pool.name,
            "namespace": pool.namespace,
            "uid": f"{pool.uid}/{token}",  # the user ID of the pod's containers depends on it
        },
        spec=Spec(
            mode=spec.mode,
            code=None if spec.is_for_sessions else Code(inline="pass\n"),
            # The token of a session is not in a volume, but in its hand-over.
            session=SessionSpec(auth="Unprotected") if spec.is_for_sessions else None,
            runtime=spec.runtime,
            resources=spec.resources,
            service_account_name=spec.service_account_name,
            priority_class_name=spec.priority_class_name,
            controller_class=spec.controller_class,
        ),
    )


def build_pool_pod(
    pool: Pool,
    token: str,
    settings: Settings,
    tenant: Tenant,
    gate_port: int | None,
    proofs: ClaimProofs,
    version: str,
) -> Json:
    """The manifest of a pod that waits in a pool.

    Args:
        pool: The pool.
        token: Eight random hex digits, for the pod's name.
        settings: The operator's settings.
        tenant: What the pool's namespace has and may do.
        gate_port: As for :func:`nanogrid_operator.manifests.pod.build_pod`.
        proofs: Show that the operator has created the pod.
        version: Of the pool's pods.

    Raises:
        InvalidSpecError: the pool is not valid.
    """
    pod = _bare_pod(pool, token, settings, tenant, gate_port)
    name = names.pool_pod(pool.name, token)
    metadata = pod["metadata"]
    metadata["name"] = name
    metadata["labels"][names.LABEL_POOL_VERSION] = version
    metadata["annotations"][names.ANNOTATION_POOL_PROOF] = proofs.created(pool.uid, name)
    return pod


def version_of_pods(template: Json) -> str:
    """The version of the pods that a pool has now: pods of another one are replaced."""
    text = json.dumps(template, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def template(pool: Pool, settings: Settings, tenant: Tenant, gate_port: int | None) -> Json:
    """A pod of the pool, to compare a job's pod with."""
    return _bare_pod(pool, _ANY, settings, tenant, gate_port)


def _bare_pod(
    pool: Pool, token: str, settings: Settings, tenant: Tenant, gate_port: int | None
) -> Json:
    job = blank_job(pool, token)
    assert pool.spec is not None  # noqa: S101 blank_job has refused it
    pod = pod_of(job, task_for(job, 0, settings, tenant), settings)
    spec: Json = pod["spec"]
    metadata: Json = pod["metadata"]
    # The router finds sessions by LABEL_MODE, so a pod gets it when a session claims it.
    for label in (names.LABEL_JOB, names.LABEL_ATTEMPT, names.LABEL_MODE):
        metadata["labels"].pop(label, None)
    metadata["labels"] |= {names.LABEL_JOB_UID: "", names.LABEL_POOL: pool.name}
    metadata["ownerReferences"] = [pool_reference(pool.name, pool.uid)]
    del metadata["name"]
    del spec["activeDeadlineSeconds"]  # it begins with the claim
    if pool.spec.priority_class_name is None and settings.pool_priority_class:
        spec["priorityClassName"] = settings.pool_priority_class
    _place(spec, pool.spec)
    agent, sandbox = spec["containers"]
    waiting = wire.PoolTask(
        namespace=pool.namespace,
        pool=pool.name,
        gate_port=gate_port,
        session=pool.spec.is_for_sessions,
    )
    agent["env"] = [
        *(variable for variable in agent["env"] if variable["name"] not in ENV_OF_JOB),
        {"name": names.ENV_POOL_TASK, "value": wire.dumps(waiting)},
    ]
    sandbox["command"] = [
        *(argument for argument in sandbox["command"] if not argument.startswith(LOG_JOB)),
        *_interpreter(pool.spec),
    ]
    for container in spec.get("initContainers", []):
        container["env"] = [v for v in container.get("env", []) if v["name"] != names.ENV_LOG_JOB]
    return pod


def _interpreter(pool: PoolSpec) -> list[str]:
    """Options of the launcher. One of a session has no interpreter before its first execution."""
    return [] if pool.is_for_sessions else [WAIT, f"{PRELOAD}{','.join(pool.preload)}"]


def _place(spec: Json, pool: PoolSpec) -> None:
    """The pool's own placement, instead of the installation's."""
    if pool.node_selector is not None:
        spec["nodeSelector"] = pool.node_selector
    if pool.affinity is not None:
        spec["affinity"] = pool.affinity
    if pool.tolerations is not None:
        given: list[dict[str, Any]] = [
            each.model_dump(by_alias=True, exclude_none=True) for each in pool.tolerations
        ]
        spec["tolerations"] = [*spec["tolerations"], *given]
