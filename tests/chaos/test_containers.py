"""Containers killed in each phase of a job: a named end, one result, at most one start.

SIGKILL is sent to a container's PID 1 from the node, as the kernel's out-of-memory killer does. If
a test needs a phase (an upload, a sync) to last, it freezes the S3 server during it.
"""

import pytest

from chaos.onejob import OneJob
from chaos.release import frozen_s3, no_operator
from chaos.results import one_result
from nanogrid import names
from scripts.devaccess import dev_access
from support.kubectl import eventually
from support.nodes import Node, container_id, signal_container

# Longer than it takes to stop the operator.
SLOW_CODE = "import time; time.sleep(15)\n"
WRITE_OUTPUT = "open('output/a.txt', 'w').write('a'); "
# Kills the agent as soon as containerd has a task for it; tries every 20 ms, at most 500 times.
KILL_NEW_AGENT = """
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


def kill_agent(one_job: OneJob, name: str) -> None:
    """Kill the job's agent and wait until the kubelet shows its end."""
    signal_container(one_job.namespace.only_pod(name), names.CONTAINER_AGENT)

    def ended() -> bool:
        return not container_id(one_job.namespace.only_pod(name), names.CONTAINER_AGENT)

    eventually("the agent has ended", ended)


def test_agent_killed_while_code_runs(one_job: OneJob) -> None:
    """About 6 s."""
    pod = one_job.run("agentless")

    signal_container(pod, names.CONTAINER_AGENT)

    status = one_job.ends_with("Failed", "AgentFailed", "agentless")
    assert "137" in status["message"]
    eventually(
        "no code runs without an agent",
        lambda: "running" not in one_job.namespace.sandbox("agentless"),
    )


@pytest.mark.slow
def test_launcher_killed_while_code_runs(one_job: OneJob) -> None:
    """About 6 s. The agent keeps the printed output; the kubelet knows the exit code."""
    pod = one_job.run("headless")

    signal_container(pod, names.CONTAINER_SANDBOX)

    status = one_job.ends_with("Failed", "SandboxLost", "headless")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "begun\n"


@pytest.mark.slow
def test_agent_killed_before_the_code_starts(one_job: OneJob, kind_nodes: list[Node]) -> None:
    """About 8 s. The kill races with the launcher: the code starts at most once."""
    one_job.apply("early")
    nodes = {node.name: node for node in kind_nodes}

    def node_name() -> str:
        pods = one_job.namespace.pods("early")
        return str(pods[0]["spec"].get("nodeName", "")) if pods else ""

    node = nodes[eventually("the pod has a node", node_name)]
    script = KILL_NEW_AGENT.format(namespace=one_job.namespace.name)
    node.run("sh", "-c", script, timeout=30)

    status = one_job.ended("early")
    assert (status["phase"], status["reason"]) == ("Failed", "AgentFailed")
    print(f"started {one_job.starts.count('early')} times before the agent ended")
    assert one_job.starts.count("early") <= 1


@pytest.mark.slow
def test_agent_killed_during_the_upload(one_job: OneJob) -> None:
    """About 15 s. Output and exit code are known, and also that files are missing."""
    with frozen_s3():
        one_job.apply("cut", WRITE_OUTPUT + "print('done')")
        eventually(
            "the code has ended", lambda: one_job.namespace.sandbox("cut").get("terminated"), 60
        )
        kill_agent(one_job, "cut")

    status = one_job.ends_with("Failed", "OutputUploadFailed", "cut")
    assert (status["result"]["exitCode"], status["result"]["stdout"]) == (0, "done\n")


@pytest.mark.slow
def test_agent_killed_after_storing_the_result_and_before_reporting_it(one_job: OneJob) -> None:
    """About 15 s. No operator runs, so nothing accepts the POST."""
    one_job.run("unreported", SLOW_CODE + WRITE_OUTPUT + "print('x' * 20_000)")
    with no_operator():
        eventually("the result is in S3", lambda: in_s3(one_job), 60)
        kill_agent(one_job, "unreported")

    one_job.ends_with("Succeeded", "Completed", "unreported")
    stdout = one_result(one_job.request_id)["stdout"]
    assert stdout == "x" * 20_000 + "\n", "the full text comes from S3"


def in_s3(one_job: OneJob) -> bool:
    """Whether S3 has the result of a job."""
    with dev_access() as dev:
        key = one_job.namespace.key(names.result_object(one_job.request_id))
        listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=key)
        return bool(listed.get("Contents"))


@pytest.mark.slow
def test_sync_killed_while_it_copies(one_job: OneJob) -> None:
    """About 10 s. No code runs without a verified manifest."""
    key = one_job.namespace.key(f"t/{one_job.request_id}/a.txt")
    with dev_access() as dev:
        dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=b"a")
    with frozen_s3():
        one_job.apply("torn-sync", "", inputs=[{"name": "data", "s3": {"key": key}}])

        def syncing() -> str:
            pods = one_job.namespace.pods("torn-sync")
            return container_id(pods[0], names.CONTAINER_SYNC) if pods else ""

        eventually("the sync runs", syncing, 30)
        signal_container(one_job.namespace.only_pod("torn-sync"), names.CONTAINER_SYNC)

    status = one_job.ends_with("Failed", "SyncFailed", "torn-sync", starts=0)
    assert "137" in status["message"]
