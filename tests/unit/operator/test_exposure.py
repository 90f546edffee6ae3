"""A session behind a load balancer: its objects, its readiness, its end."""

import copy
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_operator.manifests import exposure
from nanogrid_operator.manifests.exposure import Owned
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.exposure import ABSENT_SECONDS, exposure_facts
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.transform import transform_pod
from support.builders import (
    JOB_UID,
    REQUIRED_ENVIRONMENT,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    running,
    some_settings,
    tenant_of,
)
from support.load_balancer_controller import (
    ADDRESS,
    PREFIX,
    LoadBalancerController,
    inject_gates,
    target_health,
)
from support.operator_fakes import CREATE_POD, JOBS, PODS
from support.operator_world import World

KEY = "0123456789abcdef0123456789abcdef"
OWN = "sales-s-5351954b"
SERVICES = "/api/v1/namespaces/team-a/services"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/team-a/ingresses"
BINDINGS = "/apis/elbv2.k8s.aws/v1beta1/namespaces/team-a/targetgroupbindings"
ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/jobs/0123456789abcdef"
INGRESS = {"expose": "Ingress"}
BINDING = {"expose": "TargetGroupBinding", "targetGroupARN": ARN}
BOTH = pytest.mark.parametrize(
    ("rules", "path"), [(INGRESS, INGRESSES), (BINDING, BINDINGS)], ids=["Ingress", "TGB"]
)
NETWORKING = {"ingress": [{"from": [{"securityGroup": {"groupID": "sg-0a"}}],
                           "ports": [{"protocol": "TCP", "port": 9080}]}]}  # fmt: skip


def exposing(**changes: Any) -> Settings:
    """Settings of an installation whose sessions may have each way in."""
    given: dict[str, Any] = {
        "session_key": KEY,
        "session_url": "http://router",
        "session_expose": "Service,Ingress,TargetGroupBinding",
        "s3_secret": "",
        "watch_namespaces": "team-a",
        "tenant_defaults": json.dumps({"allow": {"targetGroupARNs": [ARN]}}),
    }
    return some_settings(**(given | changes))


def session_body(name: str = "sales", **rules: Any) -> Json:
    """A session job; keywords are fields of its ``session`` block."""
    body = a_job_body(mode="Session", session=rules)
    del body["spec"]["code"]
    body["metadata"]["name"] = name
    return body


def pod_of(rules: Json, **changes: Any) -> Json:
    """The session's pod."""
    job = job_facts(session_body(**rules)).model
    assert job is not None
    return build_pod(job, 0, exposing(**changes), tenant_of())


def made(rules: Json, name: str = "sales", **changes: Any) -> tuple[Owned, Owned | None]:
    """The session's Service, and its Ingress or TargetGroupBinding."""
    job, settings = job_facts(session_body(name, **rules)), exposing(**changes)
    service = exposure.service(job, settings)
    assert service is not None
    return service, exposure.entrance(job, settings)


async def started(rules: Json, path: str) -> tuple[World, LoadBalancerController]:
    """A session whose pod runs, and the controller that has taken up its object."""
    world = World(exposing(), session_body(**rules))
    await world.reconcile()
    controller = LoadBalancerController(world.kube, path, OWN)
    controller.take_up()
    return world, controller


def see(world: World, body: Json) -> None:
    """The watch brings the pod in this state."""
    world.kube.version += 1
    body["metadata"]["resourceVersion"] = str(10_000 + world.kube.version)
    world.cache.put_pod(copy.deepcopy(body))


def ready_pod(*, gated: str = "") -> Json:
    """The session's pod when its containers are ready; with a gate of this health."""
    pod = a_pod_body(phase="Running", agent=running(), sandbox=running(), ready=True)
    return pod if not gated else target_health(pod, OWN, *gated.split(": "))


async def settle(world: World, passes: int = 3) -> None:
    """Reconcile as long as the queue asks for it at once."""
    for _ in range(passes):
        await world.reconcile()


