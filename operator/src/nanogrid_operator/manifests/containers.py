"""The containers of a sandbox pod. Pure.

``sync-input``, ``agent`` and ``install-launcher`` run the executor image and are trusted.
``check-runtime`` and ``sandbox`` run the job's image or the user's code: they get no credential,
and what they can write is bounded.
"""

import json
from typing import Any

from nanogrid import assumed_role, log_line, names, result_auth, wire
from nanogrid.api.job import Spec
from nanogrid.ca_bundle import certificates
from nanogrid.quantity import quantity
from nanogrid_operator.manifests.placement import trusted_resources
from nanogrid_operator.manifests.task import resources, task_json
from nanogrid_operator.manifests.volumes import (
    EPHEMERAL,
    TERMINATION_FILE,
    mount,
    passwd_mount,
    sandbox_storage,
    termination_mount,
    workspace_size,
)
from nanogrid_operator.settings import Settings

PYTHON = ("python3", "-I", "-S")
# The working directory of the executor image is the workspace, which has the job's own files: with
# -P, Python takes no module from there. Not -m, nor the launcher's directory as a program: then
# Python imports runpy first, 1 ms of CPU in each container.
EXECUTOR = (
    "python3",
    "-P",
    "-S",
    "-c",
    "import sys; from nanogrid_executor.__main__ import main; sys.exit(main())",
)
LAUNCHER = "__main__.py"  # in the launcher's directory


def _foreign_image(spec: Spec, settings: Settings) -> str | None:
    """The job's own runtime image; None if it is the executor image."""
    image = spec.runtime.image if spec.runtime else None
    return image if image and image != settings.executor_image else None


def runtime_checks(spec: Spec, task: wire.PodTask, settings: Settings) -> list[dict[str, Any]]:
    """Containers that copy the launcher for a foreign image, and check that it runs there.

    The first one also waits for the network: the image's own Python is code of the job.
    """
    image = _foreign_image(spec, settings)
    if image is None:
        return []
    args = ["install-launcher", names.INSTALLED_LAUNCHER_DIR]
    env = [*log_env(settings), {"name": names.ENV_LOG_JOB, "value": _log_job(task)}]
    if task.gate_port is not None:
        args += ["--gate-port", str(task.gate_port)]
        env.append(_results_url(settings))
    mounts = [mount("run", names.RUN_DIR)]
    install = _executor(names.CONTAINER_INSTALL, settings, args, mounts, env=env)
    check = _untrusted(
        names.CONTAINER_CHECK,
        image,
        settings,
        [mount("run", names.RUN_DIR, read_only=True)],
        command=[*PYTHON, f"{names.INSTALLED_LAUNCHER_DIR}/{LAUNCHER}", "--check"],
        resources=trusted_resources(settings),
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    return [install, check]


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


def _trusted_env(task: wire.PodTask, settings: Settings) -> list[dict[str, Any]]:
    """Environment of the containers with access to S3; the sandbox gets none of it."""
    env: list[dict[str, Any]] = [
        {"name": names.ENV_TASK, "value": task_json(task)},
        {"name": names.ENV_S3_ENDPOINT, "value": settings.s3_endpoint},
        {"name": names.ENV_S3_REGION, "value": settings.s3_region},
        *log_env(settings),
    ]
    if settings.s3_ca_bundle:
        text = certificates(settings.s3_ca_bundle)
        env.append({"name": names.ENV_S3_CA_BUNDLE, "value": text})
    if settings.s3_proxy:
        env.append({"name": names.ENV_S3_PROXY, "value": settings.s3_proxy})
    if settings.s3_kms_key_id:
        env.append({"name": names.ENV_S3_KMS_KEY, "value": settings.s3_kms_key_id})
    env += _role_env(task, settings)
    if settings.s3_secret:
        env += [
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": settings.s3_secret, "key": key}},
            }
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ]
    return env


def log_env(settings: Settings) -> list[dict[str, Any]]:
    """How the platform's containers log. The sandbox's log is the user's."""
    return [
        {"name": log_line.ENV_FORMAT, "value": settings.log_format},
        {"name": log_line.ENV_LEVEL, "value": settings.executor_log_level},
    ]


def _log_job(task: wire.PodTask) -> str:
    fields = log_line.job_line_fields(
        task.namespace, task.job, task.uid, task.request_id, task.attempt
    )
    # The kubelet expands $(NAME) in environment values and arguments.
    return json.dumps(fields, separators=(",", ":")).replace("$", "\\u0024")


