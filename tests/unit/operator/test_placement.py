"""What a platform team adds to every sandbox pod."""

import json

import pytest

from nanogrid import names
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from support.builders import REQUIRED_ENVIRONMENT, a_job_body, some_settings, tenant_of

pytestmark = pytest.mark.security


def built(**settings: object) -> Json:
    job = job_facts(a_job_body(inputs=[INPUT])).model
    assert job is not None
    return build_pod(job, 0, some_settings(**settings), tenant_of())


INPUT = {"name": "in", "mountPath": "/app/data", "s3": {"key": "k"}}


def test_labels_and_annotations_are_added_and_those_of_nanogrid_win() -> None:
    given = {"team": "grid", names.LABEL_JOB_UID: "another"}
    pod = built(pod_labels=json.dumps(given), pod_annotations='{"a": "b"}')

    labels = pod["metadata"]["labels"]
    assert labels["team"] == "grid"
    assert labels[names.LABEL_JOB_UID] == pod["metadata"]["ownerReferences"][0]["uid"]
    assert pod["metadata"]["annotations"]["a"] == "b"


def test_node_selector_and_tolerations_come_from_the_settings() -> None:
    taint = {"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}
    pod = built(node_selector='{"pool": "sandbox"}', tolerations=json.dumps([taint]))

    assert pod["spec"]["nodeSelector"] == {"pool": "sandbox"}
    assert taint in pod["spec"]["tolerations"]


def test_affinity_and_spread_come_from_the_settings() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {"labelSelector": {"matchLabels": {"a": "b"}}}
    pod = built(affinity=json.dumps(affinity), topology_spread=json.dumps([spread, spread | own]))

    assert pod["spec"]["affinity"] == affinity
    first, second = pod["spec"]["topologySpreadConstraints"]
    (counted,) = first.pop("labelSelector")["matchExpressions"]
    assert (first, second) == (spread, spread | own)
    assert counted == {"key": names.LABEL_JOB_UID, "operator": "Exists"}
    assert counted["key"] in pod["metadata"]["labels"]
    assert not {"affinity", "topologySpreadConstraints"} & built()["spec"].keys()


@pytest.mark.parametrize(
    ("settings", "spec", "want"),
    [
        ({}, {}, None),
        ({"priority_class": "batch"}, {}, "batch"),
        ({"priority_class": "batch"}, {"priorityClassName": "urgent"}, "urgent"),
    ],
)
def test_a_job_that_names_no_priority_class_has_the_installations(
    settings: Json, spec: Json, want: str | None
) -> None:
    job = job_facts(a_job_body(**spec)).model
    assert job is not None
    pod = build_pod(job, 0, some_settings(**settings), tenant_of())

    assert pod["spec"].get("priorityClassName") == want


def test_guaranteed_pods_request_their_limits() -> None:
    pod = built(guaranteed=True, agent_cpu="250m", agent_memory="200Mi")

    containers = pod["spec"]["initContainers"] + pod["spec"]["containers"]
    assert len(containers) == 3
    for container in containers:
        assert container["resources"]["requests"] == container["resources"]["limits"]
    limits = containers[0]["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == ("250m", "200Mi")


def test_other_pods_request_less() -> None:
    agent = built()["spec"]["containers"][0]

    assert agent["resources"]["requests"] == {
        "cpu": "50m",
        "memory": "64Mi",
        "ephemeral-storage": "16Mi",
    }


def test_variables_of_the_installation_name_the_job_and_the_jobs_own_win() -> None:
    body = a_job_body(requestId="r-1", env=[{"name": "MODE", "value": "own"}])
    job = job_facts(body).model
    assert job is not None
    given = {"MODE": "default", "OTEL_RESOURCE_ATTRIBUTES": "job={namespace}/{job},id={requestId}"}
    task = task_for(job, 2, some_settings(sandbox_env=json.dumps(given)), tenant_of())

    assert task.env == {"MODE": "own", "OTEL_RESOURCE_ATTRIBUTES": "job=team-a/sales,id=r-1"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NANOGRID_NODE_SELECTOR", "[]"),
        ("NANOGRID_TOLERATIONS", "{}"),
        ("NANOGRID_AGENT_CPU", "x"),
        ("NANOGRID_STORAGE_MEDIUM", "HugePages"),
        ("NANOGRID_EPHEMERAL_STORAGE_REQUEST", "much"),
        ("NANOGRID_UID_START", "65000"),  # the range includes 65532
        ("NANOGRID_UID_START", "2147483647"),  # the range ends above the highest user ID
    ],
)
def test_settings_that_can_never_work_are_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env(REQUIRED_ENVIRONMENT | {name: text})
