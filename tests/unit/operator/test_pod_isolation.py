"""What keeps a sandbox pod from the node, from its neighbours and from the pod's role."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.sandbox_user import passwd
from support import strategies
from support.builders import EXECUTOR_IMAGE, some_settings, tenant_of
from support.identity_webhook import METHODS, SKIP, Method, holders, mutate
from support.pod_manifests import ZIP_JOB, built, container, containers_of, model

pytestmark = pytest.mark.security

KINDS: dict[str, tuple[Json, list[str]]] = {
    "batch": ({}, ["agent"]),
    "batch with inputs": ({"inputs": ZIP_JOB["inputs"]}, ["sync-input", "agent"]),
    "foreign image": ({"runtime": {"image": "team-a/pandas:2"}}, ["agent"]),
    "foreign image with inputs": (ZIP_JOB, ["sync-input", "agent"]),
    "session": ({"mode": "Session", "code": None}, ["agent"]),
    "session in a foreign image": (
        {"mode": "Session", "code": None, "runtime": {"image": "team-a/pandas:2"}},
        ["agent"],
    ),
}
pods = st.builds(lambda spec: built(**spec), strategies.specs)
few = settings(max_examples=10)
both_methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


# The role.


@both_methods
@pytest.mark.parametrize(("spec", "want"), KINDS.values(), ids=KINDS)
def test_only_sync_and_agent_get_the_role_on_eks(
    spec: Json, want: list[str], method: Method
) -> None:
    pod = built(**spec)

    assert holders(mutate(pod, method), method) == want
    # The annotation names exactly the others, each of which is in the pod.
    others = [c["name"] for c in containers_of(pod) if c["name"] not in want]
    assert pod["metadata"]["annotations"][SKIP].split(",") == others


@both_methods
@given(pod=pods)
@few
def test_no_container_of_any_job_that_runs_its_code_gets_the_role(
    pod: Json, method: Method
) -> None:
    with_role = holders(mutate(pod, method), method)

    code = [c["name"] for c in containers_of(pod) if c["image"] != EXECUTOR_IMAGE]
    assert not {names.CONTAINER_SANDBOX, *code} & set(with_role)
    assert names.CONTAINER_AGENT in with_role


@both_methods
def test_the_webhook_gives_the_role_to_all_containers_without_the_annotation(
    method: Method,
) -> None:
    pod = built(**ZIP_JOB)
    del pod["metadata"]["annotations"][SKIP]

    assert holders(mutate(pod, method), method) == [c["name"] for c in containers_of(pod)]


def test_the_installation_cannot_replace_the_annotation() -> None:
    pod = built(some_settings(pod_annotations=f'{{"{SKIP}": "none"}}'))

    assert holders(mutate(pod)) == ["agent"]


# The disk.


def test_the_limits_fit_the_volumes_so_that_the_full_volume_is_named() -> None:
    pod = built(some_settings(workspace_size="1Gi", tmp_size="100M"))
    on_disk = sum(
        quantity(v["emptyDir"]["sizeLimit"]) for v in pod["spec"]["volumes"] if "emptyDir" in v
    )
    limits = [quantity(c["resources"]["limits"]["ephemeral-storage"]) for c in containers_of(pod)]

    assert limits == [quantity("160Mi"), quantity("1184Mi")]
    assert sum(limits) > on_disk


def test_requests_of_storage_are_small_and_never_above_the_limit() -> None:
    for given_request, want in (("64Mi", "64Mi"), ("1Ti", "2368Mi")):
        resources = container(built(some_settings(ephemeral_request=given_request)), "sandbox")[
            "resources"
        ]
        assert resources["requests"]["ephemeral-storage"] == want


def disk(limit: str | int | None = None, request: str | int | None = None, **chart: Any) -> Json:
    """The pod of a job with this disk space."""
    amounts: Json = {
        "limits": None if limit is None else {"ephemeral-storage": limit},
        "requests": None if request is None else {"ephemeral-storage": request},
    }
    return built(some_settings(**chart), resources={k: v for k, v in amounts.items() if v})


def test_a_job_chooses_the_size_of_its_workspace() -> None:
    pod = disk("10Gi", "5Gi")
    sandbox = container(pod, "sandbox")
    (workspace,) = [v for v in pod["spec"]["volumes"] if v["name"] == "workspace"]

    assert workspace["emptyDir"]["sizeLimit"] == "10Gi"
    want = quantity("10Gi") + quantity("256Mi") + quantity("64Mi")
    assert quantity(sandbox["resources"]["limits"]["ephemeral-storage"]) == want
    assert sandbox["resources"]["requests"]["ephemeral-storage"] == "5Gi"
    assert f"--max-file-bytes={10 << 30}" in sandbox["command"]
    assert sandbox["resources"]["limits"]["memory"] == "256Mi", "the others keep their defaults"


def test_fargate_sizes_the_pods_disk_by_what_the_job_chose() -> None:
    resources = container(disk("30Gi", guaranteed=True), "sandbox")["resources"]

    assert resources["requests"] == resources["limits"]
    assert quantity(resources["requests"]["ephemeral-storage"]) > quantity("30Gi")


def test_a_request_of_disk_above_the_limit_is_cut_to_it() -> None:
    resources = container(disk(1 << 30, "1Ti"), "sandbox")["resources"]

    assert resources["requests"]["ephemeral-storage"] == "1344Mi"
    assert resources["limits"]["ephemeral-storage"] == "1344Mi"


def test_volumes_in_memory_need_no_room_on_the_disk() -> None:
    pod = built(some_settings(storage_medium="Memory"))
    media = {v["name"]: v["emptyDir"].get("medium") for v in pod["spec"]["volumes"][:3]}

    assert media == {"workspace": "Memory", "run": None, "tmp": "Memory"}
    limits = container(pod, "sandbox")["resources"]["limits"]
    assert limits["ephemeral-storage"] == "64Mi"


@given(pods)
@few
def test_the_termination_message_of_foreign_code_is_below_a_masked_directory(pod: Json) -> None:
    for found in containers_of(pod):
        path = found.get("terminationMessagePath", "/dev/termination-log")
        mounts = {m["mountPath"]: m for m in found["volumeMounts"]}
        if found["image"] == EXECUTOR_IMAGE and found["name"] != names.CONTAINER_SANDBOX:
            assert path == names.TERMINATION_FILE, "the operator reads its message"
        else:
            assert path == "/sys/firmware/termination-log"
            assert mounts["/sys/firmware"] == {
                "name": "fixed",
                "mountPath": "/sys/firmware",
                "readOnly": True,
            }


@given(pods)
@few
def test_the_place_of_the_termination_message_exists_in_a_volume_without_a_credential(
    pod: Json,
) -> None:
    """In a volume that is read-only, the container runtime cannot create it."""
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "fixed"]
    items = volume["downwardAPI"]["items"]

    assert [item["path"] for item in items] == ["passwd", "termination-log"]
    assert all(set(item) == {"path", "fieldRef"} for item in items), "no Secret, no token"


def test_a_pod_has_no_more_volumes_than_it_needs() -> None:
    """The kubelet sets up each volume before it starts the pod's first container."""
    pod = built()
    mounted = {m["name"] for c in containers_of(pod) for m in c["volumeMounts"]}

    assert [v["name"] for v in pod["spec"]["volumes"]] == [
        "workspace", "run", "tmp", "fixed", "token",
    ]  # fmt: skip
    assert mounted == {v["name"] for v in pod["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, ["--max-file-bytes=2147483648", "--max-processes=1024"]),
        (
            {"workspace_size": "1Mi", "tmp_size": "2Mi", "max_processes": 0},
            ["--max-file-bytes=2097152"],
        ),
    ],
)
def test_the_launcher_gets_the_limits_of_user_code(changes: Json, want: list[str]) -> None:
    assert container(built(some_settings(**changes)), "sandbox")["command"][4:-2] == want