def ready(world: World) -> tuple[str, str, str]:
    """The session's condition: status, reason, message."""
    (found,) = [c for c in world.status.get("conditions", []) if c["type"] == "Ready"]
    return found["status"], found["reason"], found["message"]


# Ready.


@BOTH
async def test_a_session_is_ready_when_its_controller_has_applied_its_way_in(
    rules: Json, path: str
) -> None:
    world, controller = await started(rules, path)
    see(world, ready_pod())
    await settle(world)
    assert ready(world)[:2] == ("False", "ExposurePending")
    assert OWN in ready(world)[2]

    controller.apply()
    world.now += 5
    await settle(world)

    assert ready(world)[:2] == ("True", "SessionReady")
    assert world.events.count("ExposurePending") == 0, "it is no problem"


@BOTH
async def test_the_controllers_words_are_the_reason(rules: Json, path: str) -> None:
    world, controller = await started(rules, path)
    see(world, ready_pod())
    controller.warn("FailedDeployModel", "ValidationError: the interval must be greater")
    await settle(world)

    status, reason, message = ready(world)
    assert (status, reason) == ("False", "ExposureFailed")
    assert "FailedDeployModel: ValidationError: the interval must be greater" in message
    world.now += 10
    await settle(world)
    warnings = [e for e in world.kube.events if e["reason"] == "ExposureFailed"]
    assert [e["type"] for e in warnings] == ["Warning"], "once"

    controller.apply()
    world.now += 10
    await settle(world)
    assert ready(world)[:2] == ("True", "SessionReady")


@pytest.mark.parametrize("rules", [{}, {"expose": "Service"}])
async def test_sessions_without_a_controller_are_ready_with_their_pod(rules: Json) -> None:
    world = World(exposing(), session_body(**rules))
    await world.reconcile()
    see(world, ready_pod())
    await settle(world)

    assert ready(world)[:2] == ("True", "SessionReady")


@BOTH
async def test_a_way_in_that_goes_away_makes_the_session_unready(rules: Json, path: str) -> None:
    world, controller = await started(rules, path)
    controller.apply()
    see(world, ready_pod())
    await settle(world)
    assert ready(world)[0] == "True"

    del world.kube.objects[f"{path}/{OWN}"]
    world.now += 61
    await settle(world)

    assert ready(world)[:2] == ("False", "ExposureFailed")
    assert "was deleted" in ready(world)[2]


async def test_an_api_server_that_refuses_a_look_does_not_stop_the_session() -> None:
    world, controller = await started(INGRESS, INGRESSES)
    controller.apply()
    see(world, ready_pod())
    world.kube.refuse("GET", 403, "Forbidden", "may not get ingresses")
    await settle(world)
    assert "may not get ingresses" in ready(world)[2]

    world.now += 5
    await settle(world)
    assert ready(world)[0] == "True"


@pytest.mark.parametrize(
    ("status", "works", "address"),
    [
        ({}, False, ""),
        ({"loadBalancer": {}}, False, ""),
        ({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}, True, "lb.example"),
        ({"loadBalancer": {"ingress": [{}, {"ip": "10.0.0.7"}]}}, True, "10.0.0.7"),
        ({"observedGeneration": 1}, False, ""),
        ({"observedGeneration": 2}, True, ""),
    ],
)
def test_what_an_object_says(status: Json, works: bool, address: str) -> None:
    body = {"kind": "Ingress", "metadata": {"name": "x", "generation": 2}, "spec": {}}

    found = exposure_facts(body | {"status": status}, [], 0.0)

    assert (found.works, found.address) == (works, address)


# A controller that is not there.


@BOTH
async def test_a_missing_controller_is_shown_within_ten_seconds(rules: Json, path: str) -> None:
    world = World(exposing(), session_body(**rules))
    began = world.now
    while world.now <= began + 10:
        await world.reconcile()
        world.now += 1
        if world.now > began + 2:
            see(world, a_pod_body(phase="Pending"))

    assert ready(world)[:2] == ("False", "ExposureIgnored")
    assert world.status["phase"] == "Pending"
    assert world.events.count("ExposureIgnored") == 1

    LoadBalancerController(world.kube, path, OWN).apply()
    see(world, ready_pod())
    world.now += 5
    await settle(world)
    assert ready(world)[:2] == ("True", "SessionReady")


