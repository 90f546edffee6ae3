"""From a job to the manifest of its sandbox pod. Pure: no client, no clock.

The pod has up to three containers. ``sync-input`` (init; only when there is something to sync)
copies and verifies S3 input, ``agent`` owns the credentials and reports, ``sandbox`` runs the
launcher and the user's code with no credential at all. All of them meet the ``restricted`` Pod
Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

import hashlib
from typing import Any

from nanogrid import names, wire
from nanogrid.job import ExecutionJob, Spec
from nanogrid.spec_data import S3Location
from nanogrid.spec_run import Timeouts
from nanogrid_operator.quantity import quantity
from nanogrid_operator.settings import Settings

USER_ID = 65532
LAUNCHER = ["python3", "-I", "-S", "/opt/nanogrid/launcher"]
MAX_SYNC_SECONDS = 3600


class InvalidSpecError(ValueError):
    """The spec passed the CRD's schema and still cannot be run; the message says why."""


def pod_name(job_name: str, uid: str, attempt: int) -> str:
    """The pod's name: fixed for a job and attempt, so that a second create is a conflict."""
    digest = hashlib.sha256(uid.encode()).hexdigest()[:8]
    return f"{job_name}-{digest}-{attempt}"


def task_for(job: ExecutionJob, attempt: int, settings: Settings) -> wire.Task:
    """What the pod's trusted containers need to know.

    Raises:
        InvalidSpecError: the spec needs a bucket and there is none, or it is too large.
    """
    spec = job.spec
    uid = job.metadata["uid"]
    request_id = spec.request_id or uid
    timeouts = spec.timeouts or Timeouts()
    target = spec.outputs.s3 if spec.outputs else None
    output_bucket = (target and target.bucket) or settings.s3_bucket
    prefix = (target and target.prefix) or names.outputs_prefix(request_id)
    limits, _ = _resources(spec, settings)
    task = wire.Task(
        namespace=job.metadata["namespace"],
        job=job.metadata["name"],
        uid=uid,
        attempt=attempt,
        request_id=request_id,
        function_id=spec.function_id,
        execution_timeout_seconds=float(timeouts.execution_seconds),
        termination_grace_seconds=settings.termination_grace_seconds,
        upload_timeout_seconds=float(timeouts.upload_seconds),
        command=(spec.command or ["python3", names.ENTRYPOINT]) + (spec.args or []),
        env={e.name: e.value for e in spec.env},
        stdin=spec.stdin or "",
        code_inline=spec.code.inline,
        code_s3=_code_source(spec, settings),
        inputs=[
            wire.Input(
                name=i.name,
                s3=_source(i.s3, settings),
                mount_path=i.mount_path,
                required=i.required,
                min_files=i.min_files,
                max_bytes=i.max_bytes,
            )
            for i in spec.inputs
        ],
        bucket=settings.s3_bucket,
        output_bucket=output_bucket,
        output_prefix=prefix if prefix.endswith("/") else prefix + "/",
        output_path=spec.outputs.path if spec.outputs else names.DEFAULT_OUTPUT_DIR,
        memory_limit_bytes=int(quantity(limits["memory"])),
    )
    size = len(_task_json(task).encode())
    if size > wire.TASK_CAP_BYTES:
        raise InvalidSpecError(
            f"code, stdin, env and args together have {size} bytes, at most "
            f"{wire.TASK_CAP_BYTES} fit into a pod: put the code into a ZIP in S3 (spec.code.s3)"
        )
    return task


def _source(s3: S3Location, settings: Settings) -> wire.S3Source:
    return wire.S3Source(
        bucket=_bucket(s3.bucket, settings), key=s3.key, prefix=s3.prefix, sha256=s3.sha256
    )


def _code_source(spec: Spec, settings: Settings) -> wire.S3Source | None:
    s3 = spec.code.s3
    if s3 is None:
        return None
    return wire.S3Source(bucket=_bucket(s3.bucket, settings), key=s3.key, sha256=s3.sha256)


