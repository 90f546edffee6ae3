"""Jobs that a restore brings back do not start by themselves, whatever the tool left in them."""

import json
from typing import Any

import pytest

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.reasons import HELP, Reason
from nanogrid.types import Json
from nanogrid_operator.decision import actions
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.manifests.exposure import metadata
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.report_token import owned_objects
from nanogrid_operator.model.restored import LAST_APPLIED, restored
from support.builders import (
    JOB_UID,
    POD_NAME,
    a_job,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    a_running_pod,
    an_attempt,
    retrying,
    running,
    signed,
    some_settings,
    tenant_of,
)
from support.operator_fakes import CREATE_POD, JOBS, WRITE_STATUS
from support.operator_world import World
from support.snapshots import a_snapshot

OLD_UID = "11111111-2222-4333-8444-555555555555"
OLD_POD = f"sales-{names.short_digest(OLD_UID)}-0"
VELERO = {"velero.io/backup-name": "nightly", "velero.io/restore-name": "nightly-1"}
BY_TOOL = {names.ANNOTATION_RESTORED: "true"}
STARTED = {names.ANNOTATION_START_RESTORED: JOB_UID}
HELD = {"phase": "Suspended", "reason": "Restored"}


def applied(uid: str | None = OLD_UID, **more: Any) -> Json:
    """The annotation of ``kubectl apply`` for a manifest with this uid."""
    metadata = {"name": "sales"} | ({} if uid is None else {"uid": uid})
    return {LAST_APPLIED: json.dumps({"metadata": metadata, "spec": {}, **more})}


CASES: list[tuple[str, Json, str]] = [
    ("Velero", {"labels": VELERO}, "It has the label velero.io/restore-name=nightly-1"),
    (
        "a tool with one of its labels",
        {"labels": {"velero.io/backup-name": "nightly"}},
        "It has the label velero.io/backup-name=nightly",
    ),
    ("our annotation", {"annotations": BY_TOOL}, "It has the annotation nanogrid.io/restored"),
    (
        "our annotation with an error in it",
        {"annotations": {names.ANNOTATION_RESTORED: "False"}},
        "It has the annotation nanogrid.io/restored",
    ),
    (
        "a job that a user started before the backup",
        {"annotations": {names.ANNOTATION_START_RESTORED: OLD_UID}},
        f"Its annotation nanogrid.io/start-restored names the uid {OLD_UID}",
    ),
    (
        "kubectl get -o yaml, kubectl apply",
        {"annotations": applied()},
        f"It was applied from a copy of the job with the uid {OLD_UID}",
    ),
    (
        "kubectl get -o yaml of a job that ran, kubectl apply",
        {"annotations": applied(status={"podName": OLD_POD})},
        f"It was applied from a copy of the job with the uid {OLD_UID}",
    ),
    (
        "the status of a job that ran",
        {"status": {"phase": "Running", "reason": "Executing", "podName": OLD_POD}},
        f"Its status names the pod {OLD_POD} of a job with another uid",
    ),
    (
        "the status of a job between two attempts",
        {"status": retrying(an_attempt(0) | {"podName": OLD_POD})},
        f"Its status names the pod {OLD_POD} of a job with another uid",
    ),
    (
        "the status of a job in the queue",
        {"status": {"phase": "Pending", "reason": "Queued", "requestId": OLD_UID}},
        f"Its status has the uid {OLD_UID}",
    ),
    (
        "Velero with the status of a job in the queue, which has a requestId of its own",
        {
            "labels": VELERO,
            "requestId": "order-1",
            "status": {"phase": "Pending", "reason": "Queued", "requestId": "order-1"},
        },
        "It has the label velero.io/restore-name=nightly-1",
    ),
    ("a job whose labels were removed", {"status": HELD}, "Its status says so"),
]
HELD_BACK = [pytest.param(body, id=name) for name, body, _ in CASES]


@pytest.mark.parametrize(("body", "why"), [pytest.param(b, w, id=n) for n, b, w in CASES])
def test_what_shows_that_a_job_comes_from_a_backup(body: Json, why: str) -> None:
    assert restored(a_job_body(**body)) == f"{why}. Its uid is {JOB_UID}"


