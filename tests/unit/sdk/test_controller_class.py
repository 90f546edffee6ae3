"""The client and the command line, where several installations share the cluster."""

import json
from typing import Any

import pytest
from redis.crc import key_slot

from nanogrid import controller_class, names
from nanogrid.api.job import Spec
from nanogrid.cli import cleanup, installation_checks
from nanogrid.cli.boundary import installation
from nanogrid.client import Client
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.manifest import ANNOTATION_SPEC_HASH, build_job, in_class, spec_hash
from nanogrid.tenancy import Area, redis_cluster_problem, redis_prefix_problem
from nanogrid.types import Json
from support.cli_fakes import NAMESPACE, FakeClient, FakeCluster, job
from support.cli_terminal import Terminal

BETA = "beta"
DEPLOYMENTS = "/apis/apps/v1/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def operator(own: str, namespace: str = "sys", watched: str = "") -> Json:
    env = {"NANOGRID_WATCH_NAMESPACES": watched} | ({controller_class.ENV: own} if own else {})
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {
        "metadata": {"name": f"nanogrid{own}", "namespace": namespace, "labels": {}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"env": variables}]}}},
        "status": {"readyReplicas": 1},
    }


def test_a_class_is_a_label_of_its_own_field_and_selectors() -> None:
    plain: Json = {"spec": {}}
    beta: Json = {"spec": {"controllerClass": BETA}}

    assert [controller_class.class_of(one) for one in (plain, beta, {})] == ["", BETA, ""]
    assert controller_class.serves("", plain)
    assert not controller_class.serves("", beta)
    assert not controller_class.serves(BETA, plain)
    assert controller_class.labels("") == {}
    assert Spec.model_validate({"code": {"inline": "1"}, "controllerClass": BETA}).controller_class


@pytest.mark.parametrize("value", ["", "Beta", "a_b", "-a", "a" * 64])
def test_a_job_cannot_name_an_impossible_class(value: str) -> None:
    with pytest.raises(InvalidRequest, match="controllerClass"):
        build_job("1", spec={"controllerClass": value})


def test_the_client_gives_its_jobs_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(controller_class.ENV, BETA)
    cluster = FakeCluster()
    from_env = Client(cluster=cluster)  # type: ignore[arg-type]
    plain = Client(cluster=cluster, controller_class="")  # type: ignore[arg-type]

    made = [
        from_env.submit("print(1)").job,
        from_env.submit(build_job("print(2)")).job,
        from_env.submit("print(3)", spec={"controllerClass": "other"}).job,
        plain.submit("print(4)").job,
    ]

    assert [one["spec"].get("controllerClass") for one in made] == [BETA, BETA, "other", None]
    for one in made:
        assert one["metadata"]["annotations"][ANNOTATION_SPEC_HASH] == spec_hash(one["spec"])


def test_a_wrong_class_of_the_client_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidRequest, match="'A b'"):
        in_class(build_job("print(1)"), "A b")


def test_the_option_reaches_the_job(terminal: Terminal) -> None:
    terminal.run("run", "-c", "print(1)", "--controller-class", BETA)
    terminal.run("--controller-class", BETA, "run", "-c", "print(1)")
    terminal.run("run", "-c", "print(1)")

    classes = [one["spec"].get("controllerClass") for one in terminal.cluster.created]
    assert classes == [BETA, BETA, None]


@pytest.mark.parametrize(
    ("own", "operators", "state"),
    [
        ("", ["", BETA], "ok"),
        (BETA, ["", BETA], "ok"),
        ("gamma", ["", BETA], "fail"),
        ("", [BETA], "fail"),
        ("", [], "fail"),
    ],
)
def test_doctor_checks_the_operator_of_the_class(
    terminal: Terminal, own: str, operators: list[str], state: str
) -> None:
    terminal.cluster.lists[DEPLOYMENTS] = [operator(each) for each in operators]
    options = ("--controller-class", own) if own else ()

    found = {
        one["check"]: one
        for one in json.loads(terminal.run("doctor", "-o", "json", *options).stdout)
        if one["check"] == "operator"
    }

    assert found["operator"]["state"] == state
    if operators and state == "fail":
        assert "sys/nanogridbeta (controller class beta)" in found["operator"]["detail"]
        assert "--controller-class" in found["operator"]["hint"]


@pytest.mark.parametrize(
    ("operators", "states"),
    [
        ([operator("", "a"), operator("", "b")], ["ok", "ok", "fail"]),
        ([operator("", "a"), operator(BETA, "b")], ["ok"]),
        (
            [operator("", "a", watched=NAMESPACE), operator("", "b", watched="x")],
            ["ok", "ok", "fail"],  # the last one: the second operator does not watch it
        ),
    ],
)
def test_doctor_finds_two_operators_of_one_class(operators: list[Json], states: list[str]) -> None:
    cluster: Any = FakeCluster()
    cluster.lists[DEPLOYMENTS] = operators
    found = [
        one for one in installation_checks.operator(cluster, NAMESPACE) if one.check == "operator"
    ]

    assert [one.state for one in found] == states
    rivals = [one for one in found if "run the same jobs" in one.detail]
    watching = [one for one in operators if installation_checks.watches(one, NAMESPACE)]
    same = len({installation_checks.env_of(o, controller_class.ENV) for o in watching}) == 1
    assert bool(rivals) == (len(watching) > 1 and same)


