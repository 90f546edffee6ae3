"""The sandbox pod: two whole manifests, then one test per promise."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.job import ExecutionJob
from nanogrid_operator.pod import build_pod, pod_name
from nanogrid_operator.settings import Settings
from nanogrid_operator.task import task_for
from unit import strategies
from unit.builders import EXECUTOR_IMAGE, JOB_UID, Json, a_job_body, golden, some_settings
from unit.pod_security import violations

ZIP_JOB: Json = {
    "requestId": "order-1",
    "functionId": "sales-total",
    "code": {"s3": {"key": "functions/sales-total/v1.zip", "sha256": "ab" * 32}},
    "args": ["--월", "9"],
    "env": [{"name": "MODE", "value": "full"}],
    "inputs": [
        {"name": "sales", "s3": {"bucket": "shop", "prefix": "2025/판매/"}, "minFiles": 2},
        {
            "name": "prices",
            "s3": {"key": "prices.csv"},
            "mountPath": "/app/prices",
            "required": False,
            "maxBytes": 1048576,
        },
    ],
    "outputs": {"path": "out", "s3": {"bucket": "reports", "prefix": "daily"}},
    "runtime": {"image": "team-a/pandas:2"},
    "resources": {
        "limits": {"cpu": 2, "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "512Mi"},
    },
    "timeouts": {"startupSeconds": 60, "executionSeconds": 120, "uploadSeconds": 30},
}


def model(**changes: Any) -> ExecutionJob:
    return ExecutionJob.model_validate(a_job_body(**changes))


def built(settings: Settings | None = None, **changes: Any) -> Json:
    return build_pod(model(**changes), 0, settings or some_settings())


def container(pod: Json, name: str) -> Json:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    found: Json = next(c for c in every if c["name"] == name)
    return found


def task_text(pod: Json, name: str = "agent") -> str:
    env = {e["name"]: e.get("value") for e in container(pod, name)["env"]}
    return str(env["NANOGRID_TASK"])


def legible(pod: Json) -> Json:
    """The manifest with each task's JSON text as JSON."""
    for c in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        for variable in c.get("env", []):
            if variable["name"] == "NANOGRID_TASK":
                variable["value"] = json.loads(variable["value"])
    return pod


pods = st.builds(
    lambda spec, **changes: built(some_settings(**changes), **spec),
    strategies.specs,
    s3_secret=st.sampled_from(["", "nanogrid-s3"]),
    runtime_class=st.sampled_from(["", "gvisor"]),
)


few = settings(max_examples=10)  # what no field of the spec has a part in

# Whole manifests.


@pytest.mark.parametrize("letters", [1, 30, 51, 52])
@pytest.mark.parametrize("attempt", [0, 9, 10, 29])
def test_a_pods_name_is_a_host_name_whatever_the_job_is_called(letters: int, attempt: int) -> None:
    name = pod_name("n" * letters, JOB_UID, attempt)

    assert len(name) <= 63
    assert name == pod_name("n" * letters, JOB_UID, attempt)
    assert name.endswith(f"-5351954b-{attempt}")


def test_only_what_does_not_fit_is_cut_from_a_pods_name() -> None:
    assert pod_name("n" * 52, JOB_UID, 9) == "n" * 52 + "-5351954b-9"
    assert pod_name("n" * 52, JOB_UID, 10) == "n" * 51 + "-5351954b-10"
    assert pod_name("n" * 50 + ".x", JOB_UID, 10) == "n" * 50 + "-5351954b-10"


def test_an_inline_job_needs_an_agent_and_a_sandbox() -> None:
    pod = built(code={"inline": "print('안녕')\n"})

    assert legible(pod) == golden("pod_inline.json")


def test_a_zip_with_inputs_is_synced_first() -> None:
    pod = built(some_settings(s3_secret="", runtime_class="gvisor"), **ZIP_JOB)

    assert legible(pod) == golden("pod_zip.json")


# Security.


@given(pods)
def test_every_pod_meets_the_restricted_pod_security_standard(pod: Json) -> None:
    assert violations(pod) == []


