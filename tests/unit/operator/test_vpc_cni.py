"""The network plugin of EKS gives all pods of a node with the same identifier one set of policies.

The identifier is the namespace and the name without its last part, so that it is the same for all
pods of a ReplicaSet: https://github.com/aws/aws-network-policy-agent (`GetPodIdentifier`). A pod
with policies of its own therefore needs a name that differs before the last hyphen.
"""

import itertools

import pytest

from nanogrid import names
from nanogrid_operator.kube.objects import pod_name
from nanogrid_operator.manifests.probe import probe_pod
from support.builders import some_settings

pytestmark = pytest.mark.security


def identifier(name: str) -> str:
    return name.replace(".", "_").rpartition("-")[0]


def test_the_two_pods_that_test_the_network_have_policies_of_their_own() -> None:
    settings = some_settings(fullname="nanogrid")
    found = [
        identifier(probe_pod(kind, settings)["metadata"]["name"]) for kind in names.PROBE_KINDS
    ]

    assert len(set(found)) == len(names.PROBE_KINDS) == 2


def test_pods_of_different_jobs_have_policies_of_their_own() -> None:
    jobs = ["a", "a-0", "a.0", "a-b", "a" * 52, "a" * 51 + "b", "a-0123456789"]
    pods = {
        (job, uid): {identifier(pod_name(job, uid, attempt)) for attempt in (0, 1, 10, 99)}
        for job in jobs
        for uid in (f"{job}-1", f"{job}-2")
    }

    for one, other in itertools.combinations(pods, 2):
        assert not pods[one] & pods[other], (one, other)
