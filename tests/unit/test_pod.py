"""The sandbox pod: two whole manifests, then one test per promise."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.job import ExecutionJob
from nanogrid_operator.pod import InvalidSpecError, build_pod, needs_sync, pod_name, task_for
from nanogrid_operator.settings import Settings
from unit import strategies
from unit.builders import JOB_UID, Json, a_job_body, golden, some_settings
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


# Whole manifests.


def test_an_inline_job_needs_an_agent_and_a_sandbox() -> None:
    pod = built(code={"inline": "print('안녕')\n"})

    assert legible(pod) == golden("pod_inline.json")


def test_a_zip_with_inputs_is_synced_first() -> None:
    pod = built(some_settings(s3_secret="", runtime_class="gvisor"), **ZIP_JOB)

    assert legible(pod) == golden("pod_zip.json")


# Security.


@given(pods)
@settings(max_examples=200)
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
def test_user_code_sees_no_environment_of_ours(pod: Json) -> None:
    assert {"env", "envFrom"}.isdisjoint(container(pod, "sandbox"))


@given(pods)
def test_user_code_sees_no_token_and_no_secret(pod: Json) -> None:
    sandbox = container(pod, "sandbox")
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}

    mounted = [volumes[m["name"]] for m in sandbox["volumeMounts"]]

    assert [sorted(v) for v in mounted] == [["emptyDir", "name"]] * 3
    assert "ecret" not in json.dumps(sandbox)
    assert pod["spec"]["automountServiceAccountToken"] is False


@given(pods)
def test_no_role_is_injected_into_user_code_on_eks(pod: Json) -> None:
    annotations = pod["metadata"]["annotations"]

    assert annotations["eks.amazonaws.com/skip-containers"] == "sandbox"


@given(pods)
def test_user_code_cannot_replace_the_agents_socket(pod: Json) -> None:
    (mount,) = [m for m in container(pod, "sandbox")["volumeMounts"] if m["name"] == "run"]

    assert mount == {"name": "run", "mountPath": "/run/nanogrid", "readOnly": True}


@given(pods)
def test_nothing_is_written_to_an_images_own_files(pod: Json) -> None:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]

    assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in every)


@given(pods)
def test_every_volume_and_every_container_is_bounded(pod: Json) -> None:
    every = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    dirs = [v["emptyDir"] for v in pod["spec"]["volumes"] if "emptyDir" in v]

    assert all("sizeLimit" in d for d in dirs)
    assert all({"cpu", "memory"} == set(c["resources"]["limits"]) for c in every)
    assert pod["spec"]["activeDeadlineSeconds"] > 0


@given(pods)
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


@pytest.mark.parametrize(
    "spec",
    [
        {"code": {"inline": "x" * 65_536}, "stdin": "y" * 65_536},
        {"code": {"inline": "값" * 45_000}},
        {"code": {"inline": "\x01" * 30_000}},
        {"code": {"inline": "$" * 30_000}},
        {"env": [{"name": f"V{n}", "value": "x" * 32_768} for n in range(4)]},
    ],
    ids=["plain", "korean", "control characters", "dollars", "env"],
)
def test_more_than_an_environment_variable_can_hold_is_refused_with_the_way_out(spec: Json) -> None:
    with pytest.raises(
        InvalidSpecError, match=r"have \d+ bytes, at most 122880 fit .* ZIP in S3 \(spec\.code\.s3"
    ):
        built(**spec)


def test_what_is_accepted_fits_into_an_environment_variable_of_linux() -> None:
    pod = built(code={"inline": "값" * 40_000})

    assert len(f"NANOGRID_TASK={task_text(pod)}".encode()) < 128 * 1024


def test_a_spec_without_a_bucket_needs_a_default_one() -> None:
    with pytest.raises(InvalidSpecError, match="names no bucket and the operator has no default"):
        built(some_settings(s3_bucket=""), code={"s3": {"key": "f.zip"}})


def test_an_inline_job_without_outputs_needs_no_bucket() -> None:
    assert not needs_sync(task_for(model(), 0, some_settings(s3_bucket="")))


def test_the_default_request_is_the_uid_and_names_the_outputs() -> None:
    task = task_for(model(), 0, some_settings())

    assert (task.request_id, task.output_prefix) == (JOB_UID, f"outputs/{JOB_UID}/")


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


# Resources.


def resources(settings: Settings | None = None, **given: Any) -> Any:
    return container(built(settings, resources=given), "sandbox")["resources"]


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (
            {},
            {
                "limits": {"cpu": "1", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "256Mi"},
            },
        ),
        (
            {"limits": {"memory": "1Gi"}},
            {
                "limits": {"cpu": "1", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "1Gi"},
            },
        ),
        (
            {"limits": {"cpu": 2}},
            {
                "limits": {"cpu": "2", "memory": "256Mi"},
                "requests": {"cpu": "2", "memory": "256Mi"},
            },
        ),
        (
            {"limits": {"cpu": "50m"}},
            {
                "limits": {"cpu": "50m", "memory": "256Mi"},
                "requests": {"cpu": "50m", "memory": "256Mi"},
            },
        ),
        (
            {"requests": {"memory": "16Mi", "cpu": "10m"}},
            {
                "limits": {"cpu": "1", "memory": "256Mi"},
                "requests": {"cpu": "10m", "memory": "16Mi"},
            },
        ),
    ],
)
def test_requests_default_to_the_limits_that_were_asked_for(given: Json, want: Json) -> None:
    assert resources(**given) == want


def test_a_small_default_limit_bounds_the_default_request() -> None:
    assert resources(some_settings(cpu_limit="50m"))["requests"]["cpu"] == "50m"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"requests": {"memory": "2Gi"}},
            "resources.requests.memory 2Gi exceeds the limit 256Mi: raise resources.limits.memory",
        ),
        (
            {"limits": {"cpu": "500m"}, "requests": {"cpu": 1}},
            "resources.requests.cpu 1 exceeds the limit 500m: raise resources.limits.cpu",
        ),
    ],
)
def test_a_request_beyond_its_limit_is_refused_with_the_numbers(given: Json, message: str) -> None:
    with pytest.raises(InvalidSpecError) as error:
        resources(**given)

    assert str(error.value) == message


@pytest.mark.xfail(
    strict=True,
    raises=ValueError,
    reason="quantity() does not read Ki, which the CRD's pattern allows; the job is retried for "
    "ever because a plain ValueError is no InvalidSpecError",
)
def test_memory_in_kibibytes_is_memory() -> None:
    job = model(resources={"limits": {"memory": "524288Ki"}})

    assert task_for(job, 0, some_settings()).memory_limit_bytes == 512 * 2**20


@pytest.mark.xfail(strict=True, raises=ValueError, reason="quantity()'s ValueError comes through")
def test_a_quantity_that_cannot_be_read_is_an_invalid_spec() -> None:
    with pytest.raises(InvalidSpecError):
        resources(limits={"memory": "lots"})


def test_the_deadline_is_longer_than_all_phases_together() -> None:
    spec = built(**ZIP_JOB)["spec"]

    assert spec["activeDeadlineSeconds"] >= 60 + 120 + 10 + 30
    assert spec["terminationGracePeriodSeconds"] > 10
