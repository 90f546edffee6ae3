"""Whether a job can run in a pool's pod: the job's own pod is compared with the pool's. Pure.

Each difference is said in the words of the job's spec.
"""

from collections.abc import Callable, Iterator
from typing import Final

from nanogrid import names
from nanogrid.api.job import Spec
from nanogrid.api.session import EXPOSE_ROUTER
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.model.pool import ENV_OF_JOB

# Of the pod's spec, with the field of the job that each comes from.
EQUAL: Final = {
    "runtimeClassName": "runtime.runtimeClassName",
    "serviceAccountName": "serviceAccountName",
    "hostUsers": "runtime.runtimeClassName",
    "imagePullSecrets": "runtime.image",
}
NO: Final = "none"


def misfit(spec: Spec, pod: Json, template: Json) -> str:
    """Why a job cannot run in a pool's pod; empty if it can.

    Args:
        spec: The job's.
        pod: The manifest of a pod of the job's own.
        template: The manifest of a pod of the pool.
    """
    found = [why for check in CHECKS for why in check(spec, pod, template)]
    return "; ".join(found)


def _kind(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    own, pools = (each["spec"]["restartPolicy"] for each in (pod, template))
    if own != pools:
        jobs = ("a session", "batch jobs") if spec.is_session else ("a batch job", "sessions")
        yield "it is {}, and the pool's pods are for {} (spec.mode of the pool)".format(*jobs)
    if spec.is_session and (expose := spec.session_rules.expose) != EXPOSE_ROUTER:
        yield f"spec.session.expose is {expose}, and only the router reaches a pod of a pool"
    if any(variable.value_from is not None for variable in spec.env):
        yield "it has variables from Secrets, which a pod gets only when it is created"
    if any(label in pod["metadata"]["labels"] for label in names.KUEUE_LABELS):
        yield "it is in a queue of Kueue"


def _network(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    own, pools = (each["metadata"]["labels"].get(names.LABEL_EGRESS) for each in (pod, template))
    if own != pools:
        yield f"spec.network.egress is {own}, and that of the pool's pods is {pools}"


def _images(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    own, pools = (_sandbox(each)["image"] for each in (pod, template))
    if own != pools:
        yield f"its image is {own}, and that of the pool is {pools}"


def _resources(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    for kind in ("limits", "requests"):
        own, pools = (_sandbox(each)["resources"][kind] for each in (pod, template))
        for name, amount in own.items():
            given = pools.get(name, "0")
            if quantity(amount) > quantity(given):
                yield f"resources.{kind}.{name} is {amount}, and that of the pool is {given}"


def _volumes(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    own, pools = _sizes(pod), _sizes(template)
    for name, size in own.items():
        if name not in pools or quantity(size) > quantity(pools[name]):
            yield f"its volume {name} has {size}, and that of the pool {pools.get(name, NO)}"


def _pod(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    for key, field in EQUAL.items():
        own, pools = pod["spec"].get(key), template["spec"].get(key)
        if own != pools:
            yield f"spec.{field}: {key} is {own or NO}, and that of the pool is {pools or NO}"
    priority = spec.priority_class_name
    if priority not in (None, template["spec"].get("priorityClassName")):
        yield f"spec.priorityClassName is {priority}: a pool's pods have the priority of the pool"
    key = "terminationGracePeriodSeconds"
    if pod["spec"][key] > template["spec"][key]:
        yield (
            f"it may need {pod['spec'][key]} s to stop (terminationGracePeriodSeconds and "
            f"timeouts.uploadSeconds), and a pod of the pool has {template['spec'][key]} s"
        )


def _containers(spec: Spec, pod: Json, template: Json) -> Iterator[str]:
    own, pools = (_names(each) for each in (pod, template))
    if own != pools:
        yield f"its pod has the containers {', '.join(own)}, the pool's {', '.join(pools)}"
    elif _environment(pod) != _environment(template):
        yield "the settings of its agent are others than those of the pool's pods"


Check = Callable[[Spec, Json, Json], Iterator[str]]
CHECKS: Final[tuple[Check, ...]] = (
    _kind, _network, _images, _resources, _volumes, _pod, _containers,
)  # fmt: skip


def _sandbox(pod: Json) -> Json:
    found: Json = pod["spec"]["containers"][1]
    return found


def _sizes(pod: Json) -> dict[str, str]:
    return {
        volume["name"]: volume["emptyDir"]["sizeLimit"]
        for volume in pod["spec"]["volumes"]
        if "emptyDir" in volume
    }


def _names(pod: Json) -> list[str]:
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return [c["name"] for c in every if c["name"] != names.CONTAINER_SYNC]


def _environment(pod: Json) -> list[Json]:
    """The agent's environment, without that of a job or of a pool."""
    left_out = {*ENV_OF_JOB, names.ENV_POOL_TASK}
    return [
        variable
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] not in left_out
        and not variable["name"].startswith(names.SECRET_ENV_PREFIX)
    ]
