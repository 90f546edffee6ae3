"""The pods that the EKS package makes obey the rules of Fargate and of IAM roles."""

import copy
import json
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from chart.eks import BOTH_VALUES, containers_of, filled, gateway_of, outputs_for, render
from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.settings import Settings
from support.eks_network import EKS
from support.eksctl import schema
from support.helm import named, of_kind
from support.identity_webhook import METHODS, Method, holders, mutate

pytestmark = pytest.mark.security

# vCPU: smallest and largest memory in GiB; https://docs.aws.amazon.com/eks/latest/userguide/fargate-pod-configuration.html
SIZES = {0.25: (0.5, 2), 0.5: (1, 4), 1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}
KUBERNETES_MIB = 256  # Fargate adds this for the kubelet


def settings(documents: list[Json]) -> Settings:
    """The operator's settings from its Deployment."""
    env = containers_of(named("Deployment", "nanogrid", documents))[0]["env"]
    elsewhere = {  # these come from Secrets and from fields of the pod
        "NANOGRID_SESSION_KEY": "k" * 32,
        "NANOGRID_RESULT_KEY_MASTER": "k" * 32,
        "NANOGRID_IDENTITY": "pod",
        "NANOGRID_LEASE_NAMESPACE": "nanogrid-system",
    }
    return Settings.from_env(elsewhere | {e["name"]: e["value"] for e in env if "value" in e})


def sandbox(values: str, **spec: Any) -> Json:
    """A job's pod in an installation with these values."""
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": "sales",
            "namespace": "jobs-analytics",
            "uid": "0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11",
            "resourceVersion": "1",
        },
        "spec": {"code": {"inline": "print(1)"}, **spec},
    }
    job = job_facts(body)
    assert job.model is not None, job.error
    given = settings(render(values))
    return build_pod(job.model, 0, given, Tenants(given).of(job.namespace))


INPUT = {"name": "in", "mountPath": "/app/data", "s3": {"prefix": "jobs-analytics/in/"}}
PODS = {
    "batch": {},
    "with inputs": {"inputs": [INPUT]},
    "foreign image": {"runtime": {"image": "python:3.12-slim"}},
    "session": {"mode": "Session"},
}


