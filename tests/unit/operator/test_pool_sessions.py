"""Sessions that take pods of a pool, as the operator sees them."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.types import Json
from nanogrid_operator.decision.pool_choice import PoolChoice
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.observed import SessionObservation
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.status.session import SessionFacts, readiness
from support.builders import JOB_UID, a_job_body
from support.pool_world import PoolWorld, a_pool_body, pool_settings

KEY = "0123456789abcdef0123456789abcdef"
SECRET = f"/api/v1/namespaces/team-a/secrets/{names.session_object('sales', JOB_UID)}"
FIRST, SECOND = "0000000a", "0000000b"
SESSION: Json = {"mode": "Session", "code": None}
TOKEN = names.session_token(KEY.encode(), JOB_UID)


def a_world(pool: Json | None = None, **job: Any) -> PoolWorld:
    """An operator with a session of the pool ``warm``."""
    settings = pool_settings(session_key=KEY, session_url="http://router")
    return PoolWorld(settings, pool or a_pool_body(mode="Session"), **{**SESSION, **job})


async def test_a_session_takes_a_waiting_pod() -> None:
    world = a_world()
    future = world.ready_pod(FIRST)

    await world.reconcile()

    given = await future
    assert (given.task.uid, given.session_token) == (JOB_UID, TOKEN)
    pod = world.pod(FIRST)
    assert pod["metadata"]["labels"][names.LABEL_MODE] == names.MODE_SESSION
    assert pod["spec"]["activeDeadlineSeconds"] > 28_800
    assert SECRET in world.kube.objects, "for the users of the session"


async def test_a_restarted_agent_gets_the_same_session_and_no_other_pod_does() -> None:
    world = a_world()
    first, second = world.ready_pod(FIRST), world.ready_pod(SECOND)
    await world.reconcile()
    given = await first
    world.watch_pod(names.pool_pod("warm", FIRST))

    again = world.parts.claims.task_of(f"pod-{FIRST}")

    assert again == given
    assert world.parts.claims.task_of(f"pod-{SECOND}") is None
    assert not second.done()
    await world.reconcile()
    assert (world.owner(FIRST), world.owner(SECOND)) == (JOB_UID, "")


async def test_a_session_that_does_not_fit_starts_cold_with_its_secret() -> None:
    world = a_world(a_pool_body())
    world.ready_pod(FIRST)

    await world.reconcile()

    assert world.owner(FIRST) == ""
    (own,) = [p for p in world.kube.objects.values() if is_own(p)]
    assert own["spec"]["restartPolicy"] == "OnFailure"
    assert SECRET in world.kube.objects
    (why,) = world.parts.claims._cold.values()
    assert "it is a session, and the pool's pods are for batch jobs" in why


def is_own(body: Json) -> bool:
    """Whether an object is the pod that was created for the session."""
    labels = body["metadata"].get("labels") or {}
    return body.get("kind") == "Pod" and labels.get(names.LABEL_JOB_UID) == JOB_UID


async def test_a_batch_job_takes_no_pod_for_sessions() -> None:
    world = a_world(mode="Batch", code={"inline": "print('hello')"})
    world.ready_pod(FIRST)

    await world.reconcile()

    assert world.owner(FIRST) == ""
    (why,) = world.parts.claims._cold.values()
    assert "it is a batch job, and the pool's pods are for sessions" in why


def test_a_pool_for_sessions_needs_an_installation_with_sessions() -> None:
    enabled = a_world()
    disabled = PoolWorld(pool_settings(session_key=""), a_pool_body(mode="Session"))

    assert enabled.parts.claims.templates.of(enabled.pool()).version
    with pytest.raises(InvalidSpecError, match="sessions are not enabled"):
        disabled.parts.claims.templates.of(disabled.pool())
    assert enabled.parts.claims.choice(job_facts(a_job_body(**SESSION))) == PoolChoice()


def a_pod(pool: str) -> Pod:
    """A ready pod."""
    world = a_world()
    body = world.waiting_pod(FIRST)
    body["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    return replace(pod_facts(body), pool=pool)


@pytest.mark.parametrize(
    ("pool", "reported", "shown", "ready"),
    [
        pytest.param("", None, None, True, id="a pod of its own"),
        pytest.param("warm", None, None, False, id="the pod was ready before the session"),
        pytest.param("warm", False, None, False, id="the agent is not ready"),
        pytest.param("warm", True, None, True, id="the agent is ready"),
        pytest.param("warm", None, "True", True, id="an operator that takes over"),
        pytest.param("warm", False, "True", False, id="the sandbox restarts"),
        pytest.param("warm", None, "False", False, id="an operator that takes over early"),
    ],
)
def test_a_warm_session_is_ready_when_its_agent_is(
    pool: str, reported: bool | None, shown: str | None, ready: bool
) -> None:
    body = a_job_body(**SESSION)
    if shown is not None:
        body["status"] = {"conditions": [{"type": "Ready", "status": shown}]}
    observed = None
    if reported is not None:
        report = wire.SessionReport(
            uid=JOB_UID,
            attempt=0,
            ready=reported,
            executions=0,
            running=None,
            last_activity_millis=0,
        )
        observed = SessionObservation(report, 1.0)

    found = readiness(job_facts(body), SessionFacts(a_pod(pool), observed))

    assert found.truth is ready