def _role_env(task: wire.PodTask, settings: Settings) -> list[dict[str, Any]]:
    """What the containers with access to S3 need to assume a role for it."""
    arn = settings.s3_sandbox_role_arn.replace(assumed_role.NAMESPACE, task.namespace)
    # Without a role too: the credentials of the service account's own role come from there.
    found = {names.ENV_STS_ENDPOINT: settings.sts_endpoint}
    if arn:
        found[names.ENV_S3_ROLE_ARN] = arn
        found[names.ENV_S3_ROLE_SESSION] = f"{task.namespace}.{task.job}"
        found[names.ENV_S3_ROLE_EXTERNAL_ID] = settings.s3_role_external_id
    return [{"name": name, "value": value} for name, value in found.items() if value]


def _executor(
    name: str,
    settings: Settings,
    args: list[str],
    mounts: list[dict[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """A container that runs the executor package from its own image."""
    return _container(
        name,
        settings.executor_image,
        settings,
        command=[*EXECUTOR, *args],
        resources=trusted_resources(settings),
        volumeMounts=mounts,
        **more,
    )


def sync_container(task: wire.PodTask, settings: Settings) -> dict[str, Any]:
    """The init container that copies and verifies input from S3."""
    mounts = [mount("workspace", names.WORKSPACE), mount("run", names.RUN_DIR)]
    env = _trusted_env(task, settings)
    return _executor(names.CONTAINER_SYNC, settings, ["sync"], mounts, env=env)


def _results_url(settings: Settings) -> dict[str, Any]:
    return {"name": names.ENV_RESULTS_URL, "value": settings.results_url}


def _secret_env(spec: Spec) -> list[dict[str, Any]]:
    """The code's variables from Secrets: the kubelet fills them in, so no object has the values.

    Only the agent gets them. It passes them to the launcher with the code, so no other container
    and no image of a job sees them before the code runs.
    """
    return [
        {
            "name": names.SECRET_ENV_PREFIX + variable.name,
            "valueFrom": {"secretKeyRef": variable.value_from.secret_key_ref.model_dump()},
        }
        for variable in spec.env
        if variable.value_from is not None
    ]


def agent_container(spec: Spec, task: wire.PodTask, settings: Settings) -> dict[str, Any]:
    """The container that runs the code through the launcher, stores outputs and reports."""
    mounts = [
        mount("workspace", names.WORKSPACE),
        mount("run", names.RUN_DIR),
        mount("token", names.TOKEN_DIR, read_only=True),
    ]
    key = result_auth.derive_key(settings.result_key_master, task.uid)
    env = [
        *_trusted_env(task, settings),
        _results_url(settings),
        {"name": names.ENV_RESULT_KEY, "value": key},
        *_secret_env(spec),
    ]
    return _executor(names.CONTAINER_AGENT, settings, ["agent"], mounts, env=env)


def _untrusted(
    name: str, image: str, settings: Settings, mounts: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """A container that runs the job's image or the user's code."""
    return _container(
        name,
        image,
        settings,
        volumeMounts=[*mounts, termination_mount()],
        terminationMessagePath=TERMINATION_FILE,
        **more,
    )


def sandbox_container(
    spec: Spec, task: wire.PodTask, settings: Settings, memory_limit: int | None
) -> dict[str, Any]:
    """The container of the launcher and the user's code, without any credential."""
    limits, requests = resources(spec, settings, memory_limit)
    limits[EPHEMERAL], requests[EPHEMERAL] = sandbox_storage(spec, settings)
    options = [*_process_limits(spec, settings), *_launcher_logs(task, settings)]
    foreign = _foreign_image(spec, settings)
    launcher = names.INSTALLED_LAUNCHER_DIR if foreign else names.LAUNCHER_DIR
    mounts = [
        mount("workspace", names.WORKSPACE),
        # Connecting needs no write access to the mount. Read-only, user code cannot replace the
        # socket.
        mount("run", names.RUN_DIR, read_only=True),
        mount("tmp", "/tmp"),  # noqa: S108 a volume of the sandbox
        passwd_mount(),
    ]
    return _untrusted(
        names.CONTAINER_SANDBOX,
        foreign or settings.executor_image,
        settings,
        mounts,
        command=[*PYTHON, f"{launcher}/{LAUNCHER}", *options],
        workingDir=names.WORKSPACE,
        resources={"limits": limits, "requests": requests},
    )


def _process_limits(spec: Spec, settings: Settings) -> list[str]:
    """Arguments of the launcher: limits of the kernel for user code."""
    largest = max(quantity(workspace_size(spec, settings)), quantity(settings.tmp_size))
    found = [f"--max-file-bytes={int(largest)}"]
    if settings.max_processes:
        found.append(f"--max-processes={settings.max_processes}")
    return found


def _launcher_logs(task: wire.PodTask, settings: Settings) -> list[str]:
    """Arguments of the launcher: the form of its own lines, and the job that they are about."""
    return [f"--log-format={settings.log_format}", f"--log-job={_log_job(task)}"]
