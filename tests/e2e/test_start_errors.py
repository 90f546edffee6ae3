"""Containers that the node cannot start: the job ends within seconds, with the node's words.

The image of a pod can be changed while the kubelet cannot pull it. So the sandbox gets an image in
which there is no python3, after another image has passed the check of the runtime.
"""

import json
import uuid
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid.types import Json
from support.kubectl import Namespace, condition, eventually, inline, kubectl, kubectl_json
from support.release import IN_RELEASE
from support.sessions import session

UNKNOWN_IMAGE = "registry.invalid/none:1"
INVALID_IMAGE = "registry.invalid/none:-1"
TIMEOUTS = {"startupSeconds": 300}  # longer than a test waits for an end
TENANT_SECONDS = 40  # the operator reads tenants every 10 s


def pause_image() -> str:
    """The pause image, which every node has: one static program."""
    for node in kubectl_json("get", "nodes")["items"]:
        for image in node["status"]["images"]:
            for name in image["names"]:
                if "/pause:" in name:
                    return str(name)
    pytest.skip("no node lists a pause image")


def give_images(namespace: Namespace, name: str, *, check: str, sandbox: str) -> None:
    """Wait for the pod that cannot pull its image, and give it others."""
    eventually("the pod", lambda: namespace.pods(name))
    pod = namespace.only_pod(name)["metadata"]["name"]
    for container, image in ((names.CONTAINER_CHECK, check), (names.CONTAINER_SANDBOX, sandbox)):
        namespace.kubectl("set", "image", f"pod/{pod}", f"{container}={image}")


def failed_start(namespace: Namespace, name: str) -> Json:
    """The status of a job that ended because a container did not start."""
    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Failed", "StartFailed"), status
    assert condition(status, "Failed")["reason"] == "StartFailed"
    assert status["result"].get("exitCode") is None
    eventually("the pod is removed", lambda: not namespace.pods(name), 180)
    return status


def test_a_sandbox_that_does_not_start_ends_the_job(
    namespace: Namespace, python_image: str
) -> None:
    namespace.apply(inline("dead", "print(1)", runtime={"image": UNKNOWN_IMAGE}, timeouts=TIMEOUTS))
    give_images(namespace, "dead", check=python_image, sandbox=pause_image())

    status = failed_start(namespace, "dead")

    assert "container sandbox: " in status["message"]
    assert "python3" in status["message"]


def test_a_sandbox_that_does_not_start_ends_the_session(
    namespace: Namespace, python_image: str
) -> None:
    namespace.apply(session("mute", runtime={"image": UNKNOWN_IMAGE}, timeouts=TIMEOUTS))
    give_images(namespace, "mute", check=python_image, sandbox=pause_image())

    status = failed_start(namespace, "mute")

    assert "python3" in status["message"]
    assert condition(status, "Ready")["status"] == "False"


@pytest.mark.parametrize("kind", ["job", "session"])
def test_an_invalid_image_name_ends_at_once(namespace: Namespace, kind: str) -> None:
    about: Json = {"runtime": {"image": INVALID_IMAGE}, "timeouts": TIMEOUTS}
    manifest = inline("typo", "print(1)", **about) if kind == "job" else session("typo", **about)
    namespace.apply(manifest)

    status = namespace.finished("typo")

    assert (status["phase"], status["reason"]) == ("Failed", "ImagePullFailed"), status
    assert INVALID_IMAGE in status["message"]


@pytest.fixture
def class_without_handler(namespace: Namespace) -> Iterator[str]:
    """A RuntimeClass that no node can run, and which the namespace may use."""
    name = f"nanogrid-e2e-{uuid.uuid4().hex[:8]}"
    runtime_class = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": "no-such-handler",
    }
    tenant = {
        "apiVersion": names.API_VERSION,
        "kind": names.TENANT_KIND,
        "metadata": {"name": namespace.name},
        "spec": {"allow": {"runtimeClasses": [name]}},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(runtime_class))
    kubectl(*IN_RELEASE, "apply", "-f", "-", stdin=json.dumps(tenant))
    yield name
    kubectl(*IN_RELEASE, "delete", "ngt", namespace.name, "--ignore-not-found")
    kubectl("delete", "runtimeclass", name, "--ignore-not-found")


def test_a_handler_that_the_node_does_not_have_ends_the_job(
    namespace: Namespace, class_without_handler: str
) -> None:
    tries: list[Json] = []

    def allowed() -> bool:
        """Whether the operator has read the tenant."""
        runtime = {"runtimeClassName": class_without_handler}
        body = inline(f"odd-{len(tries)}", "print(1)", runtime=runtime, timeouts=TIMEOUTS)
        tries.append(namespace.run(body))
        return bool(tries[-1]["reason"] != "InvalidSpec")

    eventually("the class is allowed", allowed, TENANT_SECONDS)

    assert (tries[-1]["phase"], tries[-1]["reason"]) == ("Failed", "StartFailed"), tries[-1]
    assert "no-such-handler" in tries[-1]["message"]
