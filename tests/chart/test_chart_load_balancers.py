"""The load balancers that the chart asks for: AWS accepts them, and their groups do not conflict.

Needs helm but no cluster. :mod:`support.load_balancer_controller` has the rules of the controller
and of AWS, with their sources.
"""

from typing import Any

import boto3
import pytest

from nanogrid.types import Json
from nanogrid_operator.manifests import exposure
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from support.aws_stacks import account
from support.builders import a_job_body
from support.helm import CHART, helm, manifests, named, of_kind, pod_spec
from support.load_balancer_controller import (
    ALB,
    attributes,
    aws_refusal,
    create_target_group,
    inject_gates,
)

REAL: dict[str, Any] = {
    "s3": {"bucket": "jobs"},
    "network": {"s3": {"peers": [{"ipBlock": {"cidr": "10.0.128.0/20"}}]}},
    "redis": {"url": "rediss://redis:6379/0"},
}
ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/r/0123456789abcdef"
NETWORKING = {"ingress": [{"from": [{"securityGroup": {"groupID": "sg-0a1b"}}],
                           "ports": [{"protocol": "TCP", "port": 9080}]}]}  # fmt: skip
ROUTER = {"router": {"ingress": {"enabled": True}}}
GATEWAY = {"gateway": {"ingress": {"enabled": True}}}
SESSIONS = {"sessions": {"expose": ["Ingress", "TargetGroupBinding"]}}
ALL = ROUTER | GATEWAY | SESSIONS


def render(values: dict[str, Any]) -> list[Json]:
    return manifests("--namespace", "platform", values=REAL | values)


def refused(values: dict[str, Any]) -> str:
    """What helm says when it refuses these values."""
    done = helm("template", "nanogrid", CHART, values=REAL | values)
    assert done.returncode != 0
    return done.stderr


def settings(documents: list[Json]) -> Settings:
    """The operator's settings from its Deployment."""
    pod = pod_spec(named("Deployment", "nanogrid", documents))
    elsewhere = {
        "NANOGRID_SESSION_KEY": "k" * 32,
        "NANOGRID_RESULT_KEY_MASTER": "k" * 32,
        "NANOGRID_IDENTITY": "pod",
        "NANOGRID_LEASE_NAMESPACE": "platform",
    }
    given = {e["name"]: e["value"] for e in pod["containers"][0]["env"] if "value" in e}
    return Settings.from_env(elsewhere | given)


def session_objects(documents: list[Json], **rules: Any) -> tuple[Json, Json]:
    """The Service of a session, and its Ingress or TargetGroupBinding."""
    body = a_job_body(mode="Session", session=rules)
    del body["spec"]["code"]
    job, given = job_facts(body), settings(documents)
    service, entrance = exposure.service(job, given), exposure.entrance(job, given)
    assert service is not None
    assert entrance is not None
    return service.body, entrance.body


def annotations_of(documents: list[Json]) -> dict[str, dict[str, str]]:
    """The annotations of all Ingresses of the installation, also of a session."""
    found = {d["metadata"]["name"]: d["metadata"]["annotations"]
             for d in of_kind("Ingress", documents)}  # fmt: skip
    _, ingress = session_objects(documents, expose="Ingress")
    return found | {"session": ingress["metadata"]["annotations"]}


def test_aws_accepts_the_target_group_of_every_ingress() -> None:
    found = annotations_of(render(ALL))

    assert set(found) == {"nanogrid-router", "nanogrid-gateway", "session"}
    for name, annotations in found.items():
        group = create_target_group(annotations)
        assert aws_refusal(group) == "", name
        assert group["TargetType"] == "ip"
        assert attributes(annotations, "load-balancer-attributes")["idle_timeout.timeout_seconds"]
    # The same rule finds what the controller's default timeout of 5 s did to an interval of 5 s.
    without = dict(found["session"])
    del without[f"{ALB}/healthcheck-timeout-seconds"]
    assert "greater than the timeout" in aws_refusal(create_target_group(without))


