"""From a job to the manifest of its sandbox pod. Pure: no client, no clock.

The pod has up to three containers. ``sync-input`` (init; only when there is something to sync)
copies and verifies S3 input, ``agent`` owns the credentials and reports, ``sandbox`` runs the
launcher and the user's code with no credential at all. All of them meet the ``restricted`` Pod
Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

from typing import Any

from nanogrid import names, wire
from nanogrid.job import ExecutionJob, Spec
from nanogrid.spec_run import Timeouts
from nanogrid_operator.facts import owner_reference
from nanogrid_operator.placement import place, trusted_resources
from nanogrid_operator.sessionpod import adapt
from nanogrid_operator.settings import Settings
from nanogrid_operator.task import resources, task_for, task_json

USER_ID = 65532
POD_NAME_MAX = 63
PYTHON = ("python3", "-I", "-S")


def pod_name(job_name: str, uid: str, attempt: int) -> str:
    """The pod's name: fixed for a job and attempt, so that a second create is a conflict.

    It is the pod's host name as well, which has at most 63 characters; only the longest names of
    jobs are cut for it, from attempt 10 on, and the digest still tells them apart.
    """
    suffix = f"-{names.short_digest(uid)}-{attempt}"
    return job_name[: POD_NAME_MAX - len(suffix)].rstrip("-.") + suffix


def needs_sync(task: wire.Task) -> bool:
    """Whether anything must come from S3 before the code may start."""
    return task.code_s3 is not None or bool(task.inputs)


def build_pod(
    job: ExecutionJob, attempt: int, settings: Settings, memory_limit: int | None = None
) -> dict[str, Any]:
    """The pod's whole manifest; ``memory_limit`` in bytes overrides the spec's.

    Raises:
        InvalidSpecError: see :func:`nanogrid_operator.task.task_for`.
    """
    task = task_for(job, attempt, settings, memory_limit)
    timeouts = job.spec.timeouts or Timeouts()
    synced = needs_sync(task)
    deadline = (
        timeouts.startup_seconds
        + (timeouts.input_sync_seconds if synced else 0)
        + timeouts.execution_seconds
        + int(task.termination_grace_seconds)
        + timeouts.upload_seconds
    )
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": job.spec.service_account_name or settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": deadline,
        # SIGTERM, the grace of the user's code, then what the agent needs to store and report.
        "terminationGracePeriodSeconds": int(task.termination_grace_seconds)
        + min(timeouts.upload_seconds, names.STOP_UPLOAD_SECONDS)
        + 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # One after another, about 0.1 s each: the launcher waits for the agent, so it is first.
        "containers": [_agent(task, settings), _sandbox(job.spec, settings, memory_limit)],
        "volumes": _volumes(settings),
        "tolerations": _tolerations(settings),
    }
    spec |= _options(job.spec, settings)
    first = _runtime_checks(job.spec, settings) + ([_sync(task, settings)] if synced else [])
    if first:
        spec["initContainers"] = first
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, attempt),
        "spec": spec,
    }
    if job.spec.is_session:
        adapt(pod, job, settings)
    return place(pod, settings)


def _tolerations(settings: Settings) -> list[dict[str, Any]]:
    """Give a silent node less time than the 300 s that the API server puts in by default."""
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
    """Fields of the pod's spec that are left out when they are not set."""
    runtime = (spec.runtime and spec.runtime.runtime_class_name) or settings.runtime_class
    options = {"runtimeClassName": runtime, "priorityClassName": spec.priority_class_name}
    return {name: value for name, value in options.items() if value}


def _foreign_image(spec: Spec, settings: Settings) -> str | None:
    """The job's own runtime image, unless it is ours."""
    image = spec.runtime.image if spec.runtime else None
    return image if image and image != settings.executor_image else None


def _runtime_checks(spec: Spec, settings: Settings) -> list[dict[str, Any]]:
    """Put the launcher into reach of an image that is not ours, and see that it runs there."""
    image = _foreign_image(spec, settings)
    if image is None:
        return []
    module = ["python3", "-m", "nanogrid_executor"]
    install = _container(
        names.CONTAINER_INSTALL,
        settings.executor_image,
        settings,
        command=[*module, "install-launcher", names.INSTALLED_LAUNCHER_DIR],
        resources=trusted_resources(settings),
        volumeMounts=[_mount("run", names.RUN_DIR)],
    )
    check = _container(
        names.CONTAINER_CHECK,
        image,
        settings,
        command=[*PYTHON, names.INSTALLED_LAUNCHER_DIR, "--check"],
        resources=trusted_resources(settings),
        terminationMessagePolicy="FallbackToLogsOnError",
        volumeMounts=[_mount("run", names.RUN_DIR, read_only=True)],
    )
    return [install, check]


