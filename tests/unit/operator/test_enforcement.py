"""What the tests of the network mean, which jobs wait for them, and how they are done."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid.network_condition import Enforcement, NetworkCondition, condition, condition_of
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision import actions
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.decision.enforcement import (
    OPEN,
    NetworkAdmission,
    Seen,
    admission,
    first_condition,
    first_pause_seconds,
    judge,
    next_condition,
    pause_seconds,
)
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.manifests.network import gate_port
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.probe import probe_pod
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.settings import Settings
from support.builders import CREATED, a_job, a_pod, ended, some_settings, tenant_of
from support.operator_fakes import JOBS, FakeKube
from support.operator_world import World
from support.pod_manifests import built, container, model
from support.pod_security import violations
from support.snapshots import a_snapshot

pytestmark = pytest.mark.security

RELEASE = {
    "fullname": "nanogrid",
    "namespace": "platform",
    "denied_port": names.DENIED_PORT,
    "pod_ips": "10.1.2.3",
    "network_policies": True,
}
SETTINGS = some_settings(**RELEASE)
OWN_ISOLATION = some_settings(**RELEASE | {"network_policies": False})
ALLOWING = some_settings(**RELEASE, allow_unenforced_network=True)
POD = "/api/v1/namespaces/platform/pods"
MAPS = "/api/v1/namespaces/platform/configmaps"

UNKNOWN, ENFORCED, NOT_ENFORCED, FAILED = (
    condition(state, "why", "then", "then")
    for state in (
        Enforcement.UNKNOWN,
        Enforcement.ENFORCED,
        Enforcement.NOT_ENFORCED,
        Enforcement.PROBE_FAILED,
    )
)
CLOSED, PORT_OPEN, UNREACHABLE = Seen("closed"), Seen("open"), Seen("unreachable")


@pytest.mark.parametrize(
    ("denied", "allowed", "state"),
    [
        (CLOSED, PORT_OPEN, Enforcement.ENFORCED),
        (PORT_OPEN, PORT_OPEN, Enforcement.NOT_ENFORCED),
        (PORT_OPEN, Seen(""), Enforcement.NOT_ENFORCED),
        # A port that no pod reaches proves nothing.
        (CLOSED, UNREACHABLE, Enforcement.PROBE_FAILED),
        (CLOSED, Seen("", "no node"), Enforcement.PROBE_FAILED),
        (UNREACHABLE, PORT_OPEN, Enforcement.PROBE_FAILED),
        (Seen("", "no image"), PORT_OPEN, Enforcement.PROBE_FAILED),
    ],
)
def test_a_test_is_judged(denied: Seen, allowed: Seen, state: Enforcement) -> None:
    found, message = judge(denied, allowed)
    assert found is state
    assert denied.detail in message
    assert allowed.detail in message


def test_a_test_that_failed_keeps_an_earlier_conclusion() -> None:
    failed = (Enforcement.PROBE_FAILED, "no node")
    for before, reason in ((ENFORCED, "Enforced"), (NOT_ENFORCED, "NotEnforced")):
        after = next_condition(before, failed, CREATED)
        assert (after.reason, after.last_transition_time) == (reason, "then")
        assert after.last_probe_time != "then"
        assert "no node" in after.message
    assert next_condition(UNKNOWN, failed, CREATED).reason == "ProbeFailed"


def test_a_changed_conclusion_has_a_new_transition_time() -> None:
    after = next_condition(ENFORCED, (Enforcement.NOT_ENFORCED, "open"), CREATED)
    assert (after.status, after.reason) == ("False", "NotEnforced")
    assert after.last_transition_time == after.last_probe_time == "2025-10-09T08:53:20Z"


def test_an_enforced_network_is_tested_daily_and_another_one_more_often() -> None:
    assert pause_seconds(ENFORCED, SETTINGS) == 86400
    assert pause_seconds(NOT_ENFORCED, SETTINGS) == pause_seconds(FAILED, SETTINGS) == 600


DENY: Json = {}
EXPLICIT: Json = {"network": {"egress": "Deny"}}
LIST: Json = {"network": {"egress": "Allowlist", "cidrs": ["203.0.113.0/24"]}}
INTERNET: Json = {"network": {"egress": "Internet"}}
PRIVATE_LIST: Json = {"network": {"egress": "Allowlist", "cidrs": ["10.1.0.0/16"]}}
UNPROTECTED: Json = {
    "mode": "Session",
    "code": None,
    "session": {"auth": "Unprotected"},
    **INTERNET,
}


@pytest.mark.parametrize(
    ("spec", "current", "settings", "answer"),
    [
        (DENY, ENFORCED, SETTINGS, "run"),
        (UNPROTECTED, ENFORCED, SETTINGS, "run"),
        (DENY, UNKNOWN, SETTINGS, "wait"),
        (UNPROTECTED, UNKNOWN, SETTINGS, "wait"),
        (INTERNET, UNKNOWN, SETTINGS, "run"),
        (DENY, NOT_ENFORCED, SETTINGS, "refuse"),
        (LIST, NOT_ENFORCED, SETTINGS, "refuse"),
        (UNPROTECTED, NOT_ENFORCED, SETTINGS, "refuse"),
        (INTERNET, NOT_ENFORCED, SETTINGS, "run"),
        (DENY, FAILED, SETTINGS, "refuse"),
        (DENY, NOT_ENFORCED, ALLOWING, "run"),
        (UNPROTECTED, UNKNOWN, ALLOWING, "run"),
        # The platform team isolates pods itself: only explicit promises cannot be kept.
        (DENY, first_condition(OWN_ISOLATION), OWN_ISOLATION, "run"),
        (INTERNET, first_condition(OWN_ISOLATION), OWN_ISOLATION, "run"),
        (EXPLICIT, first_condition(OWN_ISOLATION), OWN_ISOLATION, "refuse"),
        (LIST, first_condition(OWN_ISOLATION), OWN_ISOLATION, "refuse"),
        (UNPROTECTED, first_condition(OWN_ISOLATION), OWN_ISOLATION, "refuse"),
    ],
)
def test_a_job_starts_only_on_the_network_that_it_needs(
    spec: Json, current: NetworkCondition, settings: Settings, answer: str
) -> None:
    found = admission(model(**spec).spec, current, settings)
    given = {"wait": bool(found.wait), "refuse": bool(found.refusal)}
    assert given == {"wait": answer == "wait", "refuse": answer == "refuse"}


def test_a_refused_job_ends_without_a_pod_and_names_both_ways_out() -> None:
    refused = a_snapshot(network=NetworkAdmission(refusal="It needs network.egress: Deny"))
    action = decide(refused)
    assert isinstance(action, actions.Finish)
    assert action.outcome.reason is Reason.NETWORK_NOT_ENFORCED
    message = action.outcome.result.message
    assert "network.egress: Deny" in message
    assert "Install a network plugin" in message
    assert "security.allowUnenforcedNetwork=true" in message
    # The controls: a network that is open to the job, and a job whose pod exists.
    assert isinstance(decide(a_snapshot(network=OPEN)), actions.Create)
    assert not isinstance(decide(a_snapshot(pod=a_pod())), actions.Finish)


def test_a_job_waits_for_the_first_test_and_says_so() -> None:
    waiting = a_snapshot(network=NetworkAdmission(wait="It needs network.egress: Deny"))
    action = decide(waiting)
    assert isinstance(action, actions.Progress)
    assert (action.phase, action.reason) == ("Pending", Reason.NETWORK_UNKNOWN)
    shown = {"phase": "Pending", "reason": "NetworkUnknown"}
    again = a_snapshot(a_job(status=shown), network=waiting.network)
    assert isinstance(decide(again), actions.Wait)


def test_an_install_container_that_names_a_reason_ends_the_attempt_with_it() -> None:
    own = json.dumps({"reason": "NetworkNotEnforced", "message": "8081 is open"})
    for message, reason in ((own, Reason.NETWORK_NOT_ENFORCED), ("??", Reason.RUNTIME_INVALID)):
        pod = a_pod(install=ended(1, message=message))
        action = decide(a_snapshot(pod=pod))
        assert isinstance(action, actions.Finish)
        assert action.outcome.reason is reason


@pytest.mark.parametrize(
    ("spec", "enforced", "changes", "port"),
    [
        (DENY, True, {}, names.DENIED_PORT),
        (LIST, True, {}, names.DENIED_PORT),
        (DENY, False, {}, None),
        (INTERNET, True, {}, names.DENIED_PORT),
        (INTERNET, False, {}, None),
        (INTERNET, True, {"pod_ips": "198.51.100.3"}, None),
        (INTERNET, True, {"pod_ips": ""}, names.DENIED_PORT),
        (DENY, True, {"pod_ips": "198.51.100.3"}, names.DENIED_PORT),
        (DENY, True, {"network_gate": False}, None),
        (DENY, True, {"denied_port": 0}, None),
        (PRIVATE_LIST, True, {}, None),
        (PRIVATE_LIST, True, {"pod_ips": "10.2.0.1"}, names.DENIED_PORT),
        (PRIVATE_LIST, True, {"pod_ips": "fd00::1"}, names.DENIED_PORT),
        (PRIVATE_LIST, True, {"pod_ips": "fd00::1,10.1.2.3"}, None),
        (INTERNET, True, {"pod_ips": "10.1.2.3,2606:4700::1"}, None),
        (
            INTERNET,
            True,
            {"pod_ips": "2606:4700::1", "cluster_cidrs": "2606:4700::/56"},
            names.DENIED_PORT,
        ),
    ],
)
def test_code_waits_for_its_network_if_there_is_one(
    spec: Json, enforced: bool, changes: Any, port: int | None
) -> None:
    settings = some_settings(**RELEASE | changes)
    assert gate_port(model(**spec).spec, settings, enforced=enforced) == port


def test_an_image_of_the_job_runs_only_after_the_network_is_in_force() -> None:
    pod = built_with_gate(runtime={"image": "team-a/tool:1"})
    install = container(pod, names.CONTAINER_INSTALL)
    assert install["command"][-2:] == ["--gate-port", "8081"]
    assert install["env"][-1]["name"] == names.ENV_RESULTS_URL
    assert pod["spec"]["initContainers"][0] == install
    plain = container(built(runtime={"image": "team-a/tool:1"}), names.CONTAINER_INSTALL)
    assert "--gate-port" not in plain["command"]
    assert names.ENV_RESULTS_URL not in {e["name"] for e in plain["env"]}


def built_with_gate(**spec: Any) -> Json:
    return build_pod(model(**spec), 0, SETTINGS, tenant_of(), None, names.DENIED_PORT)


@pytest.mark.parametrize("kind", names.PROBE_KINDS)
def test_a_probe_pod_is_restricted_bounded_and_no_sandbox(kind: str) -> None:
    settings = some_settings(
        **RELEASE, image_pull_secrets='[{"name": "pull"}]', node_selector='{"pool": "sandboxes"}'
    )
    pod = probe_pod(kind, settings)
    assert not violations(pod)
    assert pod["spec"]["activeDeadlineSeconds"] == 90
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["spec"]["nodeSelector"] == {"pool": "sandboxes"}
    (only,) = pod["spec"]["containers"]
    assert only["command"][-3:] == ["probe-network", kind, "nanogrid-operator.nanogrid"]
    assert {"limits", "requests"} <= set(only["resources"])
    assert pod["metadata"]["labels"][names.LABEL_PROBE] == kind
    assert names.LABEL_JOB_UID not in pod["metadata"]["labels"]


class Cluster(FakeKube):
    """Pods end at once with what ``ports`` says; a kind without a port never ends."""

    def __init__(self, **ports: str) -> None:
        super().__init__()
        self.ports = ports
        self.put(MAPS, {"metadata": {"name": "nanogrid-network", "resourceVersion": "1"}})

    async def create(self, path: str, body: Json) -> Json:
        made = await super().create(path, body)
        port = self.ports.get(body["metadata"]["labels"][names.LABEL_PROBE])
        if port is not None:
            state = {"terminated": {"message": json.dumps({"port": port, "detail": ""})}}
            ended_pod = {"phase": "Succeeded", "containerStatuses": [{"state": state}]}
            self.objects[f"{path}/{body['metadata']['name']}"]["status"] = ended_pod
        return made

    @property
    def stored(self) -> NetworkCondition | None:
        return condition_of(self.objects[f"{MAPS}/nanogrid-network"])


async def test_the_result_is_stored_and_the_pods_are_deleted() -> None:
    kube = Cluster(denied="closed", allowed="open")
    probe = NetworkProbe(kube, SETTINGS, lambda: CREATED)
    assert (probe.condition.enforced, probe.condition.reason) == (False, "Unknown")
    await probe.test()
    assert (probe.condition.enforced, probe.condition.reason) == (True, "Enforced")
    assert kube.stored == probe.condition
    assert [key for key in kube.objects if key.startswith(POD)] == []


async def test_an_open_port_is_reported() -> None:
    kube = Cluster(denied="open", allowed="open")
    probe = NetworkProbe(kube, SETTINGS)
    await probe.test()
    assert (probe.condition.enforced, probe.condition.status) == (False, "False")


async def test_a_pod_that_does_not_end_fails_the_test_in_time() -> None:
    kube, loop = Cluster(allowed="open"), asyncio.get_running_loop()
    probe, began = NetworkProbe(kube, SETTINGS), loop.time()
    await probe.test()
    assert loop.time() - began == pytest.approx(90, abs=1)
    assert probe.condition.reason == "ProbeFailed"
    assert "nanogrid-denied-probe did not end within 90 s: Pending" in probe.condition.message
    assert [key for key in kube.objects if key.startswith(POD)] == []


async def test_a_pod_of_a_killed_operator_is_replaced() -> None:
    kube = Cluster(denied="closed", allowed="open")
    kube.put(POD, probe_pod(names.PROBE_DENIED, SETTINGS) | {"status": {"phase": "Pending"}})
    probe = NetworkProbe(kube, SETTINGS)
    await probe.test()
    assert probe.condition.reason == "Enforced"


async def test_a_restarted_operator_takes_the_stored_result() -> None:
    kube = Cluster(denied="closed", allowed="open")
    await NetworkProbe(kube, SETTINGS).test()
    restarted = NetworkProbe(kube, SETTINGS)
    await restarted.load()
    assert restarted.condition == kube.stored
    # One that cannot read it waits for its own test.
    kube.refuse("GET", 503)
    blind = NetworkProbe(kube, SETTINGS)
    await blind.load()
    assert blind.condition.reason == "Unknown"


@pytest.mark.parametrize(
    ("enforced", "age", "pause"),
    [(True, 0.0, 600.0), (True, 599.0, 1.0), (True, 3600.0, 0.0), (False, 0.0, 0.0)],
    ids=["just tested", "nearly due", "old", "not enforced"],
)
def test_an_operator_that_restarts_often_tests_seldom(
    enforced: bool, age: float, pause: float
) -> None:
    tested = replace(ENFORCED if enforced else NOT_ENFORCED, last_probe_time=timestamp(CREATED))
    assert first_pause_seconds(tested, CREATED + age) == pause


def test_the_first_operator_tests_at_once() -> None:
    assert first_pause_seconds(first_condition(SETTINGS), CREATED) == 0


async def test_without_policies_nothing_is_tested_and_the_condition_says_so() -> None:
    kube = Cluster()
    probe = NetworkProbe(kube, OWN_ISOLATION)
    await probe.run()
    assert kube.stored is not None
    assert (kube.stored.status, kube.stored.reason) == ("False", "PoliciesDisabled")
    assert [w for w in kube.writes if w.startswith("POST")] == []


async def test_a_job_follows_the_tests_of_the_network() -> None:
    world = World(some_settings(**RELEASE, s3_secret=""))
    await world.reconcile()
    assert (world.status["phase"], world.status["reason"]) == ("Pending", "NetworkUnknown")
    world.parts.network.condition = ENFORCED
    world.now += 5
    world.cache.put_job(world.kube.objects[f"{JOBS}/sales"])
    await world.reconcile()
    (pod,) = [o for k, o in world.kube.objects.items() if "/pods/" in k]
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert json.loads(env["NANOGRID_TASK"])["gatePort"] == names.DENIED_PORT


async def test_a_job_is_refused_where_the_network_is_not_enforced() -> None:
    world = World(some_settings(**RELEASE, s3_secret=""))
    world.parts.network.condition = NOT_ENFORCED
    await world.reconcile()
    assert world.end[:2] == ("Failed", "NetworkNotEnforced")
    assert [k for k in world.kube.objects if "/pods/" in k] == []
