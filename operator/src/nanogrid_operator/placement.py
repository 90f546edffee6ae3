"""Where sandbox pods run and how they are sized: what the platform team adds to every one. Pure."""

from typing import Any

from nanogrid_operator.settings import AGENT_REQUESTS, Settings

Json = dict[str, Any]


def place(pod: Json, settings: Settings) -> Json:
    """Add the installation's labels, annotations, node selector and tolerations; returns the pod.

    What NanoGrid itself sets wins, so that no label of the installation can misname a pod.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    for name, given in (
        ("labels", settings.objects("pod_labels")),
        ("annotations", settings.objects("pod_annotations")),
    ):
        metadata[name] = {**given, **metadata[name]}
    if selector := settings.objects("node_selector"):
        spec["nodeSelector"] = selector
    if tolerations := settings.lists("tolerations"):
        spec["tolerations"] = [*spec.get("tolerations", []), *tolerations]
    if settings.guaranteed:
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            resources = container["resources"]
            resources["requests"] = dict(resources["limits"])
    return pod


def trusted_resources(settings: Settings) -> Json:
    """Resources of the containers that are ours: sync, agent, checks."""
    return {
        "requests": dict(AGENT_REQUESTS),
        "limits": {"cpu": settings.agent_cpu, "memory": settings.agent_memory},
    }