WEBHOOK = (
    'Internal error occurred: failed calling webhook "mservice.elbv2.k8s.aws": no endpoints '
    'available for service "aws-load-balancer-webhook-service"'
)


async def test_a_webhook_without_a_server_is_shown_and_tried_again() -> None:
    world = World(exposing(), session_body(**INGRESS))
    for _ in range(3):
        world.kube.refuse("POST", 500, "InternalError", WEBHOOK)
    for _ in range(2):
        await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Pending", "PodRejected")
    assert "mservice.elbv2.k8s.aws" in world.status["message"]
    assert "PodRejected" in world.events

    for _ in range(4):
        world.now += 3
        await world.reconcile()
    assert CREATE_POD in world.kube.writes


async def test_a_webhook_on_pods_of_batch_jobs_is_shown_too() -> None:
    world = World()
    world.kube.refuse("POST", 500, "InternalError", WEBHOOK)
    for _ in range(2):
        await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Pending", "PodRejected")


def test_an_object_that_a_controller_has_touched_is_not_ignored() -> None:
    created = {"creationTimestamp": "2026-01-01T00:00:00Z", "name": "x"}
    body: Json = {"kind": "Ingress", "metadata": created, "spec": {"ingressClassName": "alb"}}
    now = 1767225600 + ABSENT_SECONDS
    normal = {"type": "Normal", "reason": "Sync", "message": "", "metadata": {}}
    finalized = body | {"metadata": created | {"finalizers": ["ingress.k8s.aws/resources"]}}

    assert exposure_facts(body, [], now).reason is Reason.EXPOSURE_IGNORED
    assert "class alb" in exposure_facts(body, [], now).detail
    assert exposure_facts(body, [], now - 1).reason is Reason.EXPOSURE_PENDING
    assert exposure_facts(body, [normal], now).reason is Reason.EXPOSURE_PENDING
    assert exposure_facts(finalized, [], now).reason is Reason.EXPOSURE_PENDING


# The readiness gate, and targets that are not healthy.


def test_the_operator_writes_the_gate_and_the_webhook_adds_no_second_one() -> None:
    pod = pod_of(BINDING)
    service, binding = made(BINDING)
    assert binding is not None
    services = {OWN: service.body}

    assert pod["spec"]["readinessGates"] == [{"conditionType": f"{PREFIX}{OWN}"}]
    assert binding.body["metadata"]["name"] == OWN
    assert inject_gates(pod, [binding.body], services)["spec"] == pod["spec"]
    bare = copy.deepcopy(pod)
    del bare["spec"]["readinessGates"]
    assert inject_gates(bare, [binding.body], services)["spec"] == pod["spec"], "it would add one"
    for rules in ({}, {"expose": "Service"}, INGRESS):
        assert "readinessGates" not in pod_of(rules)["spec"]


@pytest.mark.security
async def test_the_binding_of_another_team_is_refused_and_nothing_is_made() -> None:
    world = World(exposing(tenant_defaults=""), session_body(**BINDING))
    await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Failed", "InvalidSpec")
    assert "allow.targetGroupARNs" in world.status["message"]
    assert not [write for write in world.kube.writes if write.startswith("POST")]


async def test_an_unhealthy_target_has_its_own_reason() -> None:
    world, controller = await started(BINDING, BINDINGS)
    controller.apply()
    see(world, ready_pod(gated="Elb.InitialHealthChecking: Initial health checks in progress"))
    await settle(world)
    assert ready(world)[:2] == ("False", "ExposurePending")

    world.now += 6
    see(world, ready_pod(gated="Target.Timeout: Request timed out"))
    await settle(world)
    status, reason, message = ready(world)
    assert (status, reason) == ("False", "TargetUnhealthy")
    assert "Target.Timeout: Request timed out" in message
    assert "9080" in message
    assert world.events.count("TargetUnhealthy") == 1

    see(world, target_health(ready_pod(), OWN))
    await settle(world)
    assert ready(world)[:2] == ("True", "SessionReady")