def test_a_target_comes_and_goes_in_each_target_group() -> None:
    """The calls of the controller, replayed against moto."""
    with account():
        vpc = boto3.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        elb: Any = boto3.client("elbv2")

        def create(name: str, group: Json) -> str:
            ports = {"Protocol": "HTTP", "Port": 1, "HealthCheckProtocol": "HTTP", "VpcId": vpc}
            made = elb.create_target_group(Name=name, **ports, **group)["TargetGroups"]
            return str(made[0]["TargetGroupArn"])

        def targets(arn: str) -> int:
            return len(elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"])

        groups = {n: create_target_group(a) for n, a in annotations_of(render(ALL)).items()}
        for name, group in groups.items():
            arn = create(name, group)
            target = {"TargetGroupArn": arn, "Targets": [{"Id": "10.0.0.9", "Port": 9080}]}
            elb.register_targets(**target)
            assert targets(arn) == 1
            elb.deregister_targets(**target)
            assert targets(arn) == 0
        with pytest.raises(elb.exceptions.ClientError, match="smaller than the interval"):
            create("old", groups["session"] | {"HealthCheckTimeoutSeconds": 5})


def test_a_session_drains_longer_than_its_target_group() -> None:
    documents = render(ALL)
    delay = attributes(annotations_of(documents)["session"], "target-group-attributes")
    seconds = int(delay["deregistration_delay.timeout_seconds"])

    rules = exposure.rules(job_facts(a_job_body(mode="Session", session={"expose": "Ingress"},
                                                code=None)))  # fmt: skip
    assert rules is not None
    assert exposure.drain_seconds(rules, settings(documents)) >= seconds + 5


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"router": {"ingress": {"enabled": True, "healthCheck": {"timeoutSeconds": 5}}}},
         "router.ingress"),
        ({"gateway": {"ingress": {"enabled": True, "annotations": {
            f"{ALB}/healthcheck-timeout-seconds": "5"}}}}, "gateway.ingress"),
        ({"sessions": {"expose": ["Ingress"], "ingress": {"annotations": {
            f"{ALB}/healthcheck-timeout-seconds": "6"}}}}, "sessions.ingress"),
    ],
)  # fmt: skip
def test_a_health_check_that_aws_refuses_is_refused(values: Json, name: str) -> None:
    message = refused(values)

    assert f"{name}: the timeout of the health check is" in message
    assert "below the interval" in message


def test_what_aws_refuses_is_no_fault_of_another_controller() -> None:
    timeout = {"router": {"ingress": {"enabled": True, "healthCheck": {"timeoutSeconds": 5}}}}
    group = grouped("shared", "shared")
    for values, sections in ((timeout, ("router",)), (group, ("router", "gateway"))):
        refused(values)
        for other in ({"controller": "other"}, {"className": "nginx"}):
            render({s: {"ingress": values[s]["ingress"] | other} for s in sections})

    secure = {"enabled": True, "className": "nginx", "host": "s.example.com"}
    given = settings(render({"router": {"ingress": secure | {"tls": [{"secretName": "t"}]}}}))
    assert given.session_url == "https://s.example.com"


def grouped(gateway: str, router: str, **more: str) -> dict[str, Any]:
    """Gateway and router with these groups."""
    annotations = {f"{ALB}/group.name": gateway, **{f"{ALB}/{k}": v for k, v in more.items()}}
    return {
        "gateway": {"ingress": {"enabled": True, "annotations": annotations}},
        "router": {"ingress": {"enabled": True, "groupName": router}},
    }


def test_ingresses_of_one_group_agree_on_their_load_balancer() -> None:
    message = refused(grouped("shared", "shared"))
    assert "gateway.ingress and router.ingress are in the group shared" in message
    assert "idle_timeout.timeout_seconds is 70 in one and 900 in the other" in message

    render(grouped("one", "two"))
    same = grouped("shared", "shared")
    same["router"]["ingress"]["idleTimeoutSeconds"] = 70
    render(same)
    schemes = grouped("shared", "shared", scheme="internet-facing")
    schemes["router"]["ingress"]["idleTimeoutSeconds"] = 70
    assert "its scheme is internet-facing in one and internal" in refused(schemes)