def _metadata(job: ExecutionJob, attempt: int) -> dict[str, Any]:
    name, uid = job.metadata["name"], job.metadata["uid"]
    return {
        "name": pod_name(name, uid, attempt),
        "namespace": job.metadata["namespace"],
        "labels": {
            "app.kubernetes.io/name": "nanogrid-sandbox",
            "app.kubernetes.io/managed-by": names.MANAGED_BY,
            names.LABEL_JOB: name,
            names.LABEL_JOB_UID: uid,
            names.LABEL_ATTEMPT: str(attempt),
        },
        "annotations": {
            names.ANNOTATION_DEFAULT_CONTAINER: names.CONTAINER_SANDBOX,
            names.ANNOTATION_IRSA_SKIP: names.CONTAINER_SANDBOX,
        },
        "ownerReferences": [owner_reference(name, uid)],
    }


def _volumes(settings: Settings) -> list[dict[str, Any]]:
    return [
        {"name": "workspace", "emptyDir": {"sizeLimit": settings.workspace_size}},
        {"name": "run", "emptyDir": {"sizeLimit": "96Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": settings.tmp_size}},
        {
            "name": "token",
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "audience": names.RESULTS_AUDIENCE,
                            "expirationSeconds": 3600,
                            "path": "token",
                        }
                    }
                ]
            },
        },
    ]


def _mount(name: str, path: str, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    return mount


def _container(name: str, image: str, settings: Settings, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def _trusted_env(task: wire.Task, settings: Settings) -> list[dict[str, Any]]:
    """Environment of the containers that may talk to S3; the sandbox gets none of it."""
    env: list[dict[str, Any]] = [
        {"name": names.ENV_TASK, "value": task_json(task)},
        {"name": names.ENV_S3_ENDPOINT, "value": settings.s3_endpoint},
        {"name": names.ENV_S3_REGION, "value": settings.s3_region},
    ]
    if settings.s3_secret:
        env += [
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": settings.s3_secret, "key": key}},
            }
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ]
    return env


def _sync(task: wire.Task, settings: Settings) -> dict[str, Any]:
    return _container(
        names.CONTAINER_SYNC,
        settings.executor_image,
        settings,
        command=["python3", "-m", "nanogrid_executor", "sync"],
        env=_trusted_env(task, settings),
        resources=trusted_resources(settings),
        volumeMounts=[_mount("workspace", names.WORKSPACE), _mount("run", names.RUN_DIR)],
    )


def _agent(task: wire.Task, settings: Settings) -> dict[str, Any]:
    return _container(
        names.CONTAINER_AGENT,
        settings.executor_image,
        settings,
        command=["python3", "-m", "nanogrid_executor", "agent"],
        env=[
            *_trusted_env(task, settings),
            {"name": names.ENV_RESULTS_URL, "value": settings.results_url},
        ],
        resources=trusted_resources(settings),
        volumeMounts=[
            _mount("workspace", names.WORKSPACE),
            _mount("run", names.RUN_DIR),
            _mount("token", names.TOKEN_DIR, read_only=True),
        ],
    )


def _sandbox(spec: Spec, settings: Settings, memory_limit: int | None) -> dict[str, Any]:
    limits, requests = resources(spec, settings, memory_limit)
    foreign = _foreign_image(spec, settings)
    launcher = names.INSTALLED_LAUNCHER_DIR if foreign else names.LAUNCHER_DIR
    return _container(
        names.CONTAINER_SANDBOX,
        foreign or settings.executor_image,
        settings,
        command=[*PYTHON, launcher],
        workingDir=names.WORKSPACE,
        resources={"limits": limits, "requests": requests},
        volumeMounts=[
            _mount("workspace", names.WORKSPACE),
            # A connect needs no write right on the mount, so user code cannot replace the socket.
            _mount("run", names.RUN_DIR, read_only=True),
            _mount("tmp", "/tmp"),  # noqa: S108 the sandbox's own
        ],
    )