def test_a_pod_with_an_open_gate_is_not_on_a_silent_node() -> None:
    gated = pod_facts(transform_pod(ready_pod(gated="Target.Timeout: no answer")))
    assert (gated.waits_for_gates, gated.silent) == (True, False)
    assert gated.unhealthy_target == "Target.Timeout: no answer"

    silent = ready_pod(gated="Target.Timeout: no answer")
    for condition in silent["status"]["conditions"]:
        if condition["type"] == "Ready":
            del condition["reason"]  # the node controller writes none
    assert pod_facts(transform_pod(silent)).silent


def test_the_security_groups_of_bindings_come_from_the_settings() -> None:
    _, bare = made(BINDING)
    _, binding = made(BINDING, session_target_networking=json.dumps(NETWORKING))

    assert bare is not None
    assert "networking" not in bare.body["spec"]
    assert binding is not None
    assert binding.body["spec"]["networking"] == NETWORKING


# The end.


@BOTH
async def test_the_service_stays_until_the_controller_has_cleaned_up(
    rules: Json, path: str
) -> None:
    world, controller = await started(rules, path)
    controller.apply()
    world.push(a_report(replace(a_result(), reason=Reason.IDLE_TIMEOUT.value)))
    await world.reconcile()

    assert world.end == ("Succeeded", "IdleTimeout", "Delivered")
    assert controller.body["metadata"]["deletionTimestamp"]
    assert f"{SERVICES}/{OWN}" in world.kube.objects
    controller.clean_up()
    assert not [o for o in (f"{path}/{OWN}", f"{SERVICES}/{OWN}") if o in world.kube.objects]


@BOTH
async def test_the_order_is_the_same_when_the_job_is_deleted(rules: Json, path: str) -> None:
    world, controller = await started(rules, path)
    controller.apply()
    await world.kube.delete(JOBS, "sales")  # by a user: the operator does nothing

    assert controller.body["metadata"]["deletionTimestamp"]
    assert f"{SERVICES}/{OWN}" in world.kube.objects
    controller.clean_up()
    assert f"{SERVICES}/{OWN}" not in world.kube.objects


async def test_the_service_of_a_session_without_a_controller_is_deleted() -> None:
    world = World(exposing(), session_body(expose="Service"))
    await world.reconcile()
    assert f"{SERVICES}/{OWN}" in world.kube.objects

    world.push(a_report(replace(a_result(), reason=Reason.SESSION_ENDED.value)))
    await world.reconcile()
    assert f"{SERVICES}/{OWN}" not in world.kube.objects


@BOTH
async def test_objects_that_exist_already_are_adopted(rules: Json, path: str) -> None:
    world = World(exposing(), session_body(**rules))
    for owned in made(rules):
        assert owned is not None
        body = copy.deepcopy(owned.body)
        body["metadata"]["uid"] = f"uid-of-{owned.plural}"
        world.kube.put(f"{owned.base}/namespaces/team-a/{owned.plural}", body)
    await world.reconcile()

    assert CREATE_POD in world.kube.writes
    (owner,) = world.kube.objects[f"{SERVICES}/{OWN}"]["metadata"]["ownerReferences"]
    assert owner["uid"] == world.kube.objects[f"{path}/{OWN}"]["metadata"]["uid"]


async def test_rights_that_an_upgrade_took_away_do_not_keep_a_session_from_ending() -> None:
    world, controller = await started(INGRESS, INGRESSES)
    controller.apply()
    world.push(a_report(replace(a_result(), reason=Reason.IDLE_TIMEOUT.value)))
    world.kube.refuse("GET", 403, "Forbidden", "may not get ingresses")
    await world.reconcile()

    assert world.end == ("Succeeded", "IdleTimeout", "Delivered")


