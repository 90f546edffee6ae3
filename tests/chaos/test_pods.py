"""Containers killed, pods deleted and evicted, disks full: a named end, one result, one start.

Each fault comes from where it comes in life: SIGKILL to a container's PID 1 from the node, as the
kernel's out-of-memory killer sends it; deletions and evictions through the API. Where a test needs
a phase to last (an upload, a sync), it freezes the S3 server meanwhile.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chaos.conftest import kill_operator
from chaos.nodes import Node, container_id, signal_container
from chaos.proof import Starts, one_result, stored_result
from e2e.conftest import RELEASE, RELEASE_NAMESPACE
from e2e.support import Namespace, condition, eventually, inline, job, kubectl, kubectl_json
from nanogrid import names
from scripts.devaccess import dev_access

Json = dict[str, Any]

SLEEPER = "import time; print('begun', flush=True); time.sleep(600)"
QUICK = {"terminationGracePeriodSeconds": 1, "timeouts": {"uploadSeconds": 20}}
MEBI = 1 << 20


def only_pod(namespace: Namespace, name: str) -> Json:
    """The job's one pod."""
    (pod,) = namespace.pods(name)
    return pod


def running(namespace: Namespace, starts: Starts, name: str) -> Json:
    """The job's pod, once the user's code runs and the kubelet says so."""
    eventually("the code was started", lambda: starts.of(name) == 1, 60)
    eventually("the kubelet has seen it", lambda: namespace.sandbox(name).get("running"))
    return only_pod(namespace, name)


def ended(namespace: Namespace, name: str, request_id: str, seconds: int) -> Json:
    """The status of a failed job that ended within the bound, the same wherever it is shown."""
    began = time.monotonic()
    status = namespace.finished(name, seconds)
    took = time.monotonic() - began
    print(f"{name}: {status['phase']} {status['reason']} after {took:.1f} s: {status['message']}")
    assert condition(status, status["phase"].replace("Succeeded", "Complete"))["status"] == "True"
    result = one_result(request_id)
    assert (result["reason"], result["message"]) == (
        status["reason"],
        status["result"].get("message", ""),
    )
    return status


@contextmanager
def frozen_s3() -> Iterator[None]:
    """S3 takes connections and answers nothing, for as long as the context lasts."""
    selector = "app.kubernetes.io/component=dev-s3"
    (pod,) = kubectl_json("-n", RELEASE_NAMESPACE, "get", "pods", "-l", selector)["items"]
    signal_container(pod, "s3", "STOP")
    try:
        yield
    finally:
        signal_container(pod, "s3", "CONT")
        words = ("-n", RELEASE_NAMESPACE, "wait", "pod", "-l", selector)
        kubectl(*words, "--for=condition=Ready", "--timeout=60s")


@contextmanager
def no_operator() -> Iterator[None]:
    """No operator, for as long as the context lasts."""
    words = ("-n", RELEASE_NAMESPACE, "scale", f"deploy/{RELEASE}")
    kubectl(*words, "--replicas=0")
    try:
        selector = "app.kubernetes.io/component=operator"
        gone = ("-n", RELEASE_NAMESPACE, "wait", "pod", "-l", selector)
        kubectl(*gone, "--for=delete", "--timeout=60s")
        yield
    finally:
        kubectl(*words, "--replicas=1")
        status = ("-n", RELEASE_NAMESPACE, "rollout", "status", f"deploy/{RELEASE}")
        kubectl(*status, "--timeout=60s")


# Killed containers.


