"""The sandbox pod: two complete manifests, then one test per property."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pod_name
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from support import strategies
from support.builders import EXECUTOR_IMAGE, JOB_UID, golden, some_settings, tenant_of
from support.certificates import certificates
from support.pod_manifests import (
    ZIP_JOB,
    built,
    container,
    containers_of,
    legible,
    model,
    task_text,
)
from support.pod_security import violations

pytestmark = pytest.mark.security

pods = st.builds(
    lambda spec, **changes: built(some_settings(**changes), **spec),
    strategies.specs,
    s3_secret=st.sampled_from(["", "nanogrid-s3"]),
    runtime_class=st.sampled_from(["", "gvisor"]),
)


CA, PROXY = names.ENV_S3_CA_BUNDLE, names.ENV_S3_PROXY


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return certificates(tmp_path_factory.mktemp("ca")).ca.read_text()


few = settings(max_examples=10)  # for properties that do not depend on the spec

# Complete manifests.


@pytest.mark.parametrize("letters", [1, 30, 51, 52])
@pytest.mark.parametrize("attempt", [0, 9, 10, 29])
def test_a_pod_name_is_a_valid_host_name_for_any_job_name(letters: int, attempt: int) -> None:
    name = pod_name("n" * letters, JOB_UID, attempt)

    assert len(name) <= 63
    assert name == pod_name("n" * letters, JOB_UID, attempt)
    assert name.endswith(f"-5351954b-{attempt}")


def test_a_job_name_is_cut_only_if_the_pod_name_is_too_long() -> None:
    assert pod_name("n" * 52, JOB_UID, 9) == "n" * 52 + "-5351954b-9"
    assert pod_name("n" * 52, JOB_UID, 10) == "n" * 51 + "-5351954b-10"
    assert pod_name("n" * 50 + ".x", JOB_UID, 10) == "n" * 50 + "-5351954b-10"


def test_a_job_with_inline_code_has_an_agent_and_a_sandbox() -> None:
    pod = built(code={"inline": "print('안녕')\n"})

    assert legible(pod) == golden("pod_inline.json")


def test_a_job_with_a_zip_and_inputs_has_a_sync_container() -> None:
    pod = built(some_settings(s3_secret="", runtime_class="gvisor"), **ZIP_JOB)

    assert legible(pod) == golden("pod_zip.json")


# Security.


@given(pods)
def test_every_pod_meets_the_restricted_pod_security_standard(pod: Json) -> None:
    assert violations(pod) == []


def test_the_check_detects_violations() -> None:
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
def test_the_sandbox_has_no_environment_of_the_operator(pod: Json) -> None:
    assert {"env", "envFrom"}.isdisjoint(container(pod, "sandbox"))


@given(pods)
@few
def test_the_sandbox_has_no_token_and_no_secret(pod: Json) -> None:
    sandbox = container(pod, "sandbox")
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}

    mounted = [volumes[m["name"]] for m in sandbox["volumeMounts"]]

    assert {kind for v in mounted for kind in v} == {"name", "emptyDir", "downwardAPI"}
    assert "ecret" not in json.dumps(sandbox)
    assert pod["spec"]["automountServiceAccountToken"] is False


@given(pods)
@few
def test_the_sandbox_cannot_replace_the_socket_of_the_agent(pod: Json) -> None:
    (mount,) = [m for m in container(pod, "sandbox")["volumeMounts"] if m["name"] == "run"]

    assert mount == {"name": "run", "mountPath": "/run/nanogrid", "readOnly": True}


@given(pods)
@few
def test_root_filesystems_are_read_only(pod: Json) -> None:
    every = containers_of(pod)

    assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in every)


@given(pods)
@few
def test_every_volume_and_container_has_limits(pod: Json) -> None:
    every = containers_of(pod)
    dirs = [v["emptyDir"] for v in pod["spec"]["volumes"] if "emptyDir" in v]

    assert all("sizeLimit" in d for d in dirs)
    limited = {"cpu", "memory", "ephemeral-storage"}
    assert all(limited == set(c["resources"]["limits"]) for c in every)
    assert pod["spec"]["activeDeadlineSeconds"] > 0


@given(pods)
@few
def test_the_agent_is_the_first_container(pod: Json) -> None:
    assert [c["name"] for c in pod["spec"]["containers"]] == ["agent", "sandbox"]


def test_only_the_agent_has_the_token_for_results() -> None:
    pod = built(**ZIP_JOB)
    every = pod["spec"]["initContainers"] + pod["spec"]["containers"]

    holders = [c["name"] for c in every if "token" in [m["name"] for m in c["volumeMounts"]]]

    assert holders == ["agent"]


def test_only_trusted_containers_get_the_static_keys() -> None:
    pod = built(some_settings(s3_secret="keys"), **ZIP_JOB)

    wanted = {
        "name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"}},
    }
    assert wanted in container(pod, "agent")["env"]
    assert wanted in container(pod, "sync-input")["env"]


# The task.


def test_code_and_inputs_from_s3_need_a_sync_container() -> None:
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


def test_the_kubelet_does_not_expand_dollars_in_user_text() -> None:
    code = "print('$(HOME) $$(HOME) $HOME')"
    pod = built(code={"inline": code}, args=["$(AWS_REGION)"], env=[{"name": "A", "value": "$(B)"}])

    text = task_text(pod)
    task = wire.loads(wire.PodTask, text)

    assert "$" not in text
    assert (task.code_inline, task.command[-1], task.env) == (code, "$(AWS_REGION)", {"A": "$(B)"})


@given(strategies.specs)
def test_every_text_of_the_user_arrives_unchanged(spec: Json) -> None:
    job = model(**spec)

    task = wire.loads(wire.PodTask, task_text(build_pod(job, 0, some_settings(), tenant_of())))

    assert task == task_for(job, 0, some_settings(), tenant_of())
    assert "$" not in task_text(build_pod(job, 0, some_settings(), tenant_of()))
    assert task.env == {v["name"]: v["value"] for v in spec.get("env", [])}
    assert task.command == [*spec.get("command", ["python3", "main.py"]), *spec.get("args", [])]


# Foreign images.


@given(pods)
@few
def test_the_runtime_check_has_no_access_either(pod: Json) -> None:
    every = containers_of(pod)

    for foreign in [c for c in every if c["image"] != EXECUTOR_IMAGE]:
        assert foreign["name"] in ("check-runtime", "sandbox")
        assert {"env", "envFrom"}.isdisjoint(foreign)
        assert "token" not in [m["name"] for m in foreign["volumeMounts"]]
        assert all(m["readOnly"] for m in foreign["volumeMounts"] if m["name"] == "run")


@pytest.mark.parametrize("mode", ["Batch", "Session"])
def test_launcher_and_agent_are_of_the_same_release(mode: str) -> None:
    # An older executor image has a launcher of its own, which knows less than the agent.
    older = f"{EXECUTOR_IMAGE.partition(':')[0]}:older"
    pod = built(mode=mode, code={"inline": "x"}, runtime={"image": older})
    sandbox, install = container(pod, "sandbox"), container(pod, "install-launcher")
    assert sandbox["image"] == older
    assert sandbox["command"][3] == f"{names.INSTALLED_LAUNCHER_DIR}/__main__.py"
    assert names.INSTALLED_LAUNCHER_DIR in install["command"]
    assert install["image"] == container(pod, "agent")["image"] == EXECUTOR_IMAGE


def test_a_foreign_image_gets_the_launcher_and_is_checked_first() -> None:
    own = built(runtime={"image": EXECUTOR_IMAGE}, inputs=ZIP_JOB["inputs"])
    foreign = built(runtime={"image": "team-a/pandas:2"}, inputs=ZIP_JOB["inputs"])

    first = [[c["name"] for c in pod["spec"]["initContainers"]] for pod in (own, foreign)]
    launchers = [container(pod, "sandbox")["command"][3] for pod in (own, foreign)]

    assert first == [["sync-input"], ["install-launcher", "check-runtime", "sync-input"]]
    assert launchers == [
        "/opt/nanogrid/launcher/__main__.py",
        "/run/nanogrid/launcher/__main__.py",
    ]
    assert container(foreign, "check-runtime")["command"][-2:] == [
        "/run/nanogrid/launcher/__main__.py",
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
def test_the_job_overrides_the_settings(
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
def test_the_grace_period_includes_time_for_the_upload(spec: Json, want: int) -> None:
    assert built(**spec)["spec"]["terminationGracePeriodSeconds"] == want


def test_each_attempt_has_its_own_pod_name_and_label() -> None:
    pod = build_pod(model(), 3, some_settings(), tenant_of())

    assert pod["metadata"]["name"] == pod_name("sales", JOB_UID, 3)
    assert pod["metadata"]["labels"][names.LABEL_ATTEMPT] == "3"


# What the installation gives to the containers that use S3.


def test_ca_and_proxy_reach_only_the_containers_that_use_s3(pem: str) -> None:
    proxy = "http://proxy.example:3128"
    changes = some_settings(s3_ca_bundle=f"# $(x)\n{pem}", s3_proxy=proxy)
    for spec in (ZIP_JOB, ZIP_JOB | {"runtime": {"image": "team-a/tool:1"}}):
        pod = built(changes, **spec)
        for found in containers_of(pod):
            env = {e["name"]: e.get("value") for e in found.get("env", [])}
            trusted = found["name"] in (names.CONTAINER_SYNC, names.CONTAINER_AGENT)
            given = {k: v for k, v in env.items() if k in (CA, PROXY)}
            assert given == ({CA: pem.strip(), PROXY: proxy} if trusted else {}), found["name"]
        task = wire.loads(wire.PodTask, task_text(pod))
        assert proxy not in str(task.env)


def test_the_kms_key_reaches_only_the_containers_that_use_s3() -> None:
    pod = built(some_settings(s3_kms_key_id="key-1"), **ZIP_JOB)
    having = [
        found["name"]
        for found in containers_of(pod)
        if {"name": names.ENV_S3_KMS_KEY, "value": "key-1"} in found.get("env", [])
    ]

    assert sorted(having) == sorted([names.CONTAINER_AGENT, names.CONTAINER_SYNC])
    assert names.ENV_S3_KMS_KEY not in str(built(**ZIP_JOB))


ROLE_ENV = (
    names.ENV_S3_ROLE_ARN,
    names.ENV_S3_ROLE_SESSION,
    names.ENV_S3_ROLE_EXTERNAL_ID,
    names.ENV_STS_ENDPOINT,
)


@pytest.mark.security
def test_the_role_for_s3_reaches_only_the_containers_that_use_s3() -> None:
    sts = "https://sts.eu-west-1.amazonaws.com"
    changes = some_settings(
        s3_role_arn="arn:aws:iam::222222222222:role/nanogrid-operator",
        s3_sandbox_role_arn="arn:aws:iam::222222222222:role/nanogrid-{namespace}",
        s3_role_external_id="id-1",
        sts_endpoint=sts,
    )
    want = dict(
        zip(
            ROLE_ENV,
            ("arn:aws:iam::222222222222:role/nanogrid-team-a", "team-a.sales", "id-1", sts),
            strict=True,
        )
    )
    for spec in (ZIP_JOB, ZIP_JOB | {"runtime": {"image": "team-a/tool:1"}}):
        pod = built(changes, **spec)
        for found in containers_of(pod):
            env = {e["name"]: e.get("value") for e in found.get("env", [])}
            trusted = found["name"] in (names.CONTAINER_SYNC, names.CONTAINER_AGENT)
            given = {k: v for k, v in env.items() if k in ROLE_ENV}
            assert given == (want if trusted else {}), found["name"]
        assert "222222222222" not in str(wire.loads(wire.PodTask, task_text(pod)))
        assert "role/nanogrid-operator" not in str(pod)


def test_without_a_role_of_their_own_pods_assume_none() -> None:
    alone = "arn:aws:iam::222222222222:role/nanogrid-operator"
    pod = built(some_settings(s3_role_arn=alone, s3_role_external_id="id-1"), **ZIP_JOB)
    assert not [e for c in containers_of(pod) for e in c.get("env", []) if e["name"] in ROLE_ENV]


def test_pull_secrets_are_those_of_the_chart_or_of_the_service_account() -> None:
    assert "imagePullSecrets" not in built(**ZIP_JOB)["spec"]
    pod = built(some_settings(sandbox_pull_secrets="registry, mirror"), **ZIP_JOB)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert "registry" not in str([c.get("env") for c in containers_of(pod)])
    assert not [v for v in pod["spec"]["volumes"] if "secret" in v]
