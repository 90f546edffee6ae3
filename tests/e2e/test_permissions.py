"""Rights in the cluster: roles of users, reviews of the gateway, and namespaces without jobs."""

import json
import uuid

import pytest

from nanogrid import names
from support.kubectl import Namespace, eventually, inline, kubectl
from support.release import RELEASE, RELEASE_NAMESPACE

pytestmark = pytest.mark.security

SYSTEM = "kube-system"
KINDS = (names.PLURAL, names.FUNCTION_PLURAL)


def may(account: str, verb: str, resource: str, namespace: str, group: str = names.GROUP) -> bool:
    """Whether a service account, ``NAMESPACE:NAME``, has a right in a namespace."""
    wanted = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{account}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": wanted,
        },
    }
    answer = kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    allowed: bool = json.loads(answer)["status"]["allowed"]
    return allowed


@pytest.mark.parametrize(("role", "writes"), [("view", False), ("edit", True), ("admin", True)])
def test_the_roles_of_kubernetes_include_jobs_and_functions(
    namespace: Namespace, role: str, writes: bool
) -> None:
    account = f"{namespace.name}:user"
    assert not any(may(account, "list", kind, namespace.name) for kind in KINDS)

    namespace.kubectl(
        *("create", "rolebinding", "user", f"--clusterrole={role}"), f"--serviceaccount={account}"
    )

    eventually(
        f"{role} reads jobs and functions",
        lambda: all(may(account, "list", kind, namespace.name) for kind in KINDS),
    )
    for kind in KINDS:
        assert may(account, "create", kind, namespace.name) is writes
        assert not may(account, "list", kind, "default"), "only in its namespace"


def test_the_gateway_reviews_permissions_in_its_namespace_only() -> None:
    account, group = f"{RELEASE_NAMESPACE}:{RELEASE}-gateway", "authorization.k8s.io"

    assert may(account, "create", "localsubjectaccessreviews", RELEASE_NAMESPACE, group)
    assert not may(account, "create", "localsubjectaccessreviews", SYSTEM, group)
    assert not may(account, "create", "subjectaccessreviews", "", group)


def test_a_job_in_a_namespace_of_the_cluster_is_refused_and_gets_no_pod(
    namespace: Namespace,
) -> None:
    name = f"here-{uuid.uuid4().hex[:8]}"
    system = Namespace(SYSTEM)
    try:
        status = system.run(inline(name, "print(1)"))
        pods = system.pods(name)
    finally:
        system.kubectl("delete", "ej", name, "--ignore-not-found")

    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "tenancy.deniedNamespaces" in status["message"]
    assert pods == []
    assert namespace.run(inline(name, "print(1)"))["phase"] == "Succeeded"
