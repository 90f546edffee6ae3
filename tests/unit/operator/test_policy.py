"""What a job may choose: the installation's own values, and those of the allow-lists."""

import json
from dataclasses import replace
from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.decision.policy import check, image_allowed, target_group_allowed
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from support.builders import EXECUTOR_IMAGE, a_job_body, some_settings, tenant_of
from support.operator_world import World

pytestmark = pytest.mark.security

SECRET = {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}}
INSTALLATION: dict[str, Any] = {
    "service_account": "sandbox",
    "runtime_class": "gvisor",
    "runtime_images": "reg/python:3.12,reg/r:4",
    "platform_images": "nanogrid-operator:1.0,reg:5000/nanogrid-gateway@sha256:ab",
    "reserved_secrets": "redis-auth,nanogrid-session-key",
    "sandbox_pull_secrets": "registry",
}


def settings_with(allow: Json | None = None, limits: Json | None = None) -> Settings:
    """An installation whose defaults have these allow-lists and limits."""
    defaults = {"allow": allow or {}, "limits": limits or {}}
    return some_settings(tenant_defaults=json.dumps(defaults), **INSTALLATION)


def refusal(settings: Settings, **spec: Any) -> str:
    """Why the job is refused; empty if it is not."""
    job = job_facts(a_job_body(**spec))
    assert job.spec is not None, job.error
    try:
        check(job.spec, tenant_of(settings), settings)
    except InvalidSpecError as e:
        return str(e)
    return ""


CHOICES = [
    ({"runtime": {"image": "reg/pandas:2"}}, {"images": ["reg/*"]}, "spec.runtime.image"),
    ({"serviceAccountName": "reports"}, {"serviceAccounts": ["reports"]}, "spec.serviceAccount"),
    ({"priorityClassName": "low"}, {"priorityClasses": ["low"]}, "spec.priorityClassName"),
    ({"runtime": {"runtimeClassName": "kata"}}, {"runtimeClasses": ["kata"]}, "runtimeClassName"),
    ({"env": [SECRET]}, {"secrets": ["database"]}, "spec.env DB, valueFrom"),
]


@pytest.mark.parametrize(("spec", "allow", "field"), CHOICES)
def test_a_value_is_refused_unless_its_list_has_it(spec: Json, allow: Json, field: str) -> None:
    (name,) = allow
    others: Json = {}
    for _, other, _ in CHOICES:
        others |= other if other != allow else {}

    for lists in ({}, others, {name: ["another"]}):
        found = refusal(settings_with(lists), **spec)
        assert found.startswith("spec."), found
        assert field in found
        assert f"(NanoGridTenant team-a, allow.{name})" in found
    assert refusal(settings_with(allow), **spec) == ""


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"runtime": {"image": EXECUTOR_IMAGE}},
        {"runtime": {"image": "reg/r:4", "runtimeClassName": "gvisor"}},
        {"serviceAccountName": "sandbox"},
        {"env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}]},
    ],
)
def test_the_installations_own_values_are_always_allowed(spec: Json) -> None:
    assert refusal(settings_with(), **spec) == ""


EVERYTHING = {
    "images": ["**"],
    "priorityClasses": ["system-node-critical", "system-cluster-critical"],
    "secrets": [
        "nanogrid-s3",
        "redis-auth",
        "registry",
        "sales-s-0a1b2c3d",
        "sh.helm.release.v1.nanogrid.v1",
    ],
}


@pytest.mark.parametrize(
    "spec",
    [
        {"runtime": {"image": "nanogrid-operator:1.0"}},
        {"runtime": {"image": "nanogrid-operator:0.9"}},
        {"runtime": {"image": "nanogrid-operator"}},
        {"runtime": {"image": "docker.io/library/nanogrid-operator:1.0"}},
        {"runtime": {"image": "docker.io/nanogrid-operator@sha256:cd"}},
        {"runtime": {"image": "reg:5000/nanogrid-gateway:latest"}},
        {"priorityClassName": "system-node-critical"},
        {"priorityClassName": "system-cluster-critical"},
        *(
            {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]}
            for name in EVERYTHING["secrets"]
        ),
    ],
)
def test_some_values_are_refused_even_if_a_list_has_them(spec: Json) -> None:
    assert refusal(settings_with(EVERYTHING), **spec)


