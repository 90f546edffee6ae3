"""Jobs and pods with all fields that an API server, a scheduler and a kubelet write. Pure.

A watch brings whole objects, and the operator pays for each byte: so these have the defaults that
the API server fills in, and its record of who owns which field, as Kubernetes 1.34 has them.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from nanogrid.types import Json

NODE: Final = "worker-1.eu-central-1.compute.internal"
POD_IP: Final = "10.244.1.17"
HOST_IP: Final = "10.0.12.201"
_POD_DEFAULTS: Final[Json] = {
    "dnsPolicy": "ClusterFirst",
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "schedulerName": "default-scheduler",
}
_CONTAINER_DEFAULTS: Final[Json] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_JOB_DEFAULTS: Final[Json] = {"backoffLimit": 0, "cancel": False, "mode": "Batch", "suspend": False}
_CONDITIONS: Final = (
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
)  # fmt: skip


def managed(manager: str, at: str, parts: Json, subresource: str = "") -> Json:
    """One entry of managedFields: who wrote these parts of an object."""
    entry: Json = {
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields(parts),
        "manager": manager,
        "operation": "Update",
        "time": at,
    }
    return entry | ({"subresource": subresource} if subresource else {})


def _fields(value: Any) -> Json:
    if isinstance(value, dict):
        return {f"f:{key}": _fields(each) for key, each in value.items()}
    if isinstance(value, list):
        return dict(_items(value))
    return {}


def _items(values: list[Any]) -> Iterator[tuple[str, Json]]:
    """The items of a list that has keys; of another list nothing, it is one value."""
    for value in values:
        for key in ("name", "type", "mountPath", "uid", "ip"):
            if isinstance(value, dict) and key in value:
                named = json.dumps({key: value[key]}, separators=(",", ":"))
                yield f"k:{named}", {".": {}, **_fields(value)}
                break


def stored_job(body: Json, at: str) -> Json:
    """A job as the API server stores it."""
    spec = {**_JOB_DEFAULTS, **body["spec"]}
    metadata = body["metadata"] | {
        "creationTimestamp": at,
        "generation": 1,
        "managedFields": [managed("nanogrid-client", at, {"spec": spec})],
    }
    return body | {"metadata": metadata, "spec": spec}


def written_job(body: Json, at: str) -> Json:
    """A job after a write of its status."""
    entries = [e for e in body["metadata"]["managedFields"] if "subresource" not in e]
    entries.append(managed("nanogrid-operator", at, {"status": body["status"]}, "status"))
    return body | {"metadata": body["metadata"] | {"managedFields": entries}}


def stored_pod(body: Json, at: str) -> Json:
    """A new pod as the API server stores it."""
    wrote = managed("nanogrid-operator", at, {"metadata": body["metadata"], "spec": body["spec"]})
    spec = {**_POD_DEFAULTS, **body["spec"]}
    account = spec["serviceAccountName"]
    spec |= {"serviceAccount": account}
    spec["containers"] = [{**_CONTAINER_DEFAULTS, **c} for c in spec["containers"]]
    metadata = body["metadata"] | {
        "creationTimestamp": at,
        "generation": 1,
        "managedFields": [wrote],
    }
    return body | {
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def bound(pod: Json, at: str) -> Json:
    """A pod that has got its node."""
    status = pod["status"] | {"conditions": [_condition("PodScheduled", at, is_true=True)]}
    return pod | {"spec": pod["spec"] | {"nodeName": NODE}, "status": status}


def creating(pod: Json, at: str) -> Json:
    """A pod whose containers the kubelet creates."""
    states: list[Json] = [{"waiting": {"reason": "ContainerCreating"}} for _ in range(2)]
    status = pod["status"] | {"hostIP": HOST_IP, "hostIPs": [{"ip": HOST_IP}], "startTime": at}
    return _reported(pod | {"status": status}, at, "Pending", states, {"Initialized"})


def running(pod: Json, at: str) -> Json:
    """A pod whose containers run."""
    states: list[Json] = [{"running": {"startedAt": at}} for _ in range(2)]
    status = pod["status"] | {"podIP": POD_IP, "podIPs": [{"ip": POD_IP}]}
    return _reported(pod | {"status": status}, at, "Running", states, set(_CONDITIONS))


def ended(pod: Json, at: str, phase: str, message: str) -> Json:
    """A pod whose containers have ended; ``message`` is the agent's."""
    state = {"exitCode": 0, "finishedAt": at, "reason": "Completed", "startedAt": at}
    states: list[Json] = [{"terminated": state | {"message": message}}, {"terminated": state}]
    true = {"Initialized"} | ({"PodReadyToStartContainers"} if phase == "Running" else set())
    return _reported(pod, at, phase, states, true)


def deleting(pod: Json, at: str) -> Json:
    """A pod that is being deleted."""
    times = {"deletionTimestamp": at, "deletionGracePeriodSeconds": 0, "generation": 2}
    return pod | {"metadata": pod["metadata"] | times}


def _reported(pod: Json, at: str, phase: str, states: list[Json], true: set[str]) -> Json:
    """What the kubelet writes."""
    containers = zip(pod["spec"]["containers"], states, strict=True)
    status = pod["status"] | {
        "phase": phase,
        "conditions": [
            _condition(name, at, is_true=name in true | {"PodScheduled"}) for name in _CONDITIONS
        ],
        "containerStatuses": [_container(pod, c, state) for c, state in containers],
    }
    entries = [e for e in pod["metadata"]["managedFields"] if "subresource" not in e]
    entries.append(managed("kubelet", at, {"status": status}, "status"))
    return pod | {"metadata": pod["metadata"] | {"managedFields": entries}, "status": status}


def _condition(kind: str, at: str, *, is_true: bool) -> Json:
    found: Json = {"lastProbeTime": None, "lastTransitionTime": at, "observedGeneration": 1}
    return found | {"status": "True" if is_true else "False", "type": kind}


def _container(pod: Json, container: Json, state: Json) -> Json:
    """The status of a container."""
    key = f"{pod['metadata']['uid']}/{container['name']}"
    number = hashlib.sha256(key.encode()).hexdigest()
    begun = "waiting" not in state
    if "terminated" in state:
        state = {"terminated": {"containerID": f"containerd://{number}", **state["terminated"]}}
    return {
        "allocatedResources": container["resources"].get("requests", {}),
        "image": container["image"],
        "imageID": f"{container['image']}@sha256:{'c' * 64}" if begun else "",
        "lastState": {},
        "name": container["name"],
        "ready": "running" in state,
        "resources": container["resources"],
        "restartCount": 0,
        "started": "running" in state,
        "state": state,
        "volumeMounts": [
            mount | ({"recursiveReadOnly": "Disabled"} if mount.get("readOnly") else {})
            for mount in container["volumeMounts"]
        ],
    } | ({"containerID": f"containerd://{number}"} if begun else {})