# The user.


def user(pod: Json) -> int:
    context = pod["spec"]["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"]
    assert not any("runAsUser" in c["securityContext"] for c in containers_of(pod))
    return int(context["runAsUser"])


def of_job(uid: str, attempt: int = 0, **changes: object) -> Json:
    return build_pod(model(uid=uid), attempt, some_settings(**changes), tenant_of())


def test_each_job_has_its_own_user_for_all_attempts() -> None:
    users = {user(of_job(f"job-{n}")) for n in range(1000)}

    assert len(users) == 1000
    assert all(2_000_000_000 <= found < 2_100_000_000 for found in users)
    assert user(of_job("a", attempt=0)) == user(of_job("a", attempt=9))


def test_the_range_is_configured() -> None:
    users = {user(of_job(f"job-{n}", uid_start=7000, uid_count=3)) for n in range(50)}

    assert users == {7000, 7001, 7002}


def test_a_user_namespace_has_small_ids() -> None:
    pod = of_job("a", host_users=False)

    assert pod["spec"]["hostUsers"] is False
    assert 10_000 <= user(pod) < 60_000
    assert "hostUsers" not in of_job("a")["spec"]


@pytest.mark.parametrize(("chosen", "want"), [("gvisor", False), ("kata", None), (None, False)])
def test_another_runtime_class_than_the_installations_keeps_the_nodes_users(
    chosen: str | None, want: bool | None
) -> None:
    runtime = {"runtime": {"runtimeClassName": chosen}} if chosen else {}
    pod = built(some_settings(host_users=False, runtime_class="gvisor"), **runtime)

    assert pod["spec"].get("hostUsers") is want


def test_the_sandbox_has_a_passwd_file_with_its_user() -> None:
    pod = built()
    text = pod["metadata"]["annotations"][names.ANNOTATION_PASSWD]
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "fixed"]
    mounts = {m["mountPath"]: m for m in container(pod, "sandbox")["volumeMounts"]}
    mount = mounts["/etc/passwd"]

    assert text == passwd(user(pod))
    assert volume["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == (
        "metadata.annotations['nanogrid.io/passwd']"
    )
    assert (mount["name"], mount["subPath"], mount["readOnly"]) == ("fixed", "passwd", True)