def test_doctor_with_a_tenant_attacks_the_installation_of_the_class() -> None:
    cluster: Any = FakeCluster()
    cluster.lists[DEPLOYMENTS] = [operator("", "a"), operator(BETA, "b")]

    found = {own: installation.find(cluster, NAMESPACE, own) for own in ("", BETA, "gamma")}

    namespaces = {own: one and one.namespace for own, one in found.items()}
    assert namespaces == {"": "a", BETA: "b", "gamma": None}


@pytest.mark.parametrize(
    ("own", "operators", "cause", "hint"),
    [
        (
            BETA,
            [""],
            "none in the cluster runs jobs of controller class beta",
            "no controllerClass",
        ),
        ("", [BETA], "none in the cluster runs jobs of no controller", "controllerClass: beta"),
        (BETA, ["", BETA], "not processed the job yet", "--controller-class beta"),
        ("", [""], "not processed the job yet", "`nanogrid doctor`"),
        (BETA, None, "not processed the job yet", "--controller-class beta"),
    ],
)
def test_why_names_a_class_without_an_operator(
    terminal: Terminal, own: str, operators: list[str] | None, cause: str, hint: str
) -> None:
    named: dict[str, Any] = {"controllerClass": own} if own else {}
    waiting = job("j", **named)
    del waiting["status"]
    terminal.cluster.add(waiting)
    if operators is None:
        terminal.cluster.forbidden.add(DEPLOYMENTS)
    else:
        terminal.cluster.lists[DEPLOYMENTS] = [operator(each) for each in operators]

    found = json.loads(terminal.run("why", "j", "-o", "json").stdout)

    assert cause in found["cause"]
    assert hint in found["hint"]


def test_cleanup_of_one_class_leaves_the_others() -> None:
    def pod(name: str, own: str) -> Json:
        labels = {names.LABEL_JOB_UID: f"uid-{name}", names.LABEL_JOB: name}
        labels |= controller_class.labels(own)
        meta = {"name": name, "namespace": NAMESPACE, "uid": f"pod-{name}", "labels": labels}
        return {"metadata": meta}

    cluster: Any = FakeCluster()
    mine, theirs = pod("lost-plain", ""), pod("lost-beta", BETA)
    # The job of a class exists: its pod is no leftover for any caller.
    cluster.add(job("alive", controllerClass=BETA))
    cluster.lists[PODS] = [mine, theirs, pod("alive", BETA)]
    labels = f"{names.LABEL_JOB_UID},{names.LABEL_CONTROLLER_CLASS}={BETA}"
    cluster.lists[f"{PODS}?{labels}"] = [theirs, pod("alive", BETA)]

    everything = cleanup.find_objects(cluster, NAMESPACE, 0.0, [])
    of_beta = cleanup.find_objects(cluster, NAMESPACE, 0.0, [], BETA)

    assert [one.name for one in everything] == ["lost-plain", "lost-beta"]
    assert [one.name for one in of_beta] == ["lost-beta"]


def test_names_in_redis_begin_with_the_prefix() -> None:
    area = Area.of("team-a", bucket="b", redis_prefix="prod:")
    older = Area.of("old", bucket="b", compatibility_namespace="old", redis_prefix="prod:")

    assert area.result_key("r") == "prod:result:team-a:r"
    assert older.result_key("r") == "prod:result:r"
    assert (area.stream, area.platform_stream) == ("prod:results:team-a", "prod:results")
    without = Area.of("team-a", bucket="b")
    assert (without.stream, without.platform_stream) == ("results:team-a", "results")


def test_names_in_a_redis_cluster_have_one_slot_per_namespace() -> None:
    area = Area.of("team-a", bucket="b", redis_prefix="prod:", redis_cluster=True)

    assert area.result_key("r") == "prod:result:{team-a}:r"
    assert area.streams == ("prod:results:{team-a}",)
    elsewhere = Area.of("team-a", bucket="b")
    assert elsewhere.streams == ("results:team-a", "results")
    slots = {key_slot(name.encode()) for name in (area.result_key("r"), *area.streams)}
    others = {key_slot(name.encode()) for name in elsewhere.streams}
    assert (len(slots), len(others)) == (1, 2)


def test_a_compatibility_namespace_cannot_be_in_a_redis_cluster() -> None:
    assert redis_cluster_problem("") == ""
    assert 'tenancy.compatibilityNamespace to "-"' in redis_cluster_problem("older")


@pytest.mark.parametrize(
    ("prefix", "valid"), [("", True), ("prod:", True), ("a b", False), ("*", False), ("{x}", False)]
)
def test_prefixes_of_redis(prefix: str, valid: bool) -> None:
    assert (redis_prefix_problem(prefix) == "") == valid


def test_a_client_without_a_class_uses_the_installation_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(controller_class.ENV, raising=False)
    assert FakeClient(FakeCluster()).controller_class == ""