def test_agent_killed_while_code_runs(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 6 s."""
    namespace.apply(inline("agentless", starts.marked(SLEEPER), requestId=request_id))
    pod = running(namespace, starts, "agentless")

    signal_container(pod, names.CONTAINER_AGENT)

    status = ended(namespace, "agentless", request_id, 30)
    assert (status["phase"], status["reason"]) == ("Failed", "AgentFailed")
    assert "137" in status["message"]
    assert starts.of("agentless") == 1
    assert "running" not in namespace.sandbox("agentless"), "no code runs that nobody watches"


@pytest.mark.slow
def test_launcher_killed_while_code_runs(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 6 s. The agent keeps what the code printed; the kubelet knows the exit code."""
    namespace.apply(inline("headless", starts.marked(SLEEPER), requestId=request_id))
    pod = running(namespace, starts, "headless")

    signal_container(pod, names.CONTAINER_SANDBOX)

    status = ended(namespace, "headless", request_id, 30)
    assert (status["phase"], status["reason"]) == ("Failed", "SandboxLost")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "begun\n"
    assert starts.of("headless") == 1


@pytest.mark.slow
def test_agent_killed_before_the_code_is_started(
    namespace: Namespace, starts: Starts, kind_nodes: list[Node], request_id: str
) -> None:
    """About 8 s. The kill races with the launcher: not started, or started once, never twice."""
    namespace.apply(inline("early", starts.marked(SLEEPER), requestId=request_id))
    nodes = {node.name: node for node in kind_nodes}

    def placed() -> str:
        pods = namespace.pods("early")
        return str(pods[0]["spec"].get("nodeName", "")) if pods else ""

    node = nodes[eventually("the pod has a node", placed)]
    node.run("sh", "-c", FIRST_SIGHT.format(namespace=namespace.name), timeout=30)

    status = ended(namespace, "early", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Failed", "AgentFailed")
    print(f"started {starts.of('early')} times before the agent was gone")
    assert starts.of("early") <= 1


# Kills the agent as soon as containerd has a task for it: 20 s at most, a look each 20 ms or so.
FIRST_SIGHT = """
filter='labels."io.kubernetes.pod.namespace"=={namespace},labels."io.kubernetes.container.name"==agent'
for try in $(seq 500); do
  id=$(ctr -n k8s.io containers ls -q "$filter")
  if [ -n "$id" ]; then
    pid=$(ctr -n k8s.io tasks ls | awk -v id="$id" '$1 == id && $3 == "RUNNING" {{print $2}}')
    if [ -n "$pid" ]; then kill -KILL "$pid"; exit 0; fi
  fi
  sleep 0.02
done
exit 1
"""


@pytest.mark.slow
def test_agent_killed_during_the_upload(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 15 s. What the code printed and its exit code are known; that files are missing too."""
    code = "open('output/a.txt', 'w').write('a'); print('done')"
    with frozen_s3():
        namespace.apply(inline("cut", starts.marked(code), requestId=request_id))
        eventually("the code has ended", lambda: namespace.sandbox("cut").get("terminated"), 60)
        signal_container(only_pod(namespace, "cut"), names.CONTAINER_AGENT)
        eventually("the agent has ended", lambda: agent_ended(namespace, "cut"))

    status = ended(namespace, "cut", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Failed", "OutputUploadFailed")
    assert (status["result"]["exitCode"], status["result"]["stdout"]) == (0, "done\n")
    assert starts.of("cut") == 1


def agent_ended(namespace: Namespace, name: str) -> bool:
    """Whether the kubelet has seen the end of the agent."""
    return not container_id(only_pod(namespace, name), names.CONTAINER_AGENT)


@pytest.mark.slow
def test_agent_killed_after_storing_the_result_and_before_reporting_it(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 15 s. The operator is away, so the POST cannot have been taken."""
    code = "open('output/a.txt', 'w').write('a'); print('x' * 20_000)"
    namespace.apply(inline("untold", starts.marked(WAIT + code),
                           requestId=request_id))  # fmt: skip
    pod = running(namespace, starts, "untold")
    with no_operator():
        eventually("the result is in S3", lambda: in_s3(request_id), 60)
        signal_container(pod, names.CONTAINER_AGENT)
        eventually("the agent has ended", lambda: agent_ended(namespace, "untold"))

    status = ended(namespace, "untold", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert one_result(request_id)["stdout"] == "x" * 20_000 + "\n", "the whole, from S3"
    assert starts.of("untold") == 1


WAIT = "import time; time.sleep(15)\n"


def in_s3(request_id: str) -> bool:
    """Whether S3 has the result of a request."""
    with dev_access() as dev:
        key = names.result_object(request_id)
        listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=key)
        return bool(listed.get("Contents"))


@pytest.mark.slow
def test_sync_killed_while_it_copies(namespace: Namespace, starts: Starts, request_id: str) -> None:
    """About 10 s. Without a verified manifest no code runs."""
    key = f"t/{request_id}/a.txt"
    with dev_access() as dev:
        dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=b"a")
    wanted = job(
        "torn-sync",
        requestId=request_id,
        code={"inline": starts.marked("")},
        inputs=[{"name": "data", "s3": {"key": key}}],
    )
    with frozen_s3():
        namespace.apply(wanted)

        def syncing() -> str:
            pods = namespace.pods("torn-sync")
            return container_id(pods[0], names.CONTAINER_SYNC) if pods else ""

        eventually("the sync runs", syncing, 30)
        signal_container(only_pod(namespace, "torn-sync"), names.CONTAINER_SYNC)

    status = ended(namespace, "torn-sync", request_id, 30)
    assert (status["phase"], status["reason"]) == ("Failed", "SyncFailed")
    assert "137" in status["message"]
    assert starts.of("torn-sync") == 0


# Memory.

HOG = "bytearray(512 << 20)"
CHILD = f"""
import subprocess, sys
done = subprocess.run([sys.executable, "-c", {HOG!r}])
print("child", done.returncode, flush=True)
"""
SHARED = """
import os
print('begun', flush=True)
for n in range(64):
    with open(f'/dev/shm/{n}', 'wb') as f:
        f.write(os.urandom(1 << 20))
hog = bytearray(512 << 20)
"""
SMALL = {"limits": {"memory": "48Mi"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code"),
    [("own", f"print('begun', flush=True)\nhog = {HOG}"), ("shared", SHARED)],
)
def test_memory_of_the_code(
    namespace: Namespace, starts: Starts, request_id: str, name: str, code: str
) -> None:
    """About 4 s each. Shared memory outlives the killed process, so the launcher may go as well."""
    namespace.apply(
        inline(f"hog-{name}", starts.marked(code), requestId=request_id, resources=SMALL)
    )

    status = ended(namespace, f"hog-{name}", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Failed", "OOMKilled")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "begun\n"
    assert starts.of(f"hog-{name}") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end", "want"),
    [
        ("survived", "", ("Succeeded", "Completed", 0)),
        ("passed-on", "sys.exit(done.returncode and 1)", ("Failed", "NonZeroExit", 1)),
    ],
)
def test_memory_of_a_child(
    namespace: Namespace,
    starts: Starts,
    request_id: str,
    name: str,
    end: str,
    want: tuple[str, str, int],
) -> None:
    """About 4 s each. A killed child is the code's affair: its exit code is what counts."""
    code = starts.marked(CHILD + end)
    namespace.apply(inline(f"child-{name}", code, requestId=request_id, resources=SMALL))

    status = ended(namespace, f"child-{name}", request_id, 60)
    assert (status["phase"], status["reason"], status["result"]["exitCode"]) == want
    assert status["result"]["stdout"] == "child -9\n"
    assert starts.of(f"child-{name}") == 1


# Deletion and eviction.


def test_pod_deleted_gracefully_keeps_what_was_printed(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 5 s."""
    namespace.apply(inline("asked", starts.marked(SLEEPER), requestId=request_id))
    pod = running(namespace, starts, "asked")

    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")

    status = ended(namespace, "asked", request_id, 30)
    assert (status["phase"], status["reason"]) == ("Failed", "Terminated")
    assert status["result"]["stdout"] == "begun\n"
    assert stored_result(request_id)["reason"] == "Terminated"
    assert starts.of("asked") == 1


def evict(namespace: Namespace, pod: Json) -> None:
    """What `kubectl drain` and the cluster autoscaler do."""
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
    meta = {"name": name, "namespace": namespace.name}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def test_pod_evicted_is_named_and_keeps_what_was_printed(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 5 s."""
    namespace.apply(inline("moved", starts.marked(SLEEPER), requestId=request_id))

    evict(namespace, running(namespace, starts, "moved"))

    status = ended(namespace, "moved", request_id, 30)
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["result"]["stdout"] == "begun\n"
    assert starts.of("moved") == 1


@pytest.mark.slow
def test_pod_evicted_is_tried_again_without_counting(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 12 s. Each pod starts the code once; only the last attempt's result is delivered."""
    code = starts.marked(
        "import time, socket\n"
        "time.sleep(600 if socket.gethostname().endswith('-0') else 0)\n"
        "print('second')"
    )
    namespace.apply(inline("again", code, requestId=request_id, backoffLimit=1))

    evict(namespace, running(namespace, starts, "again"))

    status = ended(namespace, "again", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    first, _ = status["attempts"]
    assert (first["reason"], first["counted"]) == ("Evicted", False)
    assert (starts.of("again"), starts.most()) == (2, 1)


@pytest.mark.slow
def test_pod_forced_away_while_the_operator_restarts(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 12 s. The new operator has never seen the pod: it must not take the job for new."""
    namespace.apply(inline("vanished", starts.marked(SLEEPER), requestId=request_id))
    pod = running(namespace, starts, "vanished")
    eventually("the status names the pod", lambda: namespace.status("vanished").get("podName"))

    kill_operator()
    name = pod["metadata"]["name"]
    namespace.kubectl("delete", "pod", name, "--force", "--grace-period=0")

    status = ended(namespace, "vanished", request_id, 60)
    assert status["phase"] == "Failed"
    assert status["reason"] in ("PodLost", "Terminated")
    assert starts.of("vanished") == 1


# Disks.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "mebi"),
    [pytest.param("/tmp", 300, id="tmp"), pytest.param("/app", 2200, id="workspace")],
)
def test_disk_beyond_its_size_is_named(
    namespace: Namespace, starts: Starts, request_id: str, where: str, mebi: int
) -> None:
    """About 60 s each: the kubelet measures volumes once in a minute."""
    code = (
        "import os, time\n"
        f"fd = os.open('{where}/full', os.O_WRONLY | os.O_CREAT)\n"
        f"os.posix_fallocate(fd, 0, {mebi * MEBI})\n"
        "print('full', flush=True)\n"
        "time.sleep(600)"
    )
    namespace.apply(inline("filled", starts.marked(code), requestId=request_id, **QUICK))

    status = ended(namespace, "filled", request_id, 120)
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert "exceeds the limit" in status["message"], "the kubelet's words say what was full"
    assert status["result"]["stdout"] == "full\n"
    assert starts.of("filled") == 1


@pytest.mark.slow
def test_code_that_hits_a_full_disk_reports_it_itself(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 4 s. /dev/shm is the one place where the sandbox gets ENOSPC at once: 64 MiB."""
    code = "open('/dev/shm/a', 'wb').write(bytes(65 << 20))"
    wanted = inline("enospc", starts.marked(code), requestId=request_id)
    namespace.apply(
        wanted | {"spec": wanted["spec"] | {"resources": {"limits": {"memory": "512Mi"}}}}
    )

    status = ended(namespace, "enospc", request_id, 60)
    assert (status["phase"], status["reason"]) == ("Failed", "NonZeroExit")
    assert "No space left on device" in status["result"]["stderr"]
    assert starts.of("enospc") == 1


@pytest.mark.slow
def test_many_small_files_do_not_keep_a_job_from_ending(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 15 s. 50,000 inodes in /tmp: no limit of Kubernetes counts them."""
    code = "for n in range(50_000): open(f'/tmp/{n}', 'w').close()\nprint('made')"
    namespace.apply(inline("inodes", starts.marked(code), requestId=request_id))

    status = ended(namespace, "inodes", request_id, 120)
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "made\n")
    assert starts.of("inodes") == 1
