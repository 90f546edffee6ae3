"""The pods that the EKS package makes obey the rules of Fargate and of IAM roles."""

import json
from typing import Any

import pytest
import yaml

from e2e.eks import BOTH_VALUES, EKS, containers_of, render, rights_of, roles
from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.settings import Settings
from support.helm import named, of_kind
from support.identity_webhook import holders, mutate

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
@pytest.mark.parametrize("spec", PODS.values(), ids=PODS)
def test_only_the_projects_containers_get_the_role(values: str, spec: Json) -> None:
    pod = sandbox(values, **spec)

    with_inputs = [names.CONTAINER_SYNC] if "inputs" in spec else []
    assert holders(mutate(pod)) == [*with_inputs, names.CONTAINER_AGENT]
    assert pod["spec"]["serviceAccountName"] == "nanogrid-sandbox"
    for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        assert not [e for e in container.get("env", []) if e["name"].startswith("AWS_SECRET")]


def test_the_fargate_profile_selects_the_pods_by_namespace_and_label() -> None:
    cluster = yaml.safe_load((EKS / "cluster.yaml").read_text())
    (jobs,) = [p for p in cluster["fargateProfiles"] if p["name"] == "jobs"]
    pod = sandbox("values-fargate.yaml")

    (selector,) = jobs["selectors"]
    assert selector["namespace"] == "jobs-*"
    assert selector["labels"].items() <= pod["metadata"]["labels"].items()
    assert all(len(profile["selectors"]) <= 5 for profile in cluster["fargateProfiles"])
    assert cluster["iam"]["withOIDC"] is True


def test_sandboxes_on_ec2_run_only_on_their_own_nodes() -> None:
    cluster = yaml.safe_load((EKS / "cluster.yaml").read_text())
    (group,) = cluster["managedNodeGroups"]
    pod = sandbox("values-ec2.yaml")

    assert pod["spec"]["nodeSelector"] == group["labels"]
    (taint,) = group["taints"]
    wanted = {"key": taint["key"], "operator": "Equal", "value": taint["value"]}
    assert any(wanted.items() <= t.items() for t in pod["spec"]["tolerations"])
    assert group["disablePodIMDS"] is True


def test_every_job_has_its_own_log_stream_name() -> None:
    task = json.loads(
        next(
            e["value"]
            for e in sandbox("values-fargate.yaml", requestId="r-7")["spec"]["containers"][0]["env"]
            if e["name"] == names.ENV_TASK
        )
    )

    assert task["env"]["OTEL_EXPORTER_OTLP_LOGS_HEADERS"].endswith("x-aws-log-stream=r-7")


def test_the_namespace_has_role_pod_security_and_security_group() -> None:
    documents = list(yaml.safe_load_all((EKS / "namespace.yaml").read_text()))
    namespace, account, policy = documents

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= sandbox("values-fargate.yaml")["metadata"]["labels"].items()


def test_a_namespaces_role_is_for_its_service_account_and_its_root_only() -> None:
    namespace, account, _ = yaml.safe_load_all((EKS / "namespace.yaml").read_text())
    role, name = roles()["SandboxRole"], namespace["metadata"]["name"]
    arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert arn.endswith(f":role/{role['RoleName']}".replace("${Namespace}", name))

    (trusted,) = json.loads(role["AssumeRolePolicyDocument"]["Fn::Sub"])["Statement"]
    assert list(trusted["Condition"]) == ["StringEquals"], "no pattern"
    subjects = trusted["Condition"]["StringEquals"].values()
    service_account = account["metadata"]["name"]
    assert f"system:serviceaccount:${{Namespace}}:{service_account}" in subjects

    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    (listing,) = [s for s in statements if s["Action"] == ["s3:ListBucket"]]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "${Root}*"}}
    for action, keys in rights_of(role) - {("s3:ListBucket", "")}:
        assert keys.startswith("/${Root}"), action


def test_the_operators_role_has_the_results_of_every_root_only() -> None:
    assert rights_of(roles()["OperatorRole"]) == {
        ("s3:ListBucket", ""),
        *((f"s3:{verb}Object", keys) for verb in ("Get", "Put")
          for keys in ("/results/*", "/*/results/*")),
    }  # fmt: skip


def test_the_releases_fargate_pods_request_their_limits() -> None:
    for deployment in of_kind("Deployment", render("values-fargate.yaml")):
        for container in containers_of(deployment):
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