def test_the_lists_that_allow_everything_do_allow_the_rest() -> None:
    allow = EVERYTHING | {"priorityClasses": ["low"], "secrets": ["database"]}
    spec = {"runtime": {"image": "any/thing"}, "priorityClassName": "low", "env": [SECRET]}

    assert refusal(settings_with(allow), **spec) == ""


def test_every_job_may_name_the_installations_priority_class() -> None:
    settings = replace(settings_with(), priority_class="batch")

    assert refusal(settings, priorityClassName="batch") == ""
    assert "priorityClassName: urgent" in refusal(settings, priorityClassName="urgent")


def test_the_message_has_every_refused_value() -> None:
    found = refusal(settings_with(), serviceAccountName="a", priorityClassName="b")

    assert found.count("; ") == 1
    assert "serviceAccountName: a" in found
    assert "priorityClassName: b" in found


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        (
            "reg.example/team-a/**",
            ["reg.example/team-a/x", "reg.example/team-a/x/y:1", "reg.example/team-a/x@sha256:ab"],
            ["reg.example/team-a", "reg.example/team-ab/x", "reg.example.evil/team-a/x",
             "evil/reg.example/team-a/x", "reg.example/team-a:x/y"],
        ),
        (
            "reg.example/team-a/*",
            ["reg.example/team-a/x", "reg.example/team-a/x:1"],
            ["reg.example/team-a/x/y", "reg.example/team-b/x"],
        ),
        ("reg/*/base", ["reg/a/base:1"], ["reg/a/b/base", "reg/base"]),
        ("python", ["python", "python:3.12", "python@sha256:ab"], ["evil/python", "pythonx"]),
        ("python:3.*", ["python:3.12"], ["python:2", "python", "python:3.12@sha256:ab"]),
        ("python:latest", ["python", "python:latest"], ["python:3"]),
        ("python@sha256:ab", ["python@sha256:ab", "python:3@sha256:ab"], ["python@sha256:abc"]),
        ("python@sha256:ab", [], ["python", "python:3"]),
        ("reg:5000/a", ["reg:5000/a:1"], ["reg/a", "reg:5001/a", "reg:5000"]),
        ("docker.io/library/python", ["docker.io/library/python:3"], ["python:3"]),
        ("a*b*c", ["abc", "axbxbxc"], ["ab", "abcd", "acb"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("**", ["python", "evil.example/x/y@sha256:ab"], []),
        ("x/**/y", ["x/a/y"], ["x/a/b/y"]),
        ("p**", ["px"], ["p/x"]),
        ("*", ["python"], ["evil.example/python"]),
    ],
)  # fmt: skip
def test_image_patterns(pattern: str, allowed: list[str], refused: list[str]) -> None:
    assert [image for image in allowed if not image_allowed(image, [pattern])] == []
    assert [image for image in refused if image_allowed(image, [pattern])] == []


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    assert not image_allowed("a" * 500, ["*a" * 250 + "*b"])


@pytest.mark.parametrize(
    ("chart", "size", "refused"),
    [
        ({}, "2Gi", False),
        ({}, "2049Mi", True),
        ({"max_workspace_size": "20Gi"}, "20Gi", False),
        ({"max_workspace_size": "20Gi"}, str((20 << 30) + 1), True),
        ({"workspace_size": "4Gi"}, "4Gi", False),
    ],
)
def test_the_platform_team_bounds_the_disk_of_a_job(
    chart: dict[str, str], size: str, refused: bool
) -> None:
    resources = {"limits": {"ephemeral-storage": size}}
    message = refusal(some_settings(**chart), resources=resources)

    assert bool(message) is refused
    assert not refused or "sandbox.maxWorkspaceSize" in message


ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{}/0123456789abcdef"