def _bucket(named: str | None, settings: Settings) -> str:
    bucket = named or settings.s3_bucket
    if not bucket:
        raise InvalidSpecError(
            "the spec names no bucket and the operator has no default one: set s3.bucket in the "
            "chart's values, or bucket in the spec"
        )
    return bucket


def _task_json(task: wire.Task) -> str:
    # The kubelet expands $(NAME) in environment values; an escaped dollar is no dollar to it.
    return wire.dumps(task).replace("$", "\\u0024")


def needs_sync(task: wire.Task) -> bool:
    """Whether anything must come from S3 before the code may start."""
    return task.code_s3 is not None or bool(task.inputs)


def build_pod(job: ExecutionJob, attempt: int, settings: Settings) -> dict[str, Any]:
    """The pod's whole manifest.

    Raises:
        InvalidSpecError: see :func:`task_for`.
    """
    task = task_for(job, attempt, settings)
    timeouts = job.spec.timeouts or Timeouts()
    synced = needs_sync(task)
    deadline = (
        timeouts.startup_seconds
        + (MAX_SYNC_SECONDS if synced else 0)
        + timeouts.execution_seconds
        + int(task.termination_grace_seconds)
        + timeouts.upload_seconds
    )
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": deadline,
        "terminationGracePeriodSeconds": int(task.termination_grace_seconds) + 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # One after another, about 0.1 s each: the launcher waits for the agent, so it is first.
        "containers": [_agent(task, settings), _sandbox(job.spec, settings)],
        "volumes": _volumes(settings),
    }
    if synced:
        spec["initContainers"] = [_sync(task, settings)]
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, attempt),
        "spec": spec,
    }


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
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": name,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _volumes(settings: Settings) -> list[dict[str, Any]]:
    return [
        {"name": "workspace", "emptyDir": {"sizeLimit": settings.workspace_size}},
        {"name": "run", "emptyDir": {"sizeLimit": "64Mi"}},
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
        {"name": names.ENV_TASK, "value": _task_json(task)},
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


_TRUSTED_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"cpu": "1", "memory": "256Mi"},
}


def _sync(task: wire.Task, settings: Settings) -> dict[str, Any]:
    return _container(
        names.CONTAINER_SYNC,
        settings.executor_image,
        settings,
        command=["python3", "-m", "nanogrid_executor", "sync"],
        env=_trusted_env(task, settings),
        resources=_TRUSTED_RESOURCES,
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
        resources=_TRUSTED_RESOURCES,
        volumeMounts=[
            _mount("workspace", names.WORKSPACE),
            _mount("run", names.RUN_DIR),
            _mount("token", names.TOKEN_DIR, read_only=True),
        ],
    )


def _sandbox(spec: Spec, settings: Settings) -> dict[str, Any]:
    limits, requests = _resources(spec, settings)
    image = (spec.runtime and spec.runtime.image) or settings.executor_image
    return _container(
        names.CONTAINER_SANDBOX,
        image,
        settings,
        command=LAUNCHER,
        workingDir=names.WORKSPACE,
        resources={"limits": limits, "requests": requests},
        volumeMounts=[
            _mount("workspace", names.WORKSPACE),
            # A connect needs no write right on the mount, so user code cannot replace the socket.
            _mount("run", names.RUN_DIR, read_only=True),
            _mount("tmp", "/tmp"),  # noqa: S108 the sandbox's own
        ],
    )


def _resources(spec: Spec, settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    given = spec.resources
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    requests: dict[str, str] = {}
    if given and given.limits:
        limits |= given.limits.amounts()
        requests |= given.limits.amounts()
    if given and given.requests:
        requests |= given.requests.amounts()
    if "cpu" not in requests:
        small = min((limits["cpu"], settings.cpu_request), key=quantity)
        requests["cpu"] = small
    requests.setdefault("memory", limits["memory"])
    for name in ("cpu", "memory"):
        if quantity(requests[name]) > quantity(limits[name]):
            raise InvalidSpecError(
                f"resources.requests.{name} {requests[name]} exceeds the limit {limits[name]}: "
                f"raise resources.limits.{name}"
            )
    return limits, requests
