"""The manifest of a pod that waits in a pool."""

import copy
import json
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.api.job import ExecutionJob
from nanogrid.api.label_selector import LabelSelector
from nanogrid.controller_class import policy_name
from nanogrid.types import Json
from nanogrid_operator.manifests.hand_over import claim_patch, hand_over
from nanogrid_operator.manifests.network import namespace_policies
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.pool_pod import build_pool_pod, template, version_of_pods
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.claim import ClaimProofs
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.settings import Settings
from support.builders import JOB_UID, RESULT_KEY_MASTER, golden, some_settings, tenant_of
from support.pod_manifests import container, containers_of, model
from support.pod_security import violations
from support.pool_world import POOL_UID, a_pool

PROOFS = ClaimProofs(RESULT_KEY_MASTER)


def pool_pod(
    token: str = "0000000a",
    settings: Settings | None = None,
    gate_port: int | None = 8080,
    **spec: Any,
) -> Json:
    settings = settings or some_settings(pool_priority_class="nanogrid-pool")
    tenant = tenant_of(settings)
    pool = a_pool(**spec)
    version = version_of_pods(template(pool, settings, tenant, gate_port))
    return build_pool_pod(pool, token, settings, tenant, gate_port, PROOFS, version)


def environment(pod: Json, name: str) -> dict[str, Any]:
    return {v["name"]: v.get("value") for v in container(pod, name).get("env", [])}


def test_the_manifest_of_a_pools_pod() -> None:
    pod = pool_pod(
        preload=["json", "decimal"],
        nodeSelector={"pool": "warm"},
        tolerations=[{"key": "warm", "operator": "Exists"}],
    )
    for variable in container(pod, "agent")["env"]:
        if variable["name"] == names.ENV_POOL_TASK:
            variable["value"] = json.loads(variable["value"])

    assert pod == golden("pool_pod.json")


def test_a_pools_pod_meets_the_restricted_standard() -> None:
    assert violations(pool_pod()) == []


def test_nothing_of_a_job_is_in_a_pools_pod() -> None:
    pod = pool_pod(settings=some_settings(s3_sandbox_role_arn="arn:aws:iam::1:role/sandbox"))
    metadata = pod["metadata"]

    assert metadata["labels"][names.LABEL_JOB_UID] == ""
    assert not {names.LABEL_JOB, names.LABEL_ATTEMPT} & metadata["labels"].keys()
    assert [owner["kind"] for owner in metadata["ownerReferences"]] == [names.POOL_KIND]
    assert "activeDeadlineSeconds" not in pod["spec"]
    given = environment(pod, "agent")
    assert not {names.ENV_TASK, names.ENV_RESULT_KEY, names.ENV_S3_ROLE_SESSION} & given.keys()
    assert wire.loads(wire.PoolTask, given[names.ENV_POOL_TASK]) == wire.PoolTask(
        namespace="team-a", pool="warm", gate_port=8080
    )
    for each in containers_of(pod):
        assert each["name"] != names.CONTAINER_SYNC
        assert names.ENV_LOG_JOB not in environment(pod, each["name"])
    assert not any(a.startswith("--log-job") for a in container(pod, "sandbox")["command"])


def test_only_the_operator_can_prove_that_it_created_a_pod() -> None:
    pod = pool_pod()
    assert PROOFS.created_by_operator(pod)

    other_pod = copy.deepcopy(pod)
    other_pod["metadata"]["name"] = names.pool_pod("warm", "0000000b")
    other_pool = copy.deepcopy(pod)
    other_pool["metadata"]["labels"][names.LABEL_POOL] = "other"
    no_owner = copy.deepcopy(pod)
    no_owner["metadata"]["ownerReferences"] = []
    for forged in (other_pod, other_pool, no_owner):
        assert not PROOFS.created_by_operator(forged)


def test_pods_of_a_pool_have_different_users_and_the_same_version() -> None:
    one, two = pool_pod("0000000a"), pool_pod("0000000b")

    users = {pod["spec"]["securityContext"]["runAsUser"] for pod in (one, two)}
    versions = {pod["metadata"]["labels"][names.LABEL_POOL_VERSION] for pod in (one, two)}
    assert (len(users), len(versions)) == (2, 1)