def test_the_checker_itself_sees_what_is_not_restricted() -> None:
    naked: Json = {
        "spec": {
            "hostNetwork": True,
            "containers": [{"name": "c", "securityContext": {"runAsUser": 0}}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        }
    }

    assert violations(naked) == [
        "hostNetwork is set",
        "volume v is a hostPath",
        "c: runAsUser is 0",
        "c: allowPrivilegeEscalation is not false",
        "c: runAsNonRoot is not true",
        "c: no seccompProfile",
        "c: capabilities are not dropped",
    ]


@given(pods)
@few
def test_user_code_sees_no_environment_of_ours(pod: Json) -> None:
    assert {"env", "envFrom"}.isdisjoint(container(pod, "sandbox"))


@given(pods)
@few
def test_user_code_sees_no_token_and_no_secret(pod: Json) -> None:
    sandbox = container(pod, "sandbox")
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}

    mounted = [volumes[m["name"]] for m in sandbox["volumeMounts"]]

    assert [sorted(v) for v in mounted] == [["emptyDir", "name"]] * 3
    assert "ecret" not in json.dumps(sandbox)
    assert pod["spec"]["automountServiceAccountToken"] is False


@given(pods)
@few
def test_no_role_is_injected_into_user_code_on_eks(pod: Json) -> None:
    annotations = pod["metadata"]["annotations"]

    assert annotations["eks.amazonaws.com/skip-containers"] == "sandbox"


@given(pods)
@few
def test_user_code_cannot_replace_the_agents_socket(pod: Json) -> None:
    (mount,) = [m for m in container(pod, "sandbox")["volumeMounts"] if m["name"] == "run"]

    assert mount == {"name": "run", "mountPath": "/run/nanogrid", "readOnly": True}


@given(pods)
@few
def test_nothing_is_written_to_an_images_own_files(pod: Json) -> None:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]

    assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in every)


@given(pods)
@few
def test_every_volume_and_every_container_is_bounded(pod: Json) -> None:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    dirs = [v["emptyDir"] for v in pod["spec"]["volumes"] if "emptyDir" in v]

    assert all("sizeLimit" in d for d in dirs)
    assert all({"cpu", "memory"} == set(c["resources"]["limits"]) for c in every)
    assert pod["spec"]["activeDeadlineSeconds"] > 0


@given(pods)
@few
def test_the_agent_is_started_before_the_launcher_that_waits_for_it(pod: Json) -> None:
    assert [c["name"] for c in pod["spec"]["containers"]] == ["agent", "sandbox"]


def test_only_the_agent_may_push_a_result() -> None:
    pod = built(**ZIP_JOB)
    every = pod["spec"]["initContainers"] + pod["spec"]["containers"]

    holders = [c["name"] for c in every if "token" in [m["name"] for m in c["volumeMounts"]]]

    assert holders == ["agent"]


def test_static_keys_come_from_the_secret_and_to_trusted_containers_only() -> None:
    pod = built(some_settings(s3_secret="keys"), **ZIP_JOB)

    wanted = {
        "name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"}},
    }
    assert wanted in container(pod, "agent")["env"]
    assert wanted in container(pod, "sync-input")["env"]


# The task.


def test_code_is_synced_before_it_can_run() -> None:
    code = built(code={"s3": {"key": "f.zip"}})
    data = built(inputs=[{"name": "a", "s3": {"key": "a.csv"}}])
    neither = built()

    first = [
        [c["name"] for c in p["spec"].get("initContainers", [])] for p in (code, data, neither)
    ]

    assert first == [["sync-input"], ["sync-input"], []]


def test_sync_and_agent_get_the_same_task() -> None:
    pod = built(**ZIP_JOB)

    assert task_text(pod, "sync-input") == task_text(pod, "agent")


def test_dollars_in_user_text_are_not_for_the_kubelet_to_expand() -> None:
    code = "print('$(HOME) $$(HOME) $HOME')"
    pod = built(code={"inline": code}, args=["$(AWS_REGION)"], env=[{"name": "A", "value": "$(B)"}])

    text = task_text(pod)
    task = wire.loads(wire.Task, text)

    assert "$" not in text
    assert (task.code_inline, task.command[-1], task.env) == (code, "$(AWS_REGION)", {"A": "$(B)"})


@given(strategies.specs)
def test_every_text_of_the_user_arrives_as_it_was(spec: Json) -> None:
    job = model(**spec)

    told = wire.loads(wire.Task, task_text(build_pod(job, 0, some_settings())))

    assert told == task_for(job, 0, some_settings())
    assert "$" not in task_text(build_pod(job, 0, some_settings()))
    assert told.env == {v["name"]: v["value"] for v in spec.get("env", [])}
    assert told.command == [*spec.get("command", ["python3", "main.py"]), *spec.get("args", [])]


# Names.


@given(strategies.job_names, st.uuids(), st.integers(min_value=0, max_value=9))
def test_a_pods_name_is_a_dns_name_and_fits_into_a_label(name: str, uid: Any, attempt: int) -> None:
    made = pod_name(name, str(uid), attempt)

    assert len(made) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", made)


