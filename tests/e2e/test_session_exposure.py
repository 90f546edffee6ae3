"""Sessions with a way in of their own. The test plays the load balancer controller."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.sessions import SMALL
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import PortForward
from support.kubectl import Namespace, condition, eventually, kubectl_json
from support.sessions import Caller, path_of, ready, session, token_of

FINALIZER = "group.ingress.k8s.aws/nanogrid-sessions"  # of the AWS Load Balancer Controller
ADDRESS = "internal-sessions-0123456789.ap-northeast-2.elb.amazonaws.com"
DRAIN_SECONDS = 3 + 5  # sessions.deregistrationSeconds of the tests, and the margin


def own_ingress(namespace: Namespace) -> Json:
    """The only Ingress of the namespace, when there is one."""

    def found() -> Json | None:
        items = kubectl_json("--namespace", namespace.name, "get", "ingresses")["items"]
        return items[0] if items else None

    ingress: Json = eventually("the Ingress exists", found)
    return ingress


def patch(namespace: Namespace, name: str, body: Json, *more: str) -> None:
    namespace.kubectl("patch", "ingress", name, "--type=merge", "-p", json.dumps(body), *more)


@contextmanager
def controller(namespace: Namespace) -> Iterator[str]:
    """Take up the Ingress and apply it; its name. The end of the block removes the finalizer."""
    name = own_ingress(namespace)["metadata"]["name"]
    patch(namespace, name, {"metadata": {"finalizers": [FINALIZER]}})
    try:
        status = {"loadBalancer": {"ingress": [{"hostname": ADDRESS}]}}
        patch(namespace, name, {"status": status}, "--subresource=status")
        yield name
    finally:
        if namespace.kubectl("get", "ingresses", "-o", "name"):
            patch(namespace, name, {"metadata": {"finalizers": None}})


def ready_reason(namespace: Namespace, name: str) -> str:
    """The reason of the session's Ready condition; empty before it is written."""
    conditions = namespace.status(name).get("conditions") or []
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")


def services(namespace: Namespace) -> str:
    return namespace.kubectl("get", "services", "-o", "name")


@pytest.mark.parametrize("name", ["own", "v1.2-report", "2026-report"])
def test_a_session_behind_an_ingress_is_ready_when_its_load_balancer_is(
    namespace: Namespace, name: str
) -> None:
    namespace.apply(session(name, {"expose": "Ingress"}, resources=SMALL))
    eventually(
        "a missing controller is shown",
        lambda: ready_reason(namespace, name) == "ExposureIgnored",
    )
    warnings = namespace.kubectl(
        "get", "events", "--field-selector", "reason=ExposureIgnored,type=Warning", "-o", "name"
    )
    assert warnings
    assert condition(namespace.status(name), "Ready")["status"] == "False"

    with controller(namespace) as own:
        status = ready(namespace, name)
        path = path_of(namespace, name)
        assert status["session"]["url"] == f"http://{ADDRESS}{path}"
        assert status["session"]["serviceName"] == own
        ingress = own_ingress(namespace)
        assert ingress["metadata"]["ownerReferences"][0]["name"] == name
        (rule,) = ingress["spec"]["rules"]
        assert rule["http"]["paths"][0]["path"] == path

        # As a load balancer does: the pod's own port and the unchanged path.
        pod = namespace.only_pod(name)["metadata"]["name"]
        with PortForward(namespace.name, f"pod/{pod}", names.SESSION_PORT) as port:
            direct = Caller(port.wait_url(), token_of(namespace, status))
            assert direct.execute(path, "print('direct')")["stdout"] == "direct\n"

        began = time.monotonic()
        namespace.patch(name, cancel=True)
        namespace.finished(name)
        # The preStop hook gives the load balancer time to deregister the target.
        assert time.monotonic() - began >= DRAIN_SECONDS
        eventually(
            "the Ingress is being deleted",
            lambda: own_ingress(namespace)["metadata"].get("deletionTimestamp"),
        )
        assert own in services(namespace), "the controller still needs it"
    eventually("nothing is exposed", lambda: not services(namespace))


def test_a_session_that_ends_by_itself_answers_until_it_is_deregistered(
    namespace: Namespace,
) -> None:
    namespace.apply(session("ended", {"expose": "Service"}, resources=SMALL))
    status = ready(namespace, "ended")  # a Service needs no controller
    path = path_of(namespace, "ended")
    pod = namespace.only_pod("ended")["metadata"]["name"]
    with PortForward(namespace.name, f"pod/{pod}", names.SESSION_PORT) as port:
        direct = Caller(port.wait_url(), token_of(namespace, status))
        assert direct.call("POST", f"{path}/end").status == 202
        namespace.finished("ended")
    # The result is there; the agent still runs, and then the pod ends by itself.
    log = namespace.kubectl("logs", pod, "-c", names.CONTAINER_AGENT)
    assert "session-draining" in log
    eventually(
        "the pod has ended",
        lambda: (
            namespace.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Succeeded"
        ),
    )
    eventually("nothing is exposed", lambda: not services(namespace))


def owners(namespace: Namespace) -> list[str]:
    """The kinds of the owners of the session's Service; none while there is no Service."""
    query = ("get", "services", "-l", names.LABEL_JOB_UID)
    found = kubectl_json("--namespace", namespace.name, *query)["items"]
    return [owner["kind"] for one in found for owner in one["metadata"]["ownerReferences"]]


def test_deleting_the_job_deletes_the_ingress_before_the_service(namespace: Namespace) -> None:
    namespace.apply(session("gone", {"expose": "Ingress"}, resources=SMALL))
    eventually("the Ingress owns the Service", lambda: owners(namespace) == ["Ingress"])
    with controller(namespace) as own:
        namespace.kubectl("delete", "ej", "gone", "--wait=false")
        eventually(
            "the Ingress is being deleted",
            lambda: own_ingress(namespace)["metadata"].get("deletionTimestamp"),
        )
        assert own in services(namespace)
    eventually("nothing is left", lambda: not services(namespace))