def test_target_groups() -> None:
    pattern = ARN.format("team-a-*").replace("0123456789abcdef", "*")
    tenant = tenant_of(settings_with({"targetGroupARNs": [pattern]}))

    assert target_group_allowed(ARN.format("team-a-jobs"), tenant)
    assert not target_group_allowed(ARN.format("team-b-jobs"), tenant)
    assert not target_group_allowed(ARN.format("team-a-x/y"), tenant)
    assert not target_group_allowed(ARN.format("team-a-x").replace("1234", "9999"), tenant)
    assert not target_group_allowed(ARN.format("team-a-jobs"), tenant_of(settings_with()))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"timeouts": {"executionSeconds": 61}}, "spec.timeouts.executionSeconds: 61"),
        (
            {"mode": "Session", "code": None, "session": {"executionTimeoutSeconds": 61}},
            "spec.session.executionTimeoutSeconds: 61",
        ),
    ],
)
def test_a_run_may_not_be_longer_than_the_limit(spec: Json, field: str) -> None:
    limited = settings_with(limits={"executionSeconds": 60})

    assert field in refusal(limited, **spec)
    assert "limits.executionSeconds): set at most 60" in refusal(limited, **spec)
    assert refusal(limited, timeouts={"executionSeconds": 60}) == ""
    assert refusal(settings_with(), **spec) == ""


@pytest.mark.parametrize(
    ("seconds", "grace", "refused"),
    [(60, 10, False), (60, 11, True), (1, 3600, True), (30, 40, False), (30, 41, True)],
)
def test_a_long_grace_does_not_exceed_the_limit(seconds: int, grace: int, refused: bool) -> None:
    spec = {"timeouts": {"executionSeconds": seconds}, "terminationGracePeriodSeconds": grace}

    found = refusal(settings_with(limits={"executionSeconds": 60}), **spec)

    assert found.startswith("spec.terminationGracePeriodSeconds: ") is refused, found
    assert bool(found) is refused
    assert refusal(settings_with(), **spec) == ""


async def test_a_refused_job_ends_as_invalid_without_a_pod() -> None:
    world = World(settings_with(), priorityClassName="system-node-critical")

    await world.reconcile()

    assert world.end[:2] == ("Failed", "InvalidSpec")
    assert "system-node-critical" in world.status["message"]
    assert not [w for w in world.kube.writes if w.startswith("POST")]


async def test_an_allowed_job_gets_its_pod() -> None:
    world = World(settings_with({"priorityClasses": ["low"]}), priorityClassName="low")

    await world.reconcile()

    assert [w for w in world.kube.writes if w.endswith("/pods")]


@pytest.mark.parametrize(("priority", "pods"), [("urgent", 0), ("batch-high", 1)])
async def test_a_priority_of_kueue_needs_the_list_of_priority_classes(
    priority: str, pods: int
) -> None:
    body = a_job_body()
    body["metadata"]["labels"] = {"kueue.x-k8s.io/priority-class": priority}
    world = World(settings_with({"priorityClasses": ["batch-high"]}), body)

    await world.reconcile()

    assert len([w for w in world.kube.writes if w.endswith("/pods")]) == pods
    if not pods:
        assert world.end[:2] == ("Failed", "InvalidSpec")
        assert "(NanoGridTenant team-a, allow.priorityClasses)" in world.status["message"]


async def test_the_image_of_a_function_is_checked_too() -> None:
    function = {
        "name": "f",
        "uid": "uid-f",
        "version": 1,
        "s3": {"bucket": "bucket", "key": "functions/f/v1.zip", "sha256": "ab" * 32},
        "runtime": {"image": "evil/image"},
    }
    spec = {"functionRef": {"name": "f"}, "code": None}
    body = a_job_body(**spec, status={"function": function})
    world = World(settings_with(), body)

    await world.reconcile()

    assert world.end[:2] == ("Failed", "InvalidSpec")
    assert "function f: evil/image is not allowed" in world.status["message"]