@pytest.mark.parametrize("body", HELD_BACK)
def test_a_restored_job_is_started_by_its_own_uid(body: Json) -> None:
    annotations = (body.get("annotations") or {}) | STARTED

    assert restored(a_job_body(**body | {"annotations": annotations})) == ""


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labels": {"app": "report"}, "annotations": {"note": "velero.io/restore-name"}},
        {"annotations": {names.ANNOTATION_RESTORED: "false"}},
        {"annotations": applied(uid=None)},
        {"annotations": applied(uid=None, data={"uid": OLD_UID})},
        {"annotations": applied(uid=JOB_UID)},
        # A copy with a new name; the pod in its status has the old one.
        {"annotations": applied(status={"podName": OLD_POD.replace("sales", "report")})},
        {"annotations": {LAST_APPLIED: '{"uid"'}},
        {"annotations": {LAST_APPLIED: '["uid"]'}},
        {"annotations": {LAST_APPLIED: '{"metadata": ["uid"]}'}},
        {"annotations": {LAST_APPLIED: '{"metadata": {"uid": 7}}'}},
        {"status": {"phase": "Pending", "reason": "Queued", "requestId": JOB_UID}},
        {"status": {"requestId": "order-1"}, "requestId": "order-1"},
        {"status": retrying(an_attempt(0))},
        {"status": retrying(an_attempt(0) | {"podName": ""})},
        # Velero may add its labels to what is in the cluster (existingResourcePolicy: update).
        {"labels": VELERO, "status": {"phase": "Running", "podName": POD_NAME}},
        {"labels": VELERO, "status": retrying(an_attempt(0))},
        {"labels": VELERO, "status": {"phase": "Succeeded"}},
    ],
)
def test_any_other_job_may_start(body: Json) -> None:
    job = a_job(**body)

    assert job.finished or restored(a_job_body(**body)) == ""
    assert job.restored == ""


@pytest.mark.parametrize("body", HELD_BACK)
@pytest.mark.parametrize("wait_reason", ["", "full"])
def test_a_restored_job_neither_starts_nor_queues(body: Json, wait_reason: str) -> None:
    action = decide(a_snapshot(a_job(**body), age=5, wait_reason=wait_reason))

    if body.get("status") == HELD:
        assert action == actions.Wait(60)
    else:
        assert isinstance(action, actions.Progress)
        assert (action.phase, action.reason) == ("Suspended", "Restored")
        assert JOB_UID in action.message


@pytest.mark.parametrize("body", HELD_BACK)
def test_it_starts_after_a_user_has_named_its_uid(body: Json) -> None:
    annotations = (body.get("annotations") or {}) | STARTED
    job = a_job(**body | {"annotations": annotations})

    action = decide(a_snapshot(job, age=1000))

    assert action == actions.Create(job.attempt)


def test_nothing_is_written_while_a_restore_may_bring_the_status() -> None:
    assert decide(a_snapshot(a_job(labels=VELERO), age=1)) == actions.Wait(3)


@pytest.mark.parametrize(
    "spec", [{"suspend": True}, {"mode": "Dance"}, {"functionRef": {"name": "sales"}}]
)
def test_it_is_held_back_whatever_its_spec_is(spec: Json) -> None:
    action = decide(a_snapshot(a_job(labels=VELERO, **spec), age=5))

    assert isinstance(action, actions.Progress)
    assert action.reason is Reason.RESTORED


def test_a_restored_job_can_be_cancelled() -> None:
    action = decide(a_snapshot(a_job(labels=VELERO, cancel=True), age=5))

    assert isinstance(action, actions.Finish)
    assert action.outcome.reason is Reason.CANCELLED


def test_the_annotation_does_not_touch_a_pod_or_a_report() -> None:
    job = a_job(annotations=BY_TOOL)

    shown = decide(a_snapshot(job, a_running_pod(), age=1))
    end = decide(a_snapshot(job, None, a_report(), had_pod=True))

    assert isinstance(shown, actions.Wait)
    assert isinstance(end, actions.Finish)
    assert end.outcome.succeeded


