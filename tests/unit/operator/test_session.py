"""A session: pod, token, exposure, decisions, status."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.manifests import session
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.observed import SessionObservation
from nanogrid_operator.settings import Settings
from support.builders import (
    JOB_UID,
    POD_NAME,
    REQUIRED_ENVIRONMENT,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    ended,
    running,
    some_settings,
    tenant_of,
)
from support.operator_fakes import PODS
from support.operator_world import World
from support.pod_security import violations

KEY = "0123456789abcdef0123456789abcdef"
OWN = "sales-s-5351954b"
SECRETS = "/api/v1/namespaces/team-a/secrets"
SERVICES = "/api/v1/namespaces/team-a/services"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/team-a/ingresses"
BINDINGS = "/apis/elbv2.k8s.aws/v1beta1/namespaces/team-a/targetgroupbindings"
ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/jobs/0123456789abcdef"


def with_sessions(**changes: Any) -> Settings:
    """Settings of an installation with sessions."""
    given = {"session_key": KEY, "session_url": "http://router", "s3_secret": "", **changes}
    return some_settings(**given)


def a_session_body(**rules: Any) -> Json:
    """A session job; keywords are fields of its ``session`` block."""
    body = a_job_body(mode="Session", session=rules)
    del body["spec"]["code"]
    return body


def manifest(**rules: Any) -> Json:
    """The session's pod."""
    job = job_facts(a_session_body(**rules)).model
    assert job is not None
    return build_pod(job, 0, with_sessions(), tenant_of())


def a_world(settings: Settings | None = None, **rules: Any) -> World:
    """An operator with sessions enabled that knows one."""
    return World(settings or with_sessions(), a_session_body(**rules))


def see_pod(world: World, **state: Any) -> None:
    """The watch brings the pod, newer than the answer to its creation."""
    world.see_pod(version=1000, **state)


def a_session_report(
    executions: int, active: int | None = None, idle_millis: int = 0
) -> wire.SessionReport:
    """A report of the agent."""
    return wire.SessionReport(
        uid=JOB_UID,
        attempt=0,
        ready=True,
        executions=executions,
        running=active,
        last_activity_millis=idle_millis,
    )


def test_the_pod_restarts_containers_serves_http_and_has_a_label() -> None:
    pod = manifest()
    agent, sandbox = pod["spec"]["containers"]

    assert pod["metadata"]["labels"][names.LABEL_MODE] == "Session"
    assert pod["spec"]["restartPolicy"] == "OnFailure"
    assert agent["readinessProbe"]["httpGet"] == {"path": "/health", "port": names.SESSION_PORT}
    assert agent["ports"] == [{"name": "http", "containerPort": names.SESSION_PORT}]
    assert "lifecycle" not in agent
    assert "readinessProbe" not in sandbox
    assert violations(pod) == []


def test_only_the_agent_has_the_token() -> None:
    pod = manifest()
    agent, sandbox = pod["spec"]["containers"]

    assert {"name": "session", "secret": {"secretName": OWN}} in pod["spec"]["volumes"]
    assert names.SESSION_TOKEN_DIR in [m["mountPath"] for m in agent["volumeMounts"]]
    assert names.SESSION_TOKEN_DIR not in [m["mountPath"] for m in sandbox["volumeMounts"]]


def test_an_unprotected_session_mounts_no_token() -> None:
    assert "session" not in [v["name"] for v in manifest(auth="Unprotected")["spec"]["volumes"]]


def test_the_kubelet_ends_a_session_if_its_agent_does_not() -> None:
    short = manifest(maxLifetimeSeconds=100, idleTimeoutSeconds=10, executionTimeoutSeconds=20)
    long = manifest(maxLifetimeSeconds=200, idleTimeoutSeconds=10, executionTimeoutSeconds=20)

    deadlines = [pod["spec"]["activeDeadlineSeconds"] for pod in (short, long)]
    assert deadlines[1] - deadlines[0] == 100
    assert deadlines[0] > 100 + 20


def test_the_task_has_the_rules_and_the_place_of_artifacts() -> None:
    body = a_session_body(maxExecutions=3, concurrencyPolicy="Reject", executionTimeoutSeconds=7)
    job = job_facts(body).model
    assert job is not None
    task = task_for(job, 0, with_sessions(), tenant_of())

    assert task.session == wire.SessionRules(
        idle_timeout_seconds=900.0,
        max_lifetime_seconds=28_800.0,
        execution_timeout_seconds=7.0,
        max_executions=3,
        concurrency_policy="Reject",
    )
    assert task.outputs.path == "artifacts"
    assert task.outputs.prefix == f"sessions/{JOB_UID}/artifacts/"


def test_the_secret_has_the_token_that_the_router_computes() -> None:
    made = session.owned_objects(job_facts(a_session_body()), with_sessions())

    ((_, plural, secret),) = made
    assert plural == "secrets"
    token = base64.b64decode(secret["data"]["token"]).decode()
    assert token == names.session_token(KEY.encode(), JOB_UID)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == JOB_UID


