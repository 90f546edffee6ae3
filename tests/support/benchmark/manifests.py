"""Manifests of what an ExecutionJob is compared with: same image, limits and containers. Pure."""

import copy
from typing import Final

from nanogrid import names
from nanogrid.types import Json

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
# The clock first. The boot id says whether the clock is that of the observer's machine. The start
# of the container's first process is field 22 of its stat, in ticks since the machine has started.
CODE: Final = f"""import time
at = time.monotonic()
import os
up = time.clock_gettime(time.CLOCK_BOOTTIME)
ticks = int(open("/proc/1/stat").read().rpartition(")")[2].split()[19])
began = at - up + ticks / os.sysconf("SC_CLK_TCK")
print(at, began, open({BOOT_ID!r}).read().strip())
"""
COMMAND: Final = ["python3", "-c", CODE]
NOTHING: Final = ["python3", "-c", "pass"]
MAIN: Final = "main"
# The defaults of a job's sandbox container.
RESOURCES: Final[Json] = {
    "limits": {"cpu": "1", "memory": "256Mi"},
    "requests": {"cpu": "100m", "memory": "256Mi"},
}
# Sixty pods must fit at once on the nodes of one machine, so the pods of bursts and pools reserve
# little CPU, and use the node of the control plane too. Limits are those of the other subjects.
LITTLE: Final[Json] = {
    "limits": RESOURCES["limits"], "requests": RESOURCES["requests"] | {"cpu": "10m"}
}  # fmt: skip
TOLERATIONS: Final[list[Json]] = [
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
]
USER: Final = 65532
CONTAINER_SECURITY: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def printed_times(printed: str, boot_id: str) -> tuple[float, float] | None:
    """What CODE has printed: its first instruction, and the start of its container.

    Both in seconds of the clock, the start to 10 ms. None if the clock is another machine's.

    Raises:
        ValueError: the text is not that of CODE.
    """
    at, began, machine = printed.strip("\n").split(" ")
    return (float(at), float(began)) if machine == boot_id and boot_id else None


def container(image: str, name: str = MAIN, command: list[str] | None = None) -> Json:
    """A container that runs CODE, or a command."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": COMMAND if command is None else command,
        "resources": copy.deepcopy(RESOURCES),
        "securityContext": copy.deepcopy(CONTAINER_SECURITY),
    }


def pod_spec(image: str, *, volume: bool = False, init: bool = False) -> Json:
    """The spec of a pod that runs CODE, with an emptyDir or an init container that does nothing."""
    main = container(image)
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
    }
    first = container(image, "init", NOTHING)
    if init:
        spec["initContainers"] = [first]
    if volume:
        spec["volumes"] = [{"name": "workspace", "emptyDir": {"sizeLimit": "1Gi"}}]
        for one in (main, first):
            one["volumeMounts"] = [{"name": "workspace", "mountPath": "/app"}]
    return spec


def pod(name: str, spec: Json, metadata: Json | None = None) -> Json:
    """A bare pod, with annotations and labels."""
    given = {"name": name} | (metadata or {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": given, "spec": spec}


def batch_job(name: str, spec: Json) -> Json:
    """A batch/v1 Job of one pod."""
    body = {"backoffLimit": 0, "template": {"spec": spec}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def execution_job(name: str, **spec: object) -> Json:
    """An ExecutionJob that runs CODE."""
    fields = {"requestId": name, "code": {"inline": CODE}} | spec
    metadata = {"name": name}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": metadata,
        "spec": fields,
    }


def execution_pool(name: str, ready: int, most: int) -> Json:
    """An ExecutionPool with this many waiting pods."""
    spec = {"minReady": ready, "maxReady": most, "resources": LITTLE, "tolerations": TOLERATIONS}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.POOL_KIND,
        "metadata": {"name": name},
        "spec": spec,
    }


def for_burst(spec: Json) -> Json:
    """The spec of a pod, whose last container runs the code, with the requests of bursts."""
    *others, main = spec["containers"]
    containers = [*others, main | {"resources": copy.deepcopy(LITTLE)}]
    return spec | {"containers": containers, "tolerations": copy.deepcopy(TOLERATIONS)}


def bare_copy(observed: Json, *, with_init: bool, with_agent: bool) -> tuple[Json, Json]:
    """Spec and metadata of a bare pod of the same containers and volumes as a job's pod.

    The sandbox's container runs CODE without the launcher. The agent's does nothing. The init
    container, which needs no operator, does what it does in a job: it copies the inputs. Without
    the labels of a job's pod the operator does not know it, so it needs :func:`s3_policy`.

    Args:
        observed: The pod of an ExecutionJob, as the API server has it.
        with_init: Keep its init containers.
        with_agent: Keep its agent's container.
    """
    given = observed["spec"]
    kept = (
        "restartPolicy", "serviceAccountName", "automountServiceAccountToken",
        "enableServiceLinks", "securityContext", "tolerations", "volumes", "initContainers",
        "nodeSelector", "imagePullSecrets", "runtimeClassName", "hostUsers",
    )  # fmt: skip
    spec = copy.deepcopy({key: given[key] for key in kept if key in given})
    spec["terminationGracePeriodSeconds"] = 1
    if not with_init:
        spec.pop("initContainers", None)
    commands = {names.CONTAINER_SANDBOX: COMMAND}
    if with_agent:
        commands[names.CONTAINER_AGENT] = NOTHING
    spec["containers"] = []
    for one in copy.deepcopy(given["containers"]):
        if one["name"] in commands:
            for other in ("args", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
                one.pop(other, None)
            one.pop("workingDir", None)
            spec["containers"].append(one | {"command": commands[one["name"]]})
    return spec, {"annotations": dict(observed["metadata"].get("annotations") or {})}


def s3_policy(namespace: str, release: str) -> Json:
    """Lets all pods of a namespace reach the S3 server of devServices, as pods of jobs may."""
    server = {"app.kubernetes.io/component": "dev-s3", "app.kubernetes.io/instance": release}
    source = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "podSelector": {"matchLabels": server},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": source}]}],
        },
    }
