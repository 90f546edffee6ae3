"""What a pool's pod gets when a job claims it: the task and the labels of the job. Pure."""

from dataclasses import replace
from typing import Final

from nanogrid import names, result_auth, wire
from nanogrid.api.job import ExecutionJob
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference
from nanogrid_operator.manifests.pod import deadline_seconds, needs_sync
from nanogrid_operator.settings import Settings

# The kubelet counts from the start of the pod, and clocks differ.
DEADLINE_MARGIN_SECONDS: Final = 30


def hand_over(task: wire.PodTask, pod: Json, settings: Settings) -> wire.HandOver:
    """The task of a job for a pod that waits.

    Args:
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
    )


def claim_patch(
    job: ExecutionJob, task: wire.PodTask, *, annotation: str, version: str, uid: str, age: float
) -> Json:
    """The merge patch that makes a pool's pod the pod of a job.

    Args:
        job: The job.
        task: Of its attempt.
        annotation: The proof of the claim.
        version: The pod's resourceVersion: a pod that has changed since is not claimed.
        uid: The pod's uid.
        age: Seconds since the pod was created.
    """
    name, job_uid = job.metadata["name"], job.metadata["uid"]
    seconds = deadline_seconds(job.spec, task)
    return {
        "metadata": {
            "resourceVersion": version,
            "uid": uid,
            "labels": {
                names.LABEL_JOB: name,
                names.LABEL_JOB_UID: job_uid,
                names.LABEL_ATTEMPT: str(task.attempt),
            },
            "annotations": {names.ANNOTATION_CLAIM: annotation},
            "ownerReferences": [owner_reference(name, job_uid)],
        },
        "spec": {"activeDeadlineSeconds": int(age) + seconds + DEADLINE_MARGIN_SECONDS},
    }
