"""A session with a load balancer in front: its agent answers until the target is deregistered."""

import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import Operator, operator
from support.s3_server import S3Server
from support.session_pod import RULES, Client, session_pod, session_task
from support.waiting import wait_until

LONG = 3600.0  # seconds; longer than any test waits


def reported(endpoint: Operator) -> list[str]:
    """The reasons of the final reports that the operator has received."""
    sent = zip(endpoint.headers, endpoint.bodies, strict=True)
    finals = [json.loads(body) for head, body in sent if head["Path"] == names.RESULTS_PATH]
    return [final["result"]["reason"] for final in finals]


def answers(client: Client) -> bool:
    return client.health()[0] != 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "SessionEnded"),
        ({"idle_timeout_seconds": 6.0}, "IdleTimeout"),
        ({"max_lifetime_seconds": 10.0}, "LifetimeExceeded"),
        ({"max_executions": 1}, "ExecutionLimit"),
    ],
)
def test_the_api_answers_after_the_report_until_the_drain_is_over(
    s3: S3Server, paths: Paths, launcher_dir: str, changes: dict[str, Any], reason: str
) -> None:
    rules = replace(RULES, drain_seconds=LONG, **changes)
    task = session_task(f"drain-{reason.lower()}", rules)
    with operator() as endpoint, session_pod(task, paths, launcher_dir, endpoint.url) as pod:
        pod.wait_ready()
        pod.client.run("print('last')")
        if not changes:
            assert pod.client.ask("POST", "/end")[0] == 202
        wait_until(lambda: reported(endpoint) == [reason])

        pod.sandbox.wait(60)
        assert answers(pod.client)
        assert pod.agent.poll() is None
        pod.agent.send_signal(signal.SIGTERM)  # the kubelet has waited as long before
        report = pod.wait_end()

    assert (report.result.status, report.result.reason) == ("SUCCESS", reason)
    assert (report.result.exit_code, report.result.stdout) == (0, "last\n")


@pytest.mark.parametrize("drain", [0.0, 1.0])
def test_the_agent_ends_after_the_drain(
    s3: S3Server, paths: Paths, launcher_dir: str, drain: float
) -> None:
    task = session_task(f"drained-{drain:.0f}", replace(RULES, drain_seconds=drain))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.ask("POST", "/end")[0] == 202
        assert pod.wait_end().result.reason == "SessionEnded"
        assert ("session-draining" in pod.log.read_text()) == bool(drain)


def test_a_stopped_session_does_not_wait_twice(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    task = session_task("drain-stop", replace(RULES, drain_seconds=LONG))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        pod.agent.send_signal(signal.SIGTERM)
        assert pod.wait_end().result.reason == "Terminated"