def version(settings: Settings | None = None, gate_port: int | None = None, **spec: Any) -> str:
    settings = settings or some_settings()
    return version_of_pods(template(a_pool(**spec), settings, tenant_of(settings), gate_port))


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": {"image": "pandas:2"}},
        {"runtime": {"runtimeClassName": "gvisor"}},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"serviceAccountName": "reports"},
        {"nodeSelector": {"a": "b"}},
        {"tolerations": [{"operator": "Exists"}]},
        {"affinity": {"nodeAffinity": {}}},
        {"priorityClassName": "high"},
        {"preload": ["json"]},
        {"mode": "Session"},
        {"gate_port": 8080},
        {"settings": some_settings(executor_image="nanogrid-executor:2.0")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_the_pod_is_a_new_version(change: Json) -> None:
    assert version(**change) != version()


@pytest.mark.parametrize(
    "change", [{"minReady": 3}, {"maxReady": 9}, {"maxAgeSeconds": 60}, {"generation": 7}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_does_not_change_the_pod_is_no_new_version(change: Json) -> None:
    assert version(**change) == version()


def test_the_placement_of_a_pool_comes_before_that_of_the_installation() -> None:
    affinity = {"nodeAffinity": {"x": 1}}
    spec = pool_pod(nodeSelector={"a": "b"}, affinity=affinity, priorityClassName="high")["spec"]

    assert (spec["nodeSelector"], spec["affinity"]) == ({"a": "b"}, affinity)
    assert spec["priorityClassName"] == "high"


def test_an_invalid_pool_has_no_pod() -> None:
    with pytest.raises(InvalidSpecError, match="maxAgeSeconds"):
        pool_pod(maxAgeSeconds=1)


def test_a_pod_gets_the_task_of_its_job_with_the_limits_that_are_in_force() -> None:
    settings = some_settings()
    pod = pool_pod(settings=settings, resources={"limits": {"memory": "512Mi"}})
    job = model(inputs=[{"name": "sales", "s3": {"prefix": "2025/"}}])
    task = task_for(job, 2, settings, tenant_of(settings), gate_port=8080)

    given = hand_over(job, task, pod, settings)

    assert (given.task.uid, given.task.attempt) == (JOB_UID, 2)
    assert given.task.memory_limit_bytes == 512 << 20
    assert given.task.inputs_by_agent
    assert given.task.gate_port is None
    assert given.result_key
    assert given.role_session == ""


def test_the_patch_of_a_claim_is_for_one_version_of_one_pod() -> None:
    own = build_pod(model(), 1, settings := some_settings(), tenant_of(settings))

    patch = claim_patch(own, annotation="1:proof", version="7", uid="pod-1", age=100.5)

    metadata = patch["metadata"]
    assert (metadata["resourceVersion"], metadata["uid"]) == ("7", "pod-1")
    assert metadata["annotations"] == {
        names.ANNOTATION_CLAIM: "1:proof",
        names.LABEL_JOB: "sales",
        names.LABEL_JOB_UID: JOB_UID,
        names.LABEL_ATTEMPT: "1",
    }
    assert "labels" not in metadata, "network plugins compute rules again when a label changes"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [JOB_UID]
    assert POOL_UID not in json.dumps(patch)
    assert patch["spec"]["activeDeadlineSeconds"] == 100 + 910 + 30


SESSION_KEY = "0123456789abcdef0123456789abcdef"


def session_model(**rules: Any) -> ExecutionJob:
    return model(mode="Session", code=None, session=rules)


def session_settings() -> Settings:
    return some_settings(session_key=SESSION_KEY, session_url="http://router")


def test_a_pod_that_waits_for_a_session_is_that_of_a_session_without_its_label_and_token() -> None:
    pod = pool_pod(mode="Session", settings=session_settings())
    own = build_pod(session_model(), 0, session_settings(), tenant_of())

    assert pod["spec"]["restartPolicy"] == own["spec"]["restartPolicy"] == "OnFailure"
    for key in ("ports", "readinessProbe"):
        assert container(pod, "agent")[key] == container(own, "agent")[key]
    added = {names.LABEL_JOB, names.LABEL_ATTEMPT, names.LABEL_MODE}
    assert own["metadata"]["labels"].keys() - pod["metadata"]["labels"].keys() == added
    volumes = {each["name"] for each in own["spec"]["volumes"]}
    assert volumes - {each["name"] for each in pod["spec"]["volumes"]} == {"session"}
    task = environment(pod, "agent")[names.ENV_POOL_TASK]
    assert wire.loads(wire.PoolTask, task).session
    command = container(pod, "sandbox")["command"]
    assert not any(argument.startswith(("--wait", "--preload")) for argument in command)
    assert violations(pod) == []


def test_a_waiting_pod_is_selected_by_no_policy_that_lets_the_router_in() -> None:
    settings = some_settings(session_ingress=json.dumps([{"podSelector": {}}]))
    waiting = pool_pod(mode="Session", settings=session_settings())
    own = build_pod(session_model(), 0, session_settings(), tenant_of())
    claimed = copy.deepcopy(waiting)
    patch = claim_patch(own, annotation="1:proof", version="7", uid="pod-1", age=1.0)
    claimed["metadata"]["labels"] |= patch["metadata"]["labels"]

    def admits(pod: Json) -> list[str]:
        return [
            policy["metadata"]["name"]
            for policy in namespace_policies(settings)
            if "Ingress" in policy["spec"]["policyTypes"]
            and LabelSelector.model_validate(policy["spec"]["podSelector"]).matches(
                pod["metadata"]["labels"]
            )
        ]

    assert admits(waiting) == [policy_name("ingress", "")]
    assert admits(claimed) == admits(own) == [policy_name(n, "") for n in ("ingress", "router")]


def test_a_claimed_pod_has_the_deadline_of_the_session() -> None:
    own = build_pod(session_model(maxLifetimeSeconds=5000), 0, session_settings(), tenant_of())

    patch = claim_patch(own, annotation="1:proof", version="7", uid="pod-1", age=100.5)

    given = patch["spec"]["activeDeadlineSeconds"]
    assert given == own["spec"]["activeDeadlineSeconds"] + 100 + 30 > 5000


@pytest.mark.parametrize(
    ("job", "token"),
    [
        (session_model(), names.session_token(SESSION_KEY.encode(), JOB_UID)),
        (session_model(auth="Unprotected"), ""),
        (model(), None),
    ],
)
def test_only_a_session_gets_a_token_with_its_task(job: ExecutionJob, token: str | None) -> None:
    settings = session_settings()
    task = task_for(job, 0, settings, tenant_of(settings))

    given = hand_over(job, task, pool_pod(mode="Session", settings=settings), settings)

    assert given.session_token == token
    assert wire.loads(wire.HandOver, wire.dumps(given)) == given


def test_without_its_key_the_operator_gives_no_token_that_others_could_derive() -> None:
    without = some_settings(session_key="")
    task = task_for(session_model(), 0, without, tenant_of(without))

    given = hand_over(session_model(), task, pool_pod(mode="Session"), without)

    assert given.session_token is None
