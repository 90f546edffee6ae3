"""The user of a sandbox: one for each job, with a name, and no way to take from a neighbour."""

import json
import uuid
from collections.abc import Iterator

import pytest

from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl
from support.neighbours import EXHAUST, USE

pytestmark = pytest.mark.security

LOOK = """
import getpass, json, os, pwd, subprocess
os.makedirs('output', exist_ok=True)
with open(os.open('output/private.txt', os.O_WRONLY | os.O_CREAT, 0o600), 'w') as file:
    file.write('secret')
entry = pwd.getpwuid(os.getuid())
print(json.dumps({
    'uid': os.getuid(),
    'gid': os.getgid(),
    'names': [entry.pw_name, getpass.getuser(), subprocess.getoutput('id -un')],
    'homes': [entry.pw_dir, os.path.expanduser('~')],
    'map': open('/proc/self/uid_map').read().split(),
}))
"""
NEIGHBOURS = 6  # at the same time, so that one of them is probably on each node
BATCHES = 5


@pytest.mark.parametrize("own_image", [False, True])
def test_each_job_has_a_user_with_a_name(
    namespace: Namespace, python_image: str, own_image: bool
) -> None:
    runtime = {"runtime": {"image": python_image}} if own_image else {}
    namespace.apply(*(inline(name, LOOK, **runtime) for name in ("one", "two")))
    ends = [namespace.finished(name) for name in ("one", "two")]
    found = [json.loads(end["result"]["stdout"]) for end in ends]

    for name, end, seen in zip(("one", "two"), ends, found, strict=True):
        spec = namespace.only_pod(name)["spec"]
        assert seen["uid"] == seen["gid"] == spec["securityContext"]["runAsUser"] != 65532
        assert set(seen["names"]) == {"nanogrid"}
        assert set(seen["homes"]) == {"/tmp"}
        assert (seen["map"][1] == "0") == spec.get("hostUsers", True), "uid_map shows the host's"
        assert len(end["result"]["outputFiles"]) == 1, "the agent read the file of mode 0600"
    assert found[0]["uid"] != found[1]["uid"]


@pytest.fixture
def neighbour(cluster: None) -> Iterator[Namespace]:
    """The namespace of another tenant."""
    found = Namespace(f"e2e-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", found.name)
    yield found
    kubectl("delete", "namespace", found.name, "--wait=false")


def printed(namespace: Namespace, job: str) -> Json:
    """The line that the greedy job prints while it holds everything."""
    log = namespace.kubectl("logs", namespace.only_pod(job)["metadata"]["name"], "-c", "sandbox")
    found: Json = json.loads(log if log.endswith("\n") else "{}")
    return found


def test_a_neighbour_on_the_same_node_gets_all_it_needs(
    namespace: Namespace, neighbour: Namespace
) -> None:
    memory = {"limits": {"memory": "1Gi"}, "requests": {"memory": "128Mi"}}
    namespace.apply(inline("greedy", EXHAUST, resources=memory))
    greedy = eventually("the greedy job has it all", lambda: printed(namespace, "greedy"))
    node = namespace.only_pod("greedy")["spec"]["nodeName"]

    found: Json = {}
    same_node: list[str] = []
    for batch in range(BATCHES):
        jobs = [f"needs-{batch}-{number}" for number in range(NEIGHBOURS)]
        neighbour.apply(*(inline(name, USE) for name in jobs))
        found |= {name: json.loads(neighbour.finished(name)["result"]["stdout"]) for name in jobs}
        pods = {name: neighbour.only_pod(name)["spec"]["nodeName"] for name in jobs}
        same_node = [name for name, its in pods.items() if its == node]
        if same_node:
            break

    assert namespace.status("greedy")["phase"] == "Running", "it still holds what it took"
    # Seccomp refuses keys to all sandboxes.
    assert greedy == {
        "inotify": "EMFILE", "pipes": "EPERM", "queues": "EMFILE", "keys": "EPERM",
        "threads": "EAGAIN",
    }  # fmt: skip
    assert same_node
    for seen in found.values():
        assert seen == dict.fromkeys(("inotify", "pipes", "queues", "threads"), "ok") | {
            "keys": "EPERM"
        }
