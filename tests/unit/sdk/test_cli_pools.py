"""``pools``, ``run --pool``, and what the command line shows of warm and cold starts."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli import why
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.job_tables import job_card
from nanogrid.cli.app.pool_tables import pool_card, pools_table
from nanogrid.cli.main import app
from nanogrid.job_start import job_start
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from support.cli_fakes import CREATED, NAMESPACE, ended, function, job
from support.cli_terminal import Terminal

POOLS = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.POOL_PLURAL}"
ALL_POOLS = f"/apis/{names.API_VERSION}/{names.POOL_PLURAL}"
READY: Json = {"type": "Ready", "status": "True", "reason": "PoolReady", "message": "Pods wait."}
NONE_READY = sentence(Reason.STARTED_COLD, "No pod of ExecutionPool fast was ready")


def pool(name: str, namespace: str = NAMESPACE, **spec: Any) -> Json:
    """An ExecutionPool that has pods."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.POOL_KIND,
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": CREATED},
        "spec": {"minReady": 2, "maxReady": 4, **spec},
        "status": {
            "target": 3,
            "ready": 2,
            "starting": 1,
            "claimed": 5,
            "claims": 70,
            "misses": 6,
            "claimP50Millis": 41,
            "conditions": [READY],
        },
    }


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A namespace with two pools, and another one with a pool."""
    fast = pool("fast", runtime={"image": "python-data"}, preload=["pandas"])
    own, other = [pool("slow"), fast], pool("fast", namespace="another")
    terminal.cluster.lists[POOLS] = own
    terminal.cluster.lists[ALL_POOLS] = [*own, other]
    for one in own:
        terminal.cluster.objects[f"{POOLS}/{one['metadata']['name']}"] = one
    return terminal


def test_pools_are_listed_by_name_with_their_counts(terminal: Terminal) -> None:
    head, first, second = terminal.run("pools").stdout.splitlines()

    assert head.split()[:8] == [
        "NAME", "READY", "TARGET", "STARTING", "CLAIMED", "CLAIMS", "MISSES", "P50",
    ]  # fmt: skip
    assert first.split()[:8] == ["fast", "2", "3", "1", "5", "70", "6", "41ms"]
    assert second.split()[0] == "slow"


def test_the_other_formats_of_the_list(terminal: Terminal) -> None:
    wide = terminal.run("pools", "-o", "wide").stdout.splitlines()[1]
    assert wide.split()[-3:] == ["PoolReady", "python-data", "pandas"]
    assert [
        one["metadata"]["name"] for one in json.loads(terminal.run("pools", "-o", "json").stdout)
    ] == ["fast", "slow"]
    assert terminal.run("pools", "-o", "name").stdout.splitlines() == [
        "executionpool.nanogrid.io/fast",
        "executionpool.nanogrid.io/slow",
    ]
    everywhere = terminal.run("pools", "-A").stdout.splitlines()
    assert [line.split()[:2] for line in everywhere[1:]] == [
        ["another", "fast"],
        [NAMESPACE, "fast"],
        [NAMESPACE, "slow"],
    ]


def test_a_namespace_without_pools(terminal: Terminal) -> None:
    terminal.cluster.lists[POOLS] = []

    done = terminal.run("pools")

    assert (done.stdout, done.stderr) == ("", f"no pools in {NAMESPACE}\n")


def test_the_details_of_a_pool(terminal: Terminal) -> None:
    selector = {
        "matchLabels": {"speed": "high"},
        "matchExpressions": [
            {"key": "team", "operator": "In", "values": ["a", "b"]},
            {"key": "slow", "operator": "DoesNotExist"},
        ],
    }
    limits = {"memory": "128Mi", "cpu": "1"}
    found = pool(
        "fast",
        mode="Session",
        jobSelector=selector,
        resources={"limits": limits},
        maxAgeSeconds=3600,
    )

    lines = dict(line.split(maxsplit=1) for line in pool_card(found, 0).splitlines())

    assert lines["name"] == f"{NAMESPACE}/fast"
    assert lines["mode"] == "Session"
    assert lines["state"] == "PoolReady"
    assert lines["ready"] == "2 of 3"
    assert lines["size"] == "2 to 4"
    assert lines["limits"] == "memory 128Mi, cpu 1"
    assert lines["jobs"] == "speed=high, team In (a,b), slow DoesNotExist"
    assert terminal.run("pools", "fast").stdout.startswith(f"name        {NAMESPACE}/fast\n")
    assert json.loads(terminal.run("pools", "fast", "-o", "json").stdout)["spec"]["minReady"] == 2


def test_a_pool_that_the_operator_has_not_seen() -> None:
    found = pool("new") | {"status": {}}

    assert "not processed yet" in pool_card(found, 0)
    assert pools_table([found], 0).splitlines()[1].split()[0] == "new"


def test_a_missing_pool_and_a_name_with_all_namespaces(terminal: Terminal) -> None:
    assert terminal.run("pools", "gone").exit_code == Exit.FAILED
    assert terminal.run("pools", "fast", "-A").exit_code == Exit.USAGE


def test_run_and_function_run_name_the_pool(terminal: Terminal) -> None:
    terminal.cluster.add_functions(function("f"))

    assert terminal.run("run", "-c", "1", "--pool", "fast").exit_code == 0
    assert terminal.run("function", "run", "f", "--pool", "fast").exit_code == 0

    assert [one["spec"]["poolRef"] for one in terminal.cluster.created] == [{"name": "fast"}] * 2
    done = terminal.run("run", "-c", "1", "--pool", "Not_a_pool")
    assert done.exit_code == Exit.USAGE
    assert "poolRef" in done.stderr


def test_names_of_pools_are_completed(terminal: Terminal) -> None:
    for line in ("nanogrid pools f", "nanogrid run --pool f", "nanogrid function run x --pool f"):
        variables = {
            "_NANOGRID_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        done = CliRunner(env=variables).invoke(app, [], prog_name="nanogrid")
        assert done.output.split() == ["fast"], line


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, ""),
        ({"start": "Warm"}, "Warm"),
        ({"start": "Cold"}, "Cold"),
        (
            {"start": "Cold", "startMessage": NONE_READY},
            "Cold: No pod of ExecutionPool fast was ready",
        ),
        ({"start": "Cold", "startMessage": "Of a newer release."}, "Cold: Of a newer release"),
    ],
)
def test_a_start_is_shown_with_its_cause(status: Json, shown: str) -> None:
    assert job_start(status) == shown


def test_get_and_why_show_the_start() -> None:
    found = ended("j")
    found["status"] |= {"start": "Cold", "startMessage": NONE_READY}

    card, diagnosis = job_card(found, 0), why.diagnose(found, None, [])

    assert "start       Cold: No pod of ExecutionPool fast was ready\n" in card
    assert diagnosis.to_json()["start"] == "Cold: No pod of ExecutionPool fast was ready"
    assert "start  Cold: No pod of ExecutionPool fast was ready\n" in why.to_text(diagnosis)
    assert "start" not in job_card(job("j"), 0)


def test_what_happened_while_the_pod_waited_is_no_evidence() -> None:
    def warning(reason: str, at: str) -> Json:
        metadata = {"creationTimestamp": at}
        return {"type": "Warning", "reason": reason, "message": reason, "metadata": metadata}

    pod = {
        "metadata": {
            "name": "fast-pool-0a1b2c3d",
            "creationTimestamp": "2026-01-02T02:00:00Z",
            "labels": {names.LABEL_POOL: "fast"},
        },
        "status": {},
    }
    events = [
        warning("FailedScheduling", "2026-01-02T02:00:01Z"),
        warning("FailedMount", "2026-01-02T03:04:06Z"),
    ]

    found = why.diagnose(job("j", "Running", "Executing"), pod, events)

    assert found.evidence == ["event FailedMount: FailedMount"]
    assert found.timeline[0].what == "pod created, to wait in pool fast"