def fargate_size(pod: Json) -> tuple[float, float]:
    """The vCPU and GiB that Fargate bills: the maximum of init and main containers, rounded up."""
    spec = pod["spec"]

    def total(containers: list[Json], name: str) -> float:
        return sum(float(quantity(c["resources"]["requests"][name])) for c in containers)

    inits = spec.get("initContainers", [])
    cpu, memory = (
        max([total(spec["containers"], name), *(total([c], name) for c in inits)])
        for name in ("cpu", "memory")
    )
    needed = memory / (1 << 30) + KUBERNETES_MIB / 1024
    for vcpu, (least, most) in SIZES.items():
        if cpu <= vcpu and needed <= most:
            return vcpu, max(least, -(-needed // 1) if vcpu > 0.25 else least)
    raise AssertionError(f"no Fargate size for {cpu} vCPU and {needed} GiB")


@pytest.mark.parametrize("spec", PODS.values(), ids=PODS)
def test_a_fargate_pod_requests_its_limits_and_nothing_that_fargate_forbids(spec: Json) -> None:
    pod = sandbox("values-fargate.yaml", **spec)
    containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]

    for container in containers:
        assert container["resources"]["requests"] == container["resources"]["limits"]
        security = container["securityContext"]
        assert not security.get("privileged")
        assert "add" not in security["capabilities"], "Fargate refuses added capabilities"
        assert not any("hostPort" in port for port in container.get("ports", []))
    for forbidden in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        assert forbidden not in pod["spec"]
    assert {k for volume in pod["spec"]["volumes"] for k in volume} <= {
        "name", "emptyDir", "projected", "secret", "configMap", "downwardAPI",
    }  # fmt: skip


def test_a_default_job_has_the_size_in_the_values_files_comment() -> None:
    assert fargate_size(sandbox("values-fargate.yaml")) == (1, 2)
    assert "1 vCPU and 2 GiB" in (EKS / "values-fargate.yaml").read_text()


@BOTH_VALUES
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("spec", PODS.values(), ids=PODS)
def test_only_the_projects_containers_get_the_role(values: str, spec: Json, method: Method) -> None:
    pod = sandbox(values, **spec)

    with_inputs = [names.CONTAINER_SYNC] if "inputs" in spec else []
    assert holders(mutate(pod, method), method) == [*with_inputs, names.CONTAINER_AGENT]
    assert pod["spec"]["serviceAccountName"] == "nanogrid-sandbox"
    for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        assert not [e for e in container.get("env", []) if e["name"].startswith("AWS_SECRET")]


def test_fargate_profiles_select_the_pods_by_namespace_and_label() -> None:
    (cluster,) = filled("cluster-fargate.yaml")
    system, jobs = cluster["fargateProfiles"]
    pod = sandbox("values-fargate.yaml")

    (selector,) = jobs["selectors"]
    assert selector["namespace"] == "jobs-*"
    assert selector["labels"].items() <= pod["metadata"]["labels"].items()
    assert {"namespace": "nanogrid-system"} in system["selectors"]
    # Without labels the profile would also select the DaemonSets, which cannot run on Fargate.
    assert all("labels" in s for s in system["selectors"] if s["namespace"] == "kube-system")
    (controller,) = filled("load-balancer-controller.yaml")
    assert {"namespace": "kube-system", "labels": controller["podLabels"]} in system["selectors"]
    assert all(len(profile["selectors"]) <= 5 for profile in cluster["fargateProfiles"])
    assert cluster["iam"]["withOIDC"] is True


@pytest.mark.parametrize("file", ["cluster-fargate.yaml", "cluster-ec2.yaml"])
def test_eksctl_knows_every_field_of_the_clusters(file: str) -> None:
    (cluster,) = filled(file)
    validator = jsonschema.Draft7Validator(schema())

    assert [e.message for e in validator.iter_errors(cluster)] == []
    wrong = copy.deepcopy(cluster)
    wrong["privateCluster"]["skipEndpoints"] = True
    assert not validator.is_valid(wrong)


def test_sandboxes_on_ec2_run_only_on_their_own_nodes_which_start() -> None:
    (cluster,) = filled("cluster-ec2.yaml")
    system, group = cluster["managedNodeGroups"]
    pod = sandbox("values-ec2.yaml")

    assert pod["spec"]["nodeSelector"] == group["labels"]
    (taint,) = group["taints"]
    wanted = {"key": taint["key"], "operator": "Equal", "value": taint["value"]}
    assert any(wanted.items() <= t.items() for t in pod["spec"]["tolerations"])
    assert group["minSize"] >= 1 or group["propagateASGTags"], "else it never has a first node"
    assert group["desiredCapacity"] >= group["minSize"]
    assert "taints" not in system, "DNS, the platform and the controllers run there"
    assert "fargateProfiles" not in cluster


def test_no_pod_on_ec2_reaches_the_metadata_service_of_its_node() -> None:
    (cluster,) = filled("cluster-ec2.yaml")

    assert all(group["disablePodIMDS"] is True for group in cluster["managedNodeGroups"])
    policies = {
        p["metadata"]["name"]: p for p in of_kind("NetworkPolicy", render("values-ec2.yaml"))
    }
    (rule,) = policies["nanogrid-no-metadata"]["spec"]["egress"]
    assert "169.254.169.254/32" in rule["to"][0]["ipBlock"]["except"]


def test_the_network_plugin_of_ec2_enforces_policies_and_security_groups() -> None:
    (cluster,) = filled("cluster-ec2.yaml")
    addons = {addon["name"]: addon for addon in cluster["addons"]}
    plugin = json.loads(addons["vpc-cni"]["configurationValues"])

    assert plugin["enableNetworkPolicy"] == "true"
    # system.yaml has SecurityGroupPolicies, which need these two.
    assert plugin["env"]["ENABLE_POD_ENI"] == "true"
    assert plugin["env"]["POD_SECURITY_GROUP_ENFORCING_MODE"] == "standard"
    assert "eks-pod-identity-agent" in addons


def test_policies_of_ec2_sandboxes_open_dns_the_operator_and_the_endpoints_only() -> None:
    given = settings(render("values-ec2.yaml"))
    outputs = outputs_for("values-ec2.yaml")
    egress = given.lists("sandbox_egress")
    blocks = [
        (peer["ipBlock"]["cidr"], [port["port"] for port in rule["ports"]])
        for rule in egress
        for peer in rule["to"]
        if "ipBlock" in peer
    ]

    assert blocks == [(outputs[f"EndpointCidr{zone}"], [443]) for zone in "AB"]
    # Everything else names pods: DNS and the operator's port.
    ports = sorted(port["port"] for rule in egress for port in rule["ports"])
    assert ports == [53, 53, 443, 8080]


@pytest.mark.parametrize("values", ["values-fargate.yaml", "values-ec2.yaml"])
def test_no_job_has_a_setting_of_opentelemetry_that_nothing_reads(values: str) -> None:
    """A sandbox has no way to a collector; operator, gateway and router send the traces."""
    agent = sandbox(values)["spec"]["containers"][0]
    task = json.loads(next(e["value"] for e in agent["env"] if e["name"] == names.ENV_TASK))

    assert [name for name in task["env"] if name.startswith("OTEL_")] == []


def test_the_namespace_has_role_pod_security_and_security_group() -> None:
    namespace, account = filled("namespace.yaml")
    (policy,) = filled("security-group.yaml")
    outputs = outputs_for("namespace.yaml")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (
        account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        == outputs["SandboxRoleArn"]
    )
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= sandbox("values-fargate.yaml")["metadata"]["labels"].items()
    assert policy["spec"]["securityGroups"]["groupIds"] == [outputs["SandboxSecurityGroup"]]


@BOTH_VALUES
def test_the_security_groups_of_system_yaml_are_for_operator_and_gateway(values: str) -> None:
    documents = filled("system.yaml")
    policies = {p["metadata"]["name"]: p for p in of_kind("SecurityGroupPolicy", documents)}
    deployments = of_kind("Deployment", render(values))

    selected = {
        deployment["metadata"]["name"]: name
        for deployment in deployments
        for name, policy in policies.items()
        if policy["spec"]["podSelector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    }
    assert selected == {"nanogrid": "nanogrid-operator", "nanogrid-gateway": "nanogrid-gateway"}
    (namespace,) = of_kind("Namespace", documents)
    assert namespace["metadata"]["labels"]["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"


@BOTH_VALUES
def test_the_release_names_the_outputs_of_the_stacks_and_its_secrets(values: str) -> None:
    documents, outputs = render(values), outputs_for(values)
    operator = named("ServiceAccount", "nanogrid", documents)
    given = settings(documents)

    arn = operator["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn == outputs["OperatorRoleArn"]
    assert (given.s3_bucket, given.s3_region) == (outputs["Bucket"], outputs["Region"])
    assert outputs["RedisHost"] in given.redis_url
    images = {c["image"] for d in of_kind("Deployment", documents) for c in containers_of(d)}
    assert all(image.startswith(outputs["Images"] + "/") for image in images)


@BOTH_VALUES
def test_with_iam_the_release_has_the_users_of_the_stack_and_no_password(values: str) -> None:
    documents, outputs = render(values, "redis-iam.yaml"), outputs_for("redis-iam.yaml")

    server = settings(documents).redis_server
    assert server.iam is not None
    assert (server.iam.cache, server.iam.user) == (
        outputs["RedisCacheName"], outputs["RedisOperatorUser"],
    )  # fmt: skip
    _, gateway = gateway_of(documents)
    assert gateway["NANOGRID_REDIS_IAM_CACHE"] == outputs["RedisCacheName"]
    assert gateway["NANOGRID_REDIS_USERNAME"] == outputs["RedisGatewayUser"]
    assert "NANOGRID_REDIS_PASSWORD" not in gateway
    assert "redis-auth" not in json.dumps(documents)
    assert "redis-auth" in json.dumps(render(values)), "with passwords there are Secrets"


@BOTH_VALUES
def test_the_releases_manifests_are_valid_for_kubernetes(values: str) -> None:
    for document in render(values):
        if (
            "k8s.aws" not in document["apiVersion"]
            and document["kind"] != "CustomResourceDefinition"
        ):
            kubernetes_validate.validate(document, "1.34", strict=True)


def test_the_releases_fargate_pods_request_their_limits() -> None:
    for deployment in of_kind("Deployment", render("values-fargate.yaml")):
        for container in containers_of(deployment):
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
