"""What the platform team adds to every sandbox pod: labels, placement, sizes. Pure."""

from typing import Final

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.manifests.volumes import EPHEMERAL, trusted_storage
from nanogrid_operator.settings import AGENT_REQUESTS, Settings

# A constraint without a selector would count no pod.
ALL_SANDBOXES: Final = {
    "labelSelector": {"matchExpressions": [{"key": names.LABEL_JOB_UID, "operator": "Exists"}]}
}


def place(pod: Json, settings: Settings) -> Json:
    """Add the installation's labels, annotations and placement; returns the pod.

    Values of NanoGrid win, so that a label of the installation cannot misidentify a pod.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    for name, given in (
        ("labels", settings.objects("pod_labels")),
        ("annotations", settings.objects("pod_annotations")),
    ):
        # A job without a class has no label of a class, so there is none that would win.
        given.pop(names.LABEL_CONTROLLER_CLASS, None)
        metadata[name] = {**given, **metadata[name]}
    if selector := settings.objects("node_selector"):
        spec["nodeSelector"] = selector
    if tolerations := settings.lists("tolerations"):
        spec["tolerations"] = [*spec.get("tolerations", []), *tolerations]
    if affinity := settings.mapping("affinity"):
        spec["affinity"] = affinity
    if constraints := settings.lists("topology_spread"):
        spec["topologySpreadConstraints"] = [ALL_SANDBOXES | c for c in constraints]
    if settings.guaranteed:
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            resources = container["resources"]
            resources["requests"] = dict(resources["limits"])
    return pod


def trusted_resources(settings: Settings) -> Json:
    """Resources of the containers of NanoGrid: sync, agent, checks."""
    limit, request = trusted_storage()
    return {
        "requests": {**AGENT_REQUESTS, EPHEMERAL: request},
        "limits": {
            "cpu": settings.agent_cpu,
            "memory": settings.agent_memory,
            EPHEMERAL: limit,
        },
    }
