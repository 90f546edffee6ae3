"""The nodes' own view of their health."""

from support.kubectl import kubectl_json


def unharmed_nodes() -> list[str]:
    """The nodes that are ready and have no pressure of disk, memory or processes."""
    healthy = {"Ready": "True"} | dict.fromkeys(
        ("DiskPressure", "MemoryPressure", "PIDPressure"), "False"
    )
    found = []
    for node in kubectl_json("get", "nodes")["items"]:
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        if healthy.items() <= conditions.items():
            found.append(node["metadata"]["name"])
    return found