@pytest.mark.parametrize("rules", [{"expose": "Service"}, INGRESS, BINDING])
def test_every_end_waits_longer_than_the_deregistration(rules: Json) -> None:
    pod, bare = pod_of(rules, deregistration_seconds=30), pod_of({})
    job = job_facts(session_body(**rules)).model
    assert job is not None
    task = task_for(job, 0, exposing(deregistration_seconds=30), tenant_of())

    for container in pod["spec"]["containers"]:
        assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 35}}}, "of a deletion"
    assert task.session is not None
    assert task.session.drain_seconds == 35, "of all other ends"
    assert pod_facts(transform_pod(with_times(pod))).drain_seconds == 35
    more = {
        name: pod["spec"][name] - bare["spec"][name]
        for name in ("terminationGracePeriodSeconds", "activeDeadlineSeconds")
    }
    assert more == {"terminationGracePeriodSeconds": 35, "activeDeadlineSeconds": 70}


def test_a_session_of_the_router_does_not_wait() -> None:
    pod = pod_of({})

    assert all("lifecycle" not in container for container in pod["spec"]["containers"])
    assert names.LABEL_DRAIN not in pod["metadata"]["labels"]
    off = pod_of(INGRESS, deregistration_seconds=0)
    assert names.LABEL_DRAIN not in off["metadata"]["labels"]


async def test_a_pod_that_drains_does_not_outlive_its_session() -> None:
    world, controller = await started(INGRESS, INGRESSES)
    controller.apply()
    pod = ready_pod()
    pod["metadata"]["labels"][names.LABEL_DRAIN] = "305"
    see(world, pod)
    world.push(a_report(replace(a_result(), reason=Reason.IDLE_TIMEOUT.value)))
    await world.reconcile()

    world.now += 300
    await world.reconcile()
    assert not [w for w in world.kube.writes if w.startswith(f"DELETE {PODS}")]
    world.now += 70
    await world.reconcile()
    assert [w for w in world.kube.writes if w.startswith(f"DELETE {PODS}")]


@pytest.mark.security
@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "99999", "٣"])
def test_a_label_that_a_user_has_changed_is_no_error(text: str) -> None:
    pod = a_pod_body()
    pod["metadata"]["labels"][names.LABEL_DRAIN] = text

    assert pod_facts(pod).drain_seconds == 0


