"""The load balancers of the EKS package, and the gateway's role and namespace."""

import json
from fnmatch import fnmatch

import yaml

from e2e.eks import BOTH_VALUES, EKS, containers_of, gateway_of, render, rights_of, roles
from nanogrid import names
from nanogrid_gateway.api.settings import Settings
from support.helm import named, of_kind


@BOTH_VALUES
def test_one_internal_target_group_of_pod_addresses_serves_all_sessions(values: str) -> None:
    documents = render(values)
    ingress = named("Ingress", "nanogrid-router", documents)
    annotations = ingress["metadata"]["annotations"]
    prefix = "alb.ingress.kubernetes.io/"

    assert annotations[prefix + "scheme"] == "internal"
    assert annotations[prefix + "target-type"] == "ip", "the only type that Fargate supports"
    attributes = dict(
        pair.split("=") for pair in annotations[prefix + "target-group-attributes"].split(",")
    )
    delay = int(attributes["deregistration_delay.timeout_seconds"])
    router = named("Deployment", "nanogrid-router", documents)
    env = {e["name"]: e.get("value") for e in containers_of(router)[0]["env"]}
    assert int(env["NANOGRID_DRAIN_START_SECONDS"]) >= delay, (
        "a target stays while it is registered"
    )
    interval = int(annotations[prefix + "healthcheck-interval-seconds"])
    assert int(annotations[prefix + "healthcheck-timeout-seconds"]) < interval


@BOTH_VALUES
def test_the_gateways_load_balancer_does_not_cut_requests(values: str) -> None:
    documents = render(values)
    (ingress,) = [d for d in of_kind("Ingress", documents) if "gateway" in d["metadata"]["name"]]
    annotations = ingress["metadata"]["annotations"]
    prefix = "alb.ingress.kubernetes.io/"

    def attribute(kind: str, name: str) -> int:
        pairs = annotations[f"{prefix}{kind}-attributes"].split(",")
        return int(dict(pair.split("=") for pair in pairs)[name])

    pod, env = gateway_of(documents)
    idle = attribute("load-balancer", "idle_timeout.timeout_seconds")
    assert annotations[prefix + "target-type"] == "ip", "the only type that Fargate supports"
    assert annotations[prefix + "scheme"] == "internal"
    assert "HTTPS" in annotations[prefix + "listen-ports"], "it carries tokens"
    assert float(env["NANOGRID_MAX_WAIT_SECONDS"]) < idle, "a waiting caller sends nothing"
    keepalive = Settings.model_fields["keepalive_seconds"].default
    assert idle < keepalive, "the load balancer must close idle connections first"
    delay = attribute("target-group", "deregistration_delay.timeout_seconds")
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert f"sleep({delay})" in command[-1], "a target stays while it is registered"
    assert int(annotations[prefix + "healthcheck-timeout-seconds"]) < int(
        annotations[prefix + "healthcheck-interval-seconds"]
    )


@BOTH_VALUES
def test_the_gateway_has_its_own_role_with_exactly_the_needed_rights(values: str) -> None:
    documents = render(values)
    pod, env = gateway_of(documents)
    account = named("ServiceAccount", pod["serviceAccountName"], documents)
    role = roles()["GatewayRole"]
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn.endswith(f":role/{role['RoleName']}")
    assert "AWS_ACCESS_KEY_ID" not in env

    trusted = json.loads(role["AssumeRolePolicyDocument"]["Fn::Sub"])["Statement"]
    web, agent = (list(statement["Condition"]["StringEquals"].values()) for statement in trusted)
    name = pod["serviceAccountName"]
    assert web == ["sts.amazonaws.com", f"system:serviceaccount:${{OperatorNamespace}}:{name}"]
    assert agent == ["${AWS::AccountId}", "${OperatorNamespace}", name]

    below = {"functions": names.function_prefix("f-1"), "results": names.result_object("r-1")}
    assert all(key.startswith(f"{folder}/") for folder, key in below.items())
    assert names.outputs_prefix("r-1").startswith("outputs/")
    assert env["NANOGRID_S3_ROOT"] == f"{env['NANOGRID_NAMESPACE']}/", "the default of GatewayRoot"
    assert rights_of(role) == {
        ("s3:ListBucket", ""),
        ("s3:GetObject", "/${GatewayRoot}results/*"),
        ("s3:GetObject", "/${GatewayRoot}outputs/*"),
        ("s3:PutObject", "/${GatewayRoot}functions/*"),
        ("s3:DeleteObject", "/${GatewayRoot}functions/*"),
    }


@BOTH_VALUES
def test_the_gateways_runs_are_in_the_namespace_with_the_sandbox_role(values: str) -> None:
    _, env = gateway_of(render(values))
    namespace, account, _ = yaml.safe_load_all((EKS / "namespace.yaml").read_text())

    assert env["NANOGRID_NAMESPACE"] == namespace["metadata"]["name"]
    assert account["metadata"]["name"] == "nanogrid-sandbox"
    assert fnmatch(env["NANOGRID_NAMESPACE"], "jobs-*"), "the Fargate profile selects it"