async def test_the_secret_is_created_before_the_pod() -> None:
    world = a_world()

    await world.reconcile()

    assert world.kube.writes == [f"POST {SECRETS}", f"POST {PODS}"]
    assert f"{SECRETS}/{OWN}" in world.kube.objects


async def test_an_exposure_that_is_not_allowed_is_refused_with_a_hint() -> None:
    world = a_world(expose="Ingress")

    await world.reconcile()

    status = world.status
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "only Router" in status["message"]
    assert "sessions.expose" in status["message"]


async def test_a_session_is_refused_if_sessions_are_not_enabled() -> None:
    world = a_world(settings=some_settings())

    await world.reconcile()

    assert "sessions.enabled" in world.status["message"]
    assert not [w for w in world.kube.writes if PODS in w]


async def test_readiness_is_written_at_once_and_counts_at_a_bounded_rate() -> None:
    world = a_world()
    await world.reconcile()
    see_pod(world, phase="Running", agent=running(), sandbox=running(), ready=True)
    await world.reconcile()

    assert condition(world, "Ready") == ("True", "SessionReady")
    assert world.status["session"]["url"] == "http://router/sessions/team-a/sales"
    assert world.status["session"]["tokenSecretName"] == OWN
    before = len(world.kube.writes)

    for number in range(1, 5):
        world.cache.put_session(SessionObservation(a_session_report(number), world.now))
        await world.reconcile()
    assert len(world.kube.writes) == before, "no write within five seconds"

    world.now += 6
    world.cache.put_session(
        SessionObservation(a_session_report(4, active=4, idle_millis=1000), world.now)
    )
    await world.reconcile()

    shown = world.status["session"]
    assert (shown["executions"], shown["running"]) == (4, 4)
    assert shown["lastActivityTime"] == session_time(world.now - 1)
    assert len(world.kube.writes) == before + 1


async def test_a_restarted_sandbox_does_not_end_the_session() -> None:
    world = a_world()
    await world.reconcile()
    see_pod(world, phase="Running", agent=running(), sandbox=running(), ready=True)
    await world.reconcile()

    gone = restarting(a_pod_body(phase="Running", agent=running(), sandbox=ended(137, "OOMKilled")))
    world.cache.put_pod(gone)
    world.now += 400  # much longer than the startup timeout
    await world.reconcile()

    assert world.status["phase"] == "Running"
    assert condition(world, "Ready") == ("False", "SandboxRestarted")


async def test_a_failed_sync_ends_the_session_and_its_pod() -> None:
    world = a_world()
    await world.reconcile()
    message = wire.dumps(wire.SyncFailure(reason="InputNotFound", message="s3://b/k"))
    see_pod(world, phase="Pending", sync=ended(65, "Error", message))
    await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "InputNotFound")
    assert any(w.startswith(f"DELETE {PODS}/{POD_NAME}") for w in world.kube.writes)


async def test_a_failed_agent_restarts_and_one_that_ended_does_not() -> None:
    world = a_world()
    await world.reconcile()
    see_pod(world, phase="Running", agent=ended(1, "Error"), sandbox=running())
    await world.reconcile()
    assert world.status.get("phase") not in ("Failed", "Succeeded")

    over = replace(a_result(), reason=Reason.SESSION_ENDED.value, executions=7)
    message = wire.dumps(a_report(over))
    see_pod(world, phase="Succeeded", agent=ended(0, "Completed", message), sandbox=ended(0))
    await world.reconcile()
    assert (world.status["phase"], world.status["reason"]) == ("Succeeded", "SessionEnded")
    assert condition(world, "Ready") == ("False", "SessionEnded")
    assert world.status["session"].get("running") is None
    assert world.status["session"]["executions"] == 7


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NANOGRID_SESSION_KEY": "short"}, "expected 16 random"),
        ({"NANOGRID_SESSION_INGRESS_ANNOTATIONS": "{"}, "not valid JSON"),
        ({"NANOGRID_SESSION_INGRESS_ANNOTATIONS": '{"a": 1}'}, "object of strings"),
    ],
)
def test_settings_that_can_never_work_are_refused(environment: Json, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(REQUIRED_ENVIRONMENT | environment)
    assert (
        Settings.from_env(REQUIRED_ENVIRONMENT | {"NANOGRID_SESSION_KEY": KEY}).session_key == KEY
    )


def condition(world: World, kind: str) -> tuple[str, str]:
    """Status and reason of one condition."""
    (found,) = [c for c in world.status["conditions"] if c["type"] == kind]
    return found["status"], found["reason"]


def session_time(at: float) -> str:
    """A time as the status writes it."""
    return timestamp(at)


def restarting(pod: Json) -> Json:
    """The pod while the kubelet restarts the sandbox container."""
    for container in pod["status"]["containerStatuses"]:
        if container["name"] == names.CONTAINER_SANDBOX:
            container["lastState"] = container["state"]
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
            container["restartCount"] = 1
    pod["metadata"]["resourceVersion"] = "100000"
    return pod