def test_a_finished_job_with_its_status_stays_finished() -> None:
    status = {"phase": "Succeeded", "podName": OLD_POD, "delivery": {"state": "Delivered"}}

    assert decide(a_snapshot(a_job(labels=VELERO, status=status), age=5)) == actions.Nothing()


@pytest.mark.parametrize("kind", ["pod", "report token", "session"])
def test_what_one_run_uses_is_in_no_backup(kind: str) -> None:
    settings = some_settings(s3_secret="", report_key="k" * 32)
    job = ExecutionJob.model_validate(a_job_body())
    made = {
        "pod": build_pod(job, 0, settings, tenant_of(settings))["metadata"],
        "report token": owned_objects(a_job(), settings)[0][2]["metadata"],
        "session": metadata(a_job()),
    }

    assert made[kind]["labels"]["velero.io/exclude-from-backup"] == "true"


# The whole operator.


def annotate(world: World, annotations: Json) -> None:
    """A user annotates the job."""
    body = world.kube.objects[f"{JOBS}/sales"]
    body["metadata"]["annotations"] = annotations
    world.change_spec()


async def test_a_restored_job_shows_why_and_runs_once_when_it_is_started() -> None:
    world = World(labels=VELERO)
    world.now += 5

    await world.reconcile()
    await world.restart()
    await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Suspended", "Restored")
    assert world.status["message"].startswith(HELP[Reason.RESTORED].meaning)
    assert world.status["message"].endswith(HELP[Reason.RESTORED].hint)
    assert world.events == ["Restored"]
    assert world.kube.writes == [WRITE_STATUS]

    annotate(world, STARTED)
    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]


async def test_a_job_without_a_mark_starts_at_the_same_time() -> None:
    world = World(labels={"app": "report"})
    world.now += 5

    await world.reconcile()

    assert world.kube.writes == [CREATE_POD]


async def test_a_job_that_is_marked_in_the_queue_leaves_it() -> None:
    world = World(some_settings(watch_namespaces="team-a", s3_secret="", max_waiting_pods=1))
    other = a_pod_body(job_uid="other")
    other["metadata"]["name"] = "other-0"
    world.cache.put_pod(other)
    await world.reconcile()
    assert world.parts.admission.queued("team-a") == [JOB_UID]

    world.now += 10
    annotate(world, BY_TOOL)
    await world.reconcile()

    assert world.parts.admission.queued("team-a") == []
    assert world.status["reason"] == "Restored"


async def test_a_restored_session_gets_neither_a_pod_nor_a_secret() -> None:
    body = a_job_body(labels=VELERO, mode="Session", session={})
    del body["spec"]["code"]
    settings = some_settings(
        session_key="0123456789abcdef" * 2, session_url="http://router", s3_secret=""
    )
    world = World(settings, body)
    world.now += 5

    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS]
    assert (world.status["phase"], world.status["reason"]) == ("Suspended", "Restored")
    (ready,) = world.status["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "Restored")


async def test_a_status_that_comes_after_the_job_decides() -> None:
    """Velero creates the job and then writes the status of the old one."""
    world = World(labels=VELERO)
    await world.reconcile()
    assert world.kube.writes == []

    ended = {"phase": "Succeeded", "delivery": {"state": "Delivered"}}
    world.kube.objects[f"{JOBS}/sales"]["status"] = ended
    annotate(world, {})
    world.now += 60
    await world.reconcile()

    assert world.kube.writes == []


@pytest.mark.parametrize("stored", [True, False], ids=["result in S3", "no result"])
async def test_a_restore_of_etcd_starts_no_second_pod_of_an_attempt(stored: bool) -> None:
    """etcd brings the uid and the status back, and the pod is gone."""
    world = World(status={"phase": "Running", "reason": "Executing", "podName": POD_NAME})
    if stored:
        world.s3.stored[JOB_UID] = signed(a_result())

    await world.reconcile()

    assert world.end[:2] == (("Succeeded", "Completed") if stored else ("Failed", "PodLost"))
    assert CREATE_POD not in world.kube.writes


async def test_a_pod_that_etcd_brings_back_is_adopted() -> None:
    world = World(labels=VELERO)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert CREATE_POD not in world.kube.writes