def test_sessions_can_share_the_routers_load_balancer_but_not_the_gateways() -> None:
    group = "nanogrid-sessions"  # the default of sessions.ingress
    render(SESSIONS | {"router": {"ingress": {"enabled": True, "groupName": group}}})

    message = refused(SESSIONS | {"gateway": grouped(group, "")["gateway"]})
    assert "gateway.ingress and sessions.ingress" in message


def test_annotations_of_the_values_replace_the_routers_own() -> None:
    own = {f"{ALB}/load-balancer-attributes": "idle_timeout.timeout_seconds=60"}
    values = {"router": {"ingress": {"enabled": True, "annotations": own}}}
    router = ("-s", "templates/router.yaml")
    done = helm("template", "nanogrid", CHART, *router, values=REAL | values)

    assert done.stdout.count(f"{ALB}/load-balancer-attributes") == 1
    assert "idle_timeout.timeout_seconds=60" in done.stdout


@pytest.mark.parametrize(
    ("ingress", "url"),
    [
        ({}, "http://nanogrid-router.platform.svc:8080"),
        ({"host": "s.example.com"}, "http://nanogrid-router.platform.svc:8080"),
        ({"enabled": True}, "http://nanogrid-router.platform.svc:8080"),
        ({"enabled": True, "host": "s.example.com"}, "http://s.example.com"),
        ({"enabled": True, "host": "s.example.com", "tls": [{"secretName": "t"}]},
         "https://s.example.com"),
        ({"enabled": True, "host": "s.example.com",
          "annotations": {f"{ALB}/certificate-arn": "arn:aws:acm:x"}}, "https://s.example.com"),
        ({"enabled": True, "host": "s.example.com",
          "annotations": {f"{ALB}/listen-ports": '[{"HTTP": 80}, {"HTTPS": 8443}]'}},
         "https://s.example.com:8443"),
    ],
)  # fmt: skip
def test_the_url_of_sessions_is_the_public_one_where_there_is_one(ingress: Json, url: str) -> None:
    assert settings(render({"router": {"ingress": ingress}})).session_url == url


def test_a_given_url_of_sessions_wins() -> None:
    values = {"sessions": {"url": "https://given.example"},
              "router": {"ingress": {"enabled": True, "host": "s.example.com"}}}  # fmt: skip
    assert settings(render(values)).session_url == "https://given.example"


def test_the_security_groups_of_bindings_come_from_the_values() -> None:
    values = {
        "sessions": {"expose": ["TargetGroupBinding"],
                     "targetGroupBinding": {"networking": NETWORKING}},
        "router": {"targetGroupARN": ARN, "targetGroupNetworking": NETWORKING},
    }  # fmt: skip
    documents = render(values)
    _, session = session_objects(documents, expose="TargetGroupBinding", targetGroupARN=ARN)

    assert session["spec"]["networking"] == NETWORKING
    router = named("TargetGroupBinding", "nanogrid-router", documents)
    assert router["spec"]["networking"] == NETWORKING
    bare = render({"router": {"targetGroupARN": ARN}})
    assert "networking" not in named("TargetGroupBinding", "nanogrid-router", bare)["spec"]
    wrong = {"ingress": [{"from": [{"securityGroup": "sg-0a1b"}], "ports": []}]}
    assert "networking" in refused({"sessions": {"targetGroupBinding": {"networking": wrong}}})


def test_a_new_replica_of_the_router_is_ready_when_its_target_is_healthy() -> None:
    documents = render({"router": {"targetGroupARN": ARN}})
    template = named("Deployment", "nanogrid-router", documents)["spec"]["template"]
    binding = named("TargetGroupBinding", "nanogrid-router", documents)
    services = {"nanogrid-router": named("Service", "nanogrid-router", documents)}
    pod = {"metadata": template["metadata"], "spec": template["spec"]}

    assert pod["spec"]["readinessGates"]
    assert inject_gates(pod, [binding], services) == pod, "the webhook has nothing to add"
    assert "readinessGates" not in pod_spec(named("Deployment", "nanogrid-router", render({})))
