"""Values of Secrets: the kubelet gives them to the agent, and no object has them."""

import json
from typing import Any

import pytest

from nanogrid.types import Json
from support.builders import a_job_body, some_settings, waiting
from support.operator_fakes import JOBS, PODS
from support.operator_world import World
from support.pod_manifests import ZIP_JOB, built, container, task_text

pytestmark = pytest.mark.security

CANARY = "c4n4ry-7f3a"
ALLOW = json.dumps({"allow": {"secrets": ["database"]}})


def variable(name: str = "DB", key: str = "password", **more: Any) -> Json:
    return {
        "name": name,
        "valueFrom": {"secretKeyRef": {"name": "database", "key": key, **more}},
    }


@pytest.mark.parametrize("mode", ["Batch", "Session"])
def test_only_the_agent_gets_the_variable(mode: str) -> None:
    env = [variable(), {"name": "MODE", "value": "full"}]
    inputs = ZIP_JOB["inputs"]
    pod = built(mode=mode, env=env, inputs=inputs, runtime={"image": "team-a/pandas:2"})
    reference = {"name": "database", "key": "password", "optional": False}

    given = {
        c["name"]: [e for e in c.get("env", []) if "SECRET_ENV" in e["name"]]
        for c in pod["spec"]["initContainers"] + pod["spec"]["containers"]
    }

    assert given.pop("agent") == [
        {"name": "NANOGRID_SECRET_ENV_DB", "valueFrom": {"secretKeyRef": reference}}
    ]
    assert set(given) == {"install-launcher", "check-runtime", "sync-input", "sandbox"}
    assert not any(given.values())
    assert json.loads(task_text(pod))["env"] == {"MODE": "full"}


def test_an_optional_secret_may_be_missing() -> None:
    (variable_of_agent,) = [
        e
        for e in container(built(env=[variable(optional=True)]), "agent")["env"]
        if e["name"] == "NANOGRID_SECRET_ENV_DB"
    ]

    assert variable_of_agent["valueFrom"]["secretKeyRef"]["optional"] is True


def test_a_variable_without_a_value_is_an_empty_text() -> None:
    assert json.loads(task_text(built(env=[{"name": "A"}])))["env"] == {"A": ""}


async def test_the_operator_reads_no_secret_and_writes_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The canary is in the Secret only: the operator has no way to copy it."""
    settings = some_settings(watch_namespaces="team-a", s3_secret="", tenant_defaults=ALLOW)
    world = World(settings, env=[variable()])
    secret = {"metadata": {"name": "database"}, "stringData": {"password": CANARY}}
    world.kube.put(PODS.replace("pods", "secrets"), secret)

    with caplog.at_level("DEBUG"):
        await world.reconcile()
        pod = [body for key, body in world.kube.objects.items() if key.startswith(PODS)]
        message = 'secret "database" not found'
        world.see_pod(version=200, agent=waiting("CreateContainerConfigError", message))
        world.now += 2
        await world.reconcile()

    written = [body for key, body in world.kube.objects.items() if "/secrets/" not in key]
    everything = json.dumps([pod, written, world.kube.events, caplog.text, world.kube.writes])
    assert CANARY in json.dumps(world.kube.objects)
    assert CANARY not in everything
    assert "NANOGRID_SECRET_ENV_DB" in everything
    assert world.status["reason"] == "ConfigError"
    assert message in world.status["message"]


async def test_a_missing_secret_is_shown_within_seconds_and_ends_the_job() -> None:
    body = a_job_body(env=[variable()], timeouts={"startupSeconds": 30})
    world = World(some_settings(s3_secret="", tenant_defaults=ALLOW), body)
    await world.reconcile()
    world.see_pod(version=200, agent=waiting("CreateContainerConfigError", "no key"))
    world.now += 1
    await world.reconcile()
    shown = world.status["phase"], world.status["reason"]

    world.now += 31
    await world.reconcile()

    assert shown == ("Pending", "ConfigError")
    assert world.end[:2] == ("Failed", "ConfigError")
    assert f"{JOBS}/sales" in world.kube.objects
