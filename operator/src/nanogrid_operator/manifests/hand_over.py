"""What a pool's pod gets when a job claims it: the task, and whose pod it is. Pure."""

from dataclasses import replace
from typing import Final

from nanogrid import names, pod_identity, result_auth, wire
from nanogrid.api.job import ExecutionJob
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import needs_sync
from nanogrid_operator.manifests.session import token_of
from nanogrid_operator.settings import Settings

# The kubelet counts from the start of the pod, and clocks differ.
DEADLINE_MARGIN_SECONDS: Final = 30


def hand_over(
    job: ExecutionJob, task: wire.PodTask, pod: Json, settings: Settings
) -> wire.HandOver:
    """The task of a job for a pod that waits.

    Args:
        job: The job.
        task: As for a pod of the job's own.
        pod: The pod: its limits are in force.
        settings: The operator's settings.
    """
    limits = pod["spec"]["containers"][1]["resources"]["limits"]
    return wire.HandOver(
        task=replace(
            task,
            memory_limit_bytes=int(quantity(limits["memory"])),
            inputs_by_agent=needs_sync(task),
            gate_port=None,  # the pod has passed its gate
        ),
        result_key=result_auth.derive_key(settings.result_key_master, task.uid),
        role_session=f"{task.namespace}.{task.job}" if settings.s3_sandbox_role_arn else "",
        session_token=token_of(job, settings) if job.spec.is_session else None,
    )


def claim_patch(own: Json, *, annotation: str, version: str, uid: str, age: float) -> Json:
    """The merge patch that makes a pool's pod the pod of a job.

    Args:
        own: The manifest of a pod of the job's own.
        annotation: The proof of the claim.
        version: The pod's resourceVersion: a pod that has changed since is not claimed.
        uid: The pod's uid.
        age: Seconds since the pod was created.
    """
    metadata = {
        "resourceVersion": version,
        "uid": uid,
        "annotations": {names.ANNOTATION_CLAIM: annotation},
        "ownerReferences": own["metadata"]["ownerReferences"],
    }
    labels: Json = own["metadata"]["labels"]
    of_job = {name: labels[name] for name in pod_identity.OF_JOB}
    if mode := labels.get(names.LABEL_MODE):
        metadata["labels"] = {**of_job, names.LABEL_MODE: mode}  # the router and Services select it
    else:
        metadata["annotations"] |= of_job
    seconds = own["spec"]["activeDeadlineSeconds"]
    deadline = int(age) + seconds + DEADLINE_MARGIN_SECONDS
    return {"metadata": metadata, "spec": {"activeDeadlineSeconds": deadline}}