def with_times(pod: Json) -> Json:
    """A manifest as the API server stores it."""
    pod = copy.deepcopy(pod)
    pod["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return pod


# Names and addresses.


@pytest.mark.parametrize(
    "name",
    ["sales", "v1.2-report", "2026-report", "7", "a" * 52, "1" * 52, "a." * 25 + "b", "9.9.9"],
)
def test_the_service_of_any_job_has_a_valid_name(name: str) -> None:
    service, entrance = made(INGRESS, name)
    own = service.body["metadata"]["name"]

    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", own), "RFC 1035"
    assert entrance is not None
    assert entrance.body["metadata"]["name"] == own
    path = entrance.body["spec"]["rules"][0]["http"]["paths"][0]
    assert path["backend"]["service"]["name"] == own
    assert path["path"] == f"/sessions/team-a/{name}"


def test_jobs_with_similar_names_have_services_of_their_own() -> None:
    uids = {"v1.2": "uid-1", "v1-2": "uid-2"}
    assert len({names.session_service(name, uid) for name, uid in uids.items()}) == 2
    assert names.session_service("sales", JOB_UID) == names.session_object("sales", JOB_UID)


@pytest.mark.parametrize("policy", ["", "PreferDualStack"])
def test_the_service_of_a_session_has_the_ip_families_of_the_chart(policy: str) -> None:
    service, _ = made({"expose": "Service"}, ip_family_policy=policy)
    assert service.body["spec"].get("ipFamilyPolicy", "") == policy


ALB = "alb.ingress.kubernetes.io"
CERTIFICATE = {f"{ALB}/certificate-arn": "arn:aws:acm:ap-northeast-2:1:certificate/0"}
PATH = "/sessions/team-a/sales"


@pytest.mark.parametrize(
    ("rules", "host", "annotations", "url"),
    [
        ({}, "", {}, f"http://router{PATH}"),
        (INGRESS, "", {}, f"http://{ADDRESS}{PATH}"),
        (INGRESS, "s.example.com", {}, f"http://s.example.com{PATH}"),
        (INGRESS, "s.example.com", CERTIFICATE, f"https://s.example.com{PATH}"),
        (
            INGRESS,
            "s.example.com",
            {f"{ALB}/listen-ports": '[{"HTTP": 80}, {"HTTPS": 8443}]'},
            f"https://s.example.com:8443{PATH}",
        ),
        (INGRESS, "s.example.com", {f"{ALB}/listen-ports": '[{"HTTP": 8080}]'},
         f"http://s.example.com:8080{PATH}"),
        (BINDING, "s.example.com", {}, f"http://{OWN}.team-a.svc"),
        ({"expose": "Service"}, "", {}, f"http://{OWN}.team-a.svc"),
    ],
)  # fmt: skip
def test_the_url_is_the_public_one_where_there_is_one(
    rules: Json, host: str, annotations: Json, url: str
) -> None:
    settings = exposing(
        session_ingress_host=host, session_ingress_annotations=json.dumps(annotations)
    )
    job = job_facts(session_body(**rules))

    assert exposure.url(job, settings, ADDRESS) == url


async def test_the_status_keeps_the_public_url() -> None:
    world, controller = await started(INGRESS, INGRESSES)
    see(world, ready_pod())
    await settle(world)
    controller.apply()
    world.now += 5
    await settle(world)
    assert world.status["session"]["url"] == f"http://{ADDRESS}{PATH}"

    world.push(a_report(replace(a_result(), reason=Reason.IDLE_TIMEOUT.value)))
    await world.reconcile()
    assert world.status["phase"] == "Succeeded"
    assert world.status["session"]["url"] == f"http://{ADDRESS}{PATH}"


async def test_a_restart_of_the_operator_does_not_make_a_session_unready() -> None:
    world, controller = await started(INGRESS, INGRESSES)
    controller.apply()
    see(world, ready_pod())
    await settle(world)
    assert ready(world)[0] == "True"

    world.kube.put(PODS, ready_pod())
    await world.restart()
    assert world.cache.job(JOB_UID)
    before = len(world.kube.writes)
    await settle(world)
    assert ready(world)[:2] == ("True", "SessionReady")
    assert len(world.kube.writes) == before, "the status does not change"


async def test_the_url_of_the_router_follows_the_values() -> None:
    world = World(exposing(), session_body())
    await world.reconcile()
    see(world, ready_pod())
    await settle(world)
    assert world.status["session"]["url"] == f"http://router{PATH}"

    world.settings = exposing(session_url="https://public.example")
    world.kube.put(PODS, ready_pod())
    await world.restart()
    world.push(a_report(replace(a_result(), reason=Reason.IDLE_TIMEOUT.value)))
    await world.reconcile()
    assert world.status["phase"] == "Succeeded"
    assert world.status["session"]["url"] == f"https://public.example{PATH}"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NANOGRID_SESSION_TARGET_NETWORKING": "["}, "not valid JSON"),
        ({"NANOGRID_SESSION_TARGET_NETWORKING": "[]"}, "expected an object"),
        (
            {"NANOGRID_SESSION_INGRESS_ANNOTATIONS": json.dumps({f"{ALB}/listen-ports": "HTTPS"})},
            "listen-ports",
        ),
    ],
)
def test_settings_that_can_never_work_are_refused(environment: Json, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(REQUIRED_ENVIRONMENT | environment)
    good = {"NANOGRID_SESSION_TARGET_NETWORKING": json.dumps(NETWORKING)}
    assert (
        Settings.from_env(REQUIRED_ENVIRONMENT | good).mapping("session_target_networking")
        == NETWORKING
    )
