"""What a platform team adds to every sandbox pod."""

import json

import pytest

from nanogrid import names
from nanogrid.envsettings import SettingsError
from nanogrid_operator.facts import job_facts
from nanogrid_operator.pod import build_pod
from nanogrid_operator.settings import Settings
from nanogrid_operator.task import task_for
from unit.builders import Json, a_job_body, some_settings


def built(**settings: object) -> Json:
    job = job_facts(a_job_body(inputs=[INPUT])).model
    assert job is not None
    return build_pod(job, 0, some_settings(**settings))


INPUT = {"name": "in", "mountPath": "/app/data", "s3": {"key": "k"}}


def test_labels_and_annotations_are_added_and_ours_win() -> None:
    given = {"team": "grid", names.LABEL_JOB_UID: "somebody else's"}
    pod = built(pod_labels=json.dumps(given), pod_annotations='{"a": "b"}')

    labels = pod["metadata"]["labels"]
    assert labels["team"] == "grid"
    assert labels[names.LABEL_JOB_UID] == pod["metadata"]["ownerReferences"][0]["uid"]
    assert pod["metadata"]["annotations"]["a"] == "b"


def test_nodes_are_chosen_as_the_installation_says() -> None:
    taint = {"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}
    pod = built(node_selector='{"pool": "sandbox"}', tolerations=json.dumps([taint]))

    assert pod["spec"]["nodeSelector"] == {"pool": "sandbox"}
    assert taint in pod["spec"]["tolerations"]


def test_guaranteed_pods_request_what_they_may_use() -> None:
    pod = built(guaranteed=True, agent_cpu="250m", agent_memory="200Mi")

    containers = pod["spec"]["initContainers"] + pod["spec"]["containers"]
    assert len(containers) == 3
    for container in containers:
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert containers[0]["resources"]["limits"] == {"cpu": "250m", "memory": "200Mi"}


def test_without_it_requests_stay_small() -> None:
    agent = built()["spec"]["containers"][0]

    assert agent["resources"]["requests"] == {"cpu": "50m", "memory": "64Mi"}


def test_variables_of_the_installation_know_the_job_and_the_job_wins() -> None:
    body = a_job_body(requestId="r-1", env=[{"name": "MODE", "value": "mine"}])
    job = job_facts(body).model
    assert job is not None
    given = {"MODE": "theirs", "OTEL_RESOURCE_ATTRIBUTES": "job={namespace}/{job},id={requestId}"}
    task = task_for(job, 2, some_settings(sandbox_env=json.dumps(given)))

    assert task.env == {"MODE": "mine", "OTEL_RESOURCE_ATTRIBUTES": "job=team-a/sales,id=r-1"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("NANOGRID_NODE_SELECTOR", "[]"), ("NANOGRID_TOLERATIONS", "{}"), ("NANOGRID_AGENT_CPU", "x")],
)
def test_settings_that_could_never_work_are_refused(name: str, text: str) -> None:
    base = {"NANOGRID_EXECUTOR_IMAGE": "i", "NANOGRID_RESULTS_URL": "u"}

    with pytest.raises(SettingsError, match=name):
        Settings.from_env(base | {name: text})
