"""The EKS package: what the chart renders with its values obeys the rules of Fargate and IRSA.

Needs helm, not a cluster. Sources: the EKS user guide on Fargate pod configuration and
considerations, and the Load Balancer Controller's annotations.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.support import Json
from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid_operator.facts import job_facts
from nanogrid_operator.pod import build_pod
from nanogrid_operator.settings import Settings

EKS = Path("examples/eks")
# vCPU: memory in GiB, from the smallest; https://docs.aws.amazon.com/eks/latest/userguide/fargate-pod-configuration.html
SIZES = {0.25: (0.5, 2), 0.5: (1, 4), 1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}
KUBERNETES_MIB = 256  # Fargate adds it for the kubelet


def render(values: str) -> list[Json]:
    """The chart's manifests with one of the values files."""
    done = subprocess.run(
        ["helm", "template", "nanogrid", "helm/nanogrid-operator", "-n", "nanogrid-system",
         "-f", str(EKS / values)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def of_kind(kind: str, documents: list[Json]) -> list[Json]:
    return [d for d in documents if d["kind"] == kind]


def settings(documents: list[Json]) -> Settings:
    """The operator's settings as its Deployment gives them."""
    (operator,) = [
        d for d in of_kind("Deployment", documents) if d["metadata"]["name"] == "nanogrid"
    ]
    env = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    elsewhere = {  # from a Secret and from the pod's own fields
        "NANOGRID_SESSION_KEY": "k" * 32,
        "NANOGRID_IDENTITY": "pod",
        "NANOGRID_LEASE_NAMESPACE": "nanogrid-system",
    }
    return Settings.from_env(elsewhere | {e["name"]: e["value"] for e in env if "value" in e})


def sandbox(values: str, **spec: Any) -> Json:
    """A job's pod in this installation."""
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
    return build_pod(job.model, 0, settings(render(values)))


INPUT = {"name": "in", "mountPath": "/app/data", "s3": {"prefix": "in/"}}
PODS = {
    "batch": {},
    "with inputs": {"inputs": [INPUT]},
    "foreign image": {"runtime": {"image": "python:3.12-slim"}},
    "session": {"mode": "Session"},
}


def fargate_size(pod: Json) -> tuple[float, float]:
    """The vCPU and GiB that Fargate bills: the larger of init and long-running, rounded up."""
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
def test_a_fargate_pod_requests_its_limits_and_asks_for_nothing_forbidden(spec: Json) -> None:
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
        "name", "emptyDir", "projected", "secret", "configMap",
    }  # fmt: skip


def test_an_ordinary_job_has_the_size_that_the_values_file_promises() -> None:
    assert fargate_size(sandbox("values-fargate.yaml")) == (1, 2)
    assert "1 vCPU and 2 GiB" in (EKS / "values-fargate.yaml").read_text()


@pytest.mark.parametrize("values", ["values-fargate.yaml", "values-ec2.yaml"])
@pytest.mark.parametrize("spec", PODS.values(), ids=PODS)
def test_the_role_reaches_our_containers_and_never_user_code(values: str, spec: Json) -> None:
    pod = sandbox(values, **spec)

    annotations = pod["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == names.CONTAINER_SANDBOX
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


def test_sandboxes_on_ec2_stay_on_their_own_nodes() -> None:
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


@pytest.mark.parametrize("values", ["values-fargate.yaml", "values-ec2.yaml"])
def test_one_internal_target_group_of_pod_addresses_serves_all_sessions(values: str) -> None:
    (ingress,) = of_kind("Ingress", render(values))
    annotations = ingress["metadata"]["annotations"]
    prefix = "alb.ingress.kubernetes.io/"

    assert annotations[prefix + "scheme"] == "internal"
    assert annotations[prefix + "target-type"] == "ip", "the only one that Fargate has"
    attributes = dict(
        pair.split("=") for pair in annotations[prefix + "target-group-attributes"].split(",")
    )
    delay = int(attributes["deregistration_delay.timeout_seconds"])
    (router,) = [
        d
        for d in of_kind("Deployment", render(values))
        if d["metadata"]["name"] == "nanogrid-router"
    ]
    env = {e["name"]: e.get("value") for e in _containers(router)[0]["env"]}
    assert int(env["NANOGRID_DRAIN_START_SECONDS"]) >= delay, (
        "no target goes while it is registered"
    )
    interval = int(annotations[prefix + "healthcheck-interval-seconds"])
    assert int(annotations[prefix + "healthcheck-timeout-seconds"]) < interval


def test_the_namespace_carries_role_standard_and_security_group() -> None:
    documents = list(yaml.safe_load_all((EKS / "namespace.yaml").read_text()))
    namespace, account, policy = documents

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= sandbox("values-fargate.yaml")["metadata"]["labels"].items()


def test_fargate_pods_of_the_system_request_their_limits() -> None:
    for deployment in of_kind("Deployment", render("values-fargate.yaml")):
        for container in _containers(deployment):
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]


def _containers(deployment: Json) -> list[Json]:
    found: list[Json] = deployment["spec"]["template"]["spec"]["containers"]
    return found
