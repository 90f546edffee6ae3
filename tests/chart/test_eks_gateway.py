"""The load balancers of the EKS package, and the gateway's role and namespace."""

from fnmatch import fnmatch

from chart.eks import BOTH_VALUES, containers_of, filled, gateway_of, outputs_for, render
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
def test_the_gateway_has_its_own_role_and_its_keys_are_those_of_the_role(values: str) -> None:
    documents = render(values)
    pod, env = gateway_of(documents)
    account = named("ServiceAccount", pod["serviceAccountName"], documents)
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn == outputs_for(values)["GatewayRoleArn"]
    # tests/integration/eks/test_stacks.py checks whom the role trusts, and its rights below these
    # folders.
    assert pod["serviceAccountName"] == "nanogrid-gateway"
    assert "AWS_ACCESS_KEY_ID" not in env

    below = {"functions": names.function_prefix("f-1"), "results": names.result_object("r-1")}
    assert all(key.startswith(f"{folder}/") for folder, key in below.items())
    assert names.outputs_prefix("r-1").startswith("outputs/")
    assert env["NANOGRID_S3_ROOT"] == f"{outputs_for(values)['GatewayNamespace']}/"


@BOTH_VALUES
def test_the_gateways_runs_are_in_the_namespace_with_the_sandbox_role(values: str) -> None:
    _, env = gateway_of(render(values))
    namespace, account = filled("namespace.yaml")

    assert env["NANOGRID_NAMESPACE"] == namespace["metadata"]["name"]
    assert account["metadata"]["name"] == "nanogrid-sandbox"
    assert fnmatch(env["NANOGRID_NAMESPACE"], "jobs-*"), "the Fargate profile selects it"


@BOTH_VALUES
def test_every_load_balancer_has_a_host_name_and_a_certificate(values: str) -> None:
    outputs = outputs_for(values)
    ingresses = of_kind("Ingress", render(values))

    hosts = {rule["host"] for ingress in ingresses for rule in ingress["spec"]["rules"]}
    assert hosts == {outputs["GatewayHost"], outputs["SessionsHost"]}
    for ingress in ingresses:
        annotations = ingress["metadata"]["annotations"]
        assert annotations["alb.ingress.kubernetes.io/certificate-arn"] == outputs["CertificateArn"]
        assert "HTTPS" in annotations["alb.ingress.kubernetes.io/listen-ports"]