def test_the_longest_job_name_fits() -> None:
    assert len(pod_name("x" * 52, JOB_UID, 9)) == 63


def test_a_job_and_attempt_have_one_pod_name_and_others_have_others() -> None:
    made = [
        pod_name("a", "uid-1", 0),
        pod_name("a", "uid-1", 0),
        pod_name("a", "uid-1", 1),
        pod_name("a", "uid-2", 0),
    ]

    assert len(set(made)) == 3
    assert made[0] == made[1]


@given(strategies.job_names)
def test_labels_hold_what_labels_may_hold(name: str) -> None:
    labels = built(name=name)["metadata"]["labels"]

    assert all(
        re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", v)
        for v in labels.values()
    )
    assert labels[names.LABEL_JOB] == name


def test_the_deadline_is_longer_than_all_phases_together() -> None:
    spec = built(**ZIP_JOB)["spec"]

    assert spec["activeDeadlineSeconds"] >= 60 + 120 + 10 + 30
    assert spec["terminationGracePeriodSeconds"] > 10


def test_a_silent_node_has_as_long_as_the_settings_say() -> None:
    tolerations = built(some_settings(node_lost_seconds=15))["spec"]["tolerations"]

    assert {t["key"]: (t["effect"], t["tolerationSeconds"]) for t in tolerations} == {
        "node.kubernetes.io/not-ready": ("NoExecute", 15),
        "node.kubernetes.io/unreachable": ("NoExecute", 15),
    }


# Images that are not ours.


@given(pods)
@few
def test_an_image_of_the_user_sees_nothing_of_ours_before_the_code_either(pod: Json) -> None:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]

    for foreign in [c for c in every if c["image"] != EXECUTOR_IMAGE]:
        assert foreign["name"] in ("check-runtime", "sandbox")
        assert {"env", "envFrom"}.isdisjoint(foreign)
        assert "token" not in [m["name"] for m in foreign["volumeMounts"]]
        assert all(m["readOnly"] for m in foreign["volumeMounts"] if m["name"] == "run")


def test_a_foreign_image_gets_the_launcher_and_is_checked_before_anything_is_synced() -> None:
    own = built(runtime={"image": EXECUTOR_IMAGE}, inputs=ZIP_JOB["inputs"])
    foreign = built(runtime={"image": "team-a/pandas:2"}, inputs=ZIP_JOB["inputs"])

    first = [[c["name"] for c in pod["spec"]["initContainers"]] for pod in (own, foreign)]
    launchers = [container(pod, "sandbox")["command"][-1] for pod in (own, foreign)]

    assert first == [["sync-input"], ["install-launcher", "check-runtime", "sync-input"]]
    assert launchers == ["/opt/nanogrid/launcher", "/run/nanogrid/launcher"]
    assert container(foreign, "check-runtime")["command"][-2:] == [
        "/run/nanogrid/launcher",
        "--check",
    ]


@pytest.mark.parametrize(
    ("spec", "settings", "field", "want"),
    [
        ({}, {}, "serviceAccountName", "default"),
        ({"serviceAccountName": "reports"}, {}, "serviceAccountName", "reports"),
        ({"priorityClassName": "low"}, {}, "priorityClassName", "low"),
        ({}, {}, "priorityClassName", None),
        ({}, {"runtime_class": "gvisor"}, "runtimeClassName", "gvisor"),
        (
            {"runtime": {"runtimeClassName": "kata"}},
            {"runtime_class": "gvisor"},
            "runtimeClassName",
            "kata",
        ),
        ({}, {}, "runtimeClassName", None),
    ],
)
def test_the_job_chooses_over_the_operator(
    spec: Json, settings: Json, field: str, want: str | None
) -> None:
    assert built(some_settings(**settings), **spec)["spec"].get(field) == want


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({}, 10 + 120 + 10),
        ({"terminationGracePeriodSeconds": 0}, 0 + 120 + 10),
        ({"terminationGracePeriodSeconds": 60, "timeouts": {"uploadSeconds": 5}}, 60 + 5 + 10),
    ],
)
def test_a_pod_that_is_stopped_has_time_to_store_its_outputs(spec: Json, want: int) -> None:
    assert built(**spec)["spec"]["terminationGracePeriodSeconds"] == want


def test_each_attempt_has_a_pod_of_its_own_name_and_label() -> None:
    pod = build_pod(model(), 3, some_settings())

    assert pod["metadata"]["name"] == pod_name("sales", JOB_UID, 3)
    assert pod["metadata"]["labels"][names.LABEL_ATTEMPT] == "3"
