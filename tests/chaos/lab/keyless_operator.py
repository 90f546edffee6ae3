"""The operator, whose pods have no key for results, like those of an older version.

A simulated kubelet cannot sign the termination messages that it makes up.
"""

import runpy
from typing import Any
from unittest import mock

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.manifests import pod


def keyless_pod_of(*args: Any, **keywords: Any) -> Json:
    """The pod without the key in the environment of its agent."""
    manifest: Json = pod.pod_of(*args, **keywords)
    for container in manifest["spec"]["containers"]:
        env = container.get("env") or []
        container["env"] = [e for e in env if e["name"] != names.ENV_RESULT_KEY]
    return manifest


if __name__ == "__main__":
    with mock.patch("nanogrid_operator.reconcile.prepare.pod_of", keyless_pod_of):
        runpy.run_module("nanogrid_operator", run_name="__main__")
